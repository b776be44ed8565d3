"""What files say is beside them: the next page of a search, the files of an export.

Somebody who saved the first page of three, or two files of an export's four, has not everything, and no
line of what is there is damaged. A server is asked; files can only be held against each other.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

from fhir_msct.client import bundle as bundles
from fhir_msct.client.capability import objects

_Address = tuple[str, tuple[tuple[str, str], ...]]

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_LOOKS = frozenset({"_format", "_pretty"})
"""Parameters that say how a page looks, and not which one it is."""


class Page(Struct, frozen=True):
    """A page of a search or a history: which one it is, which follows, and what it holds."""

    file: str
    this: _Address | None
    following: _Address | None
    total: int | None
    matches: frozenset[str]

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its search."""
        return self.following is None and len(self.matches) == self.total


class Listed(Struct, frozen=True):
    """A file that a manifest lists; `type` is Bundle for deletions."""

    file: str
    url: str
    type: str
    count: int | None


class Manifest(Struct, frozen=True):
    """The manifest of an export, or of a part of one."""

    file: str
    files: tuple[Listed, ...]
    has_next: bool
    has_errors: bool


Beside = Page | Manifest


def page(file: str, cut: bundles.Bundle) -> Page | None:
    """What a Bundle says of its neighbours; None for one that has none.

    https://hl7.org/fhir/R4/bundle.html#searchset
    """
    if cut.type not in ("searchset", "history"):
        return None
    return Page(
        file,
        _address(cut.links.get("self")),
        _address(cut.links.get("next")),
        cut.total,
        frozenset(
            entry.full_url or sha256(entry.body or b"").hexdigest()
            for entry in cut.entries
            if entry.mode in (None, "match")
        ),
    )


def manifest(file: str, body: bytes) -> Manifest | None:
    """What a JSON object without a type says, where it is a manifest.

    https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest
    """
    try:
        tree: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(tree.get("output"), list) or "transactionTime" not in tree:
        return None
    files = [one for key in ("output", "deleted") for one in _listed(file, tree.get(key))]
    following = [one for one in objects(tree.get("link")) if one.get("relation") == "next"]
    errors = objects(tree.get("error")) + objects(tree.get("outcome"))
    return Manifest(file, tuple(files), bool(following), bool(errors))


def _listed(file: str, value: Any) -> Iterator[Listed]:
    for one in objects(value):
        url, type_, count = one.get("url"), one.get("type"), one.get("count")
        if isinstance(url, str) and isinstance(type_, str) and _TYPE.fullmatch(type_):
            counted = isinstance(count, int) and not isinstance(count, bool)
            yield Listed(file, url, type_, count if counted else None)


def _address(url: str | None) -> _Address | None:
    """An address as far as two spellings of it are equal: host, order and how it looks do not matter."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, ()
    query = parse_qsl(parts.query, keep_blank_values=True)
    return parts.path.rstrip("/"), tuple(sorted(one for one in query if one[0] not in _LOOKS))


def missing_pages(pages: Collection[Page]) -> Iterator[str]:
    """The pages whose next one is not there, in sentences.

    It is there where a file says that it is that one. Servers may write one address in two ways: it also
    is where the pages that state one total, those that are whole by themselves aside, hold as many
    different matches as their searches, of which each has one last page.
    """
    here = {one.this for one in pages}
    parts = defaultdict[int | None, list[Page]](list)
    for one in pages:
        if not one.is_whole:
            parts[one.total].append(one)
    for one in pages:
        if one.following is None or one.following in here:
            continue
        lasts = sum(other.following is None for other in parts[one.total])
        matches = frozenset[str]().union(*(other.matches for other in parts[one.total]))
        if one.total is None or not lasts or len(matches) != one.total * lasts:
            yield f"{one.file} is a page of a search, and the page after it is not there"


def missing_files(
    manifests: Collection[Manifest], names: Iterable[str], came: Mapping[str, int], wanted: Collection[str]
) -> Iterator[str]:
    """What manifests list of the types that are wanted, and is not there, in sentences.

    `names`: of the files; `came`: resources of each type in them. Where a file that is listed is there
    under its own name, every one of them has to be; else types are held against what is counted of them.
    """
    listed = {one.url: one for manifest in manifests for one in manifest.files}.values()
    here = {PurePosixPath(name).name.removesuffix(".gz") for name in names}
    named = {one.url: PurePosixPath(_path(one.url)).name.removesuffix(".gz") for one in listed}
    under_their_names = not here.isdisjoint(named.values())
    counted, by_type = Counter[str](), dict[str, Listed]()
    for one in listed:
        counted[one.type] += one.count or 0
        by_type.setdefault(one.type, one)
        if under_their_names and named[one.url] not in here and one.type in {*wanted, "Bundle"}:
            yield f"{one.file} lists a file of {one.type}, and there is none of its name"
    for type_, one in by_type.items():
        number = came.get(type_, 0)
        if type_ not in wanted:
            continue
        if number < counted[type_]:
            yield f"{one.file} counts {counted[type_]} {type_}, and {number} are there"
        elif not number and not counted[type_] and one.count is None and not under_their_names:
            yield f"{one.file} lists a file of {type_}, and there is none"
    if manifests and all(one.has_next for one in manifests):
        yield f"{next(iter(manifests)).file} names a further part of its manifest, and it is not there"


def _path(url: str) -> str:
    """The path of an address; of what is none, all of it."""
    try:
        return urlsplit(url).path
    except ValueError:
        return url
