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
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Struct

from fhir_msct.client import bundle as bundles
from fhir_msct.client.capability import objects

_Address = tuple[str, tuple[tuple[str, str], ...]]

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_LOOKS = frozenset({"_format", "_pretty"})
"""Parameters that say how a page looks, and not which one it is."""


class Page(Struct, frozen=True):
    """A page of a search or a history: which one it is, what is before and after it, and what it holds."""

    file: str
    this: _Address | None
    preceding: _Address | None
    following: _Address | None
    total: int | None
    matches: frozenset[str]

    @property
    def addresses(self) -> list[_Address]:
        """Its own and those of its neighbours, as far as it says them."""
        return [one for one in (self.this, self.preceding, self.following) if one is not None]


class Listed(Struct, frozen=True):
    """A file that a manifest lists; `type` is Bundle for deletions."""

    file: str
    url: str
    type: str
    count: int | None


class Manifest(Struct, frozen=True):
    """The manifest of an export, or of a part of one."""

    file: str
    time: str
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
    before = cut.links.get("previous", cut.links.get("prev"))
    named = cut.type == "searchset"  # in a history every version of a resource has the same address
    return Page(
        file,
        _address(cut.links.get("self")),
        _address(before),
        _address(cut.links.get("next")),
        cut.total,
        frozenset(
            (entry.full_url if named else None) or sha256(entry.body or b"").hexdigest()
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
    return Manifest(file, str(tree["transactionTime"]), tuple(files), bool(following), bool(errors))


def _listed(file: str, value: Any) -> Iterator[Listed]:
    for one in objects(value):
        url, type_, count = one.get("url"), one.get("type"), one.get("count")
        if isinstance(url, str) and isinstance(type_, str) and _TYPE.fullmatch(type_):
            is_counted = isinstance(count, int) and not isinstance(count, bool) and count >= 0
            yield Listed(file, url, type_, count if is_counted else None)


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


def missing_pages(pages: Iterable[Page]) -> Iterator[str]:
    """The pages before or after which one is not there, and searches that find more, in sentences.

    A page is there where a file says that it is that one. Servers may write one address in two ways: it
    also is where the chains of pages that state one total, those that are whole aside, hold as many
    different matches as their searches, of which each has one last page.
    """
    parted = defaultdict[int | None, list[list[Page]]](list)
    for chain in _chains(pages):
        total = max((one.total for one in chain if one.total is not None), default=None)
        if [*_without_neighbour(chain)] or _matches(chain) < (total or 0):
            parted[total].append(chain)
    for total, chains in parted.items():
        every = [one for chain in chains for one in chain]
        ends = sum(one.following is None for one in every)
        if total is not None and ends and _matches(every) == total * ends:
            continue
        for chain in chains:
            found = (
                f"{chain[0].file} is of a search that finds {total}, and {_matches(chain)} of them are there"
            )
            yield from [*_without_neighbour(chain)] or ([found] if _matches(chain) else [])


def _chains(pages: Iterable[Page]) -> list[list[Page]]:
    """Pages that name each other, each page once."""
    known: dict[Page, Page] = {}
    for one in pages:
        known.setdefault(msgspec.structs.replace(one, file=""), one)
    chains: list[list[Page]] = []
    chain_of: dict[_Address, list[Page]] = {}
    for one in known.values():
        named = {id(chain): chain for address in one.addresses if (chain := chain_of.get(address))}
        longest = max(named.values(), key=len, default=[])
        moved = [one, *(page_ for chain in named.values() if chain is not longest for page_ in chain)]
        for chain in named.values():
            if chain is not longest:
                chain.clear()
        if not longest:
            chains.append(longest)
        longest += moved
        chain_of |= {address: longest for page_ in moved for address in page_.addresses}
    return [chain for chain in chains if chain]


def _matches(pages: Iterable[Page]) -> int:
    return len(frozenset[str]().union(*(one.matches for one in pages)))


def _without_neighbour(chain: Collection[Page]) -> Iterator[str]:
    here = {one.this for one in chain}
    for one in chain:
        for which, neighbour in (("before", one.preceding), ("after", one.following)):
            if neighbour is not None and neighbour not in here:
                yield f"{one.file} is a page of a search, and the page {which} it is not there"


def missing_files(
    manifests: Iterable[Manifest], names: Iterable[str], came: Mapping[str, int], wanted: Collection[str]
) -> Iterator[str]:
    """What manifests list of the types that are wanted, and is not there, in sentences.

    `names`: of the files; `came`: resources of each type in them. Where a file that a manifest lists is
    there under its own name, every one of that manifest has to be; else types are held against what is
    counted of them.
    """
    once = {_content(one): one for one in manifests}.values()
    here = Counter(_plain(name) for name in names)
    counted, first = Counter[str](), dict[str, Listed]()
    for manifest in once:
        named = Counter(map(_name, manifest.files))
        kept = not here.keys().isdisjoint(named)
        for one in manifest.files:
            counted[one.type] += one.count or 0
            if not kept and one.count is None:
                first.setdefault(one.type, one)
            if one.type in {*wanted, "Bundle"} and kept and here[_name(one)] < named[_name(one)]:
                yield f"{one.file} lists a file of {one.type}, and there is none of its name"
                break
    files = {one.type: one.file for manifest in once for one in manifest.files}
    for type_ in sorted(files.keys() & {*wanted}):
        if came.get(type_, 0) < counted[type_]:
            yield f"{files[type_]} counts {counted[type_]} {type_}, and {came.get(type_, 0)} are there"
        elif type_ in first and not came.get(type_, 0):
            yield f"{files[type_]} lists a file of {type_}, and there is none"
    if once and all(one.has_next for one in once):
        yield f"{next(iter(once)).file} names a further part of its manifest, and it is not there"


def _content(one: Manifest) -> tuple[object, ...]:
    """What a manifest says however often it was asked for: each time its addresses may be signed anew."""
    return one.time, one.has_next, *((_name(file), file.type, file.count) for file in one.files)


def _name(one: Listed) -> str:
    """The name that a listed file has if it is saved under its own."""
    try:
        return _plain(unquote(urlsplit(one.url).path))
    except ValueError:
        return one.url


def _plain(path: str) -> str:
    return PurePosixPath(path).name.removesuffix(".gz")
