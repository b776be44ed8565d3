"""What files say is beside them: the next page of a search, the files of an export.

Somebody who saved the first page of three, or two files of an export's four, has not everything, and no
line of what is there is damaged. A server is asked; files can only be held against each other.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

from fhir_msct.client import bundle as bundles
from fhir_msct.client.capability import objects
from fhir_msct.client.failures import Unusable

_Address = tuple[str, tuple[tuple[str, str], ...]]


class Beside(Struct, frozen=True, kw_only=True):
    """What one file says: of a page which one it is and which one follows, of a manifest what it lists."""

    file: str
    this: _Address | None = None
    following: _Address | None = None
    total: int | None = None
    matches: int = 0
    """Entries of a page that match."""
    listed: Mapping[str, int | None] = {}
    """Resources of each type that a manifest counts; None where it only lists a file of them."""


def beside(file: str, body: bytes) -> Beside | None:
    """What a whole file says of others; None where it says nothing, or cannot be read."""
    try:
        known = bundles.head(body)
        if known.type == "Bundle":
            return _page(file, body)
        return None if known.type else _manifest(file, body)
    except (Unusable, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def absent(said: Iterable[Beside], came: Mapping[str, int]) -> Iterator[str]:
    """What is said to be beside, and is not, in sentences; `came`: resources of each type in the files.

    A next page counts as there where a file says that it is that one, or where the pages of this total
    hold that many matches and one of them is the last: servers may write one address in two ways.
    """
    said = list(said)
    pages = {one.this for one in said if one.this}
    matches, ended = Counter[int | None](), set[int | None]()
    for one in said:
        matches[one.total] += one.matches
        if not one.following:
            ended.add(one.total)
    for one in said:
        whole = one.total in ended and one.total is not None and matches[one.total] >= one.total
        if one.following and one.following not in pages and not whole:
            yield f"{one.file} is a page of a search, and the page after it is not there"
        for type_, count in one.listed.items():
            here = came.get(type_, 0)
            if count is None and not here:
                yield f"{one.file} lists a file of {type_}, and there is none"
            elif count is not None and here < count:
                yield f"{one.file} counts {count} {type_}, and {here} are there"


def _page(file: str, body: bytes) -> Beside | None:
    """https://hl7.org/fhir/R4/bundle.html#searchset"""
    cut = bundles.cut(body)
    if cut.type != "searchset":
        return None
    links = {name: _address(cut.links[name]) for name in ("self", "next") if name in cut.links}
    return Beside(
        file=file,
        this=links.get("self"),
        following=links.get("next"),
        total=cut.total,
        matches=sum(entry.mode in (None, "match") for entry in cut.entries),
    )


def _address(url: str) -> _Address:
    """An address as far as two spellings of it are equal: host and order do not matter."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, ()
    return parts.path, tuple(sorted(parse_qsl(parts.query, keep_blank_values=True)))


def _manifest(file: str, body: bytes) -> Beside | None:
    """https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest"""
    tree: Any = msgspec.json.decode(body)
    if not isinstance(tree.get("output"), list) or "transactionTime" not in tree:
        return None
    listed: dict[str, int | None] = {}
    for one in objects(tree["output"]):
        type_, count = one.get("type"), one.get("count")
        if not isinstance(type_, str):
            continue
        before = listed.get(type_, 0)
        if before is None or not isinstance(count, int) or isinstance(count, bool):
            listed[type_] = None
        else:
            listed[type_] = before + count
    return Beside(file=file, listed=listed)
