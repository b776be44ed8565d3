"""Searchset and history Bundles, page by page: bodies go in as they are stored, byte for byte.

A search keeps its list of matches, so what comes or goes meanwhile moves no page; a page shows each
match as it is now. The link to the next page is opaque and hangs on the base address, and the total is
only told with the last page unless it is asked for: both as HAPI does.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

from fhir_msct.sandbox import splice
from fhir_msct.sandbox.outcome import Rejected
from fhir_msct.sandbox.parameters import DIGITS
from fhir_msct.sandbox.search import Query
from fhir_msct.sandbox.store import Store, Version

KEPT = 1000
"""Searches remembered; the oldest goes first, and its links are then gone (410)."""


class Found(NamedTuple):
    """A search that was run: its matches, and how its pages look."""

    query: Query
    keys: tuple[int, ...]
    base: str


class Pages:
    """The searches of one server that can still be paged through."""

    def __init__(self, store: Store, *, size: int, cap: int | None = None) -> None:
        self._store = store
        self._size = size
        self._cap = cap
        self._found: OrderedDict[str, Found] = OrderedDict()

    def first(self, query: Query, base: str, path: str) -> bytes:
        """The first page of a search, or only its count."""
        self_url = f"{base}/{path}" + (f"?{urlencode(query.used)}" if query.used else "")
        if query.count_only:
            total = self._store.select(*query.sql("count(*)"))[0][0]
            return bundle("searchset", (), total=total)
        sql, args = query.sql("c.key")
        keys = tuple(row[0] for row in self._store.select(sql + query.order, args))
        size = query.size or self._size
        size = min(size, self._cap) if self._cap else size
        token = str(uuid4())
        if len(keys) > size:
            self._found[token] = Found(query, keys, base)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        return self._page(Found(query, keys, base), token, 0, size, self_url)

    def next(self, params: Mapping[str, str], base: str) -> bytes:
        """The page a link of ours names; 410 when its search is no longer known."""
        token, offset, count = (params.get(name, "") for name in ("_getpages", "_getpagesoffset", "_count"))
        found = self._found.get(token)
        if found is None:
            raise Rejected(410, f"search {token} does not exist, or it has expired: start it again")
        if not all(text.isdecimal() and len(text) <= DIGITS for text in (offset, count)):
            raise Rejected(400, "a page link was changed: follow it as it was given")
        url = f"{base}?{urlencode(params)}"
        return self._page(found._replace(base=base), token, int(offset), int(count), url)

    def type_of(self, token: str) -> str:
        """What is searched for by the search that a link names; the empty text where it is not known."""
        return self._found[token].query.type if token in self._found else ""

    def expire(self) -> None:
        """Forgets every search: each link to a next page is now 410."""
        self._found.clear()

    def _page(self, found: Found, token: str, start: int, size: int, self_url: str) -> bytes:
        links, last = {"self": self_url}, start + size >= len(found.keys)
        if not last:
            links["next"] = _page_link(found.base, token, start + size, size)
        if start:
            links["previous"] = _page_link(found.base, token, max(0, start - size), size)
        shown = self._store.page(found.keys[start : start + size])
        entries = [_match(version, found) for version in shown]
        told = found.query.total == "accurate" or (last and found.query.total != "none")
        total = len(found.keys) if told else None
        return bundle("searchset", entries, total=total, links=links)


def bundle(
    kind: str, entries: Iterable[bytes], *, total: int | None = None, links: Mapping[str, str] | None = None
) -> bytes:
    """A Bundle around entries that are already text."""
    head: dict[str, object] = {"resourceType": "Bundle", "id": str(uuid4()), "type": kind}
    if total is not None:
        head["total"] = total
    if links:
        head["link"] = [{"relation": relation, "url": url} for relation, url in links.items()]
    body = b",".join(entries)
    start = json.dumps(head, separators=(",", ":"))[:-1].encode()
    return start + (b',"entry":[' + body + b"]" if body else b"") + b"}"


def history(versions: Sequence[Version], base: str, *, count: int = 0, offset: int = 0) -> bytes:
    """The history Bundle of one resource, the newest version first; `count` 0: all that follow the offset."""
    size = count or len(versions)
    place = f"{base}/{versions[0].type}/{versions[0].id}/_history"
    links = {"self": f"{place}?_count={size}&_offset={offset}"}
    if offset + size < len(versions):
        links["next"] = f"{place}?_count={size}&_offset={offset + size}"
    entries = [_past(version, base) for version in versions[offset : offset + size]]
    return bundle("history", entries, total=len(versions), links=links)


def _match(version: Version, found: Found) -> bytes:
    body = version.body or b""
    if found.query.elements:
        body = splice.subset(body.decode(), found.query.elements).encode()
    place = f"{found.base}/{version.type}/{version.id}".encode()
    return b'{"fullUrl":"%b","resource":%b,"search":{"mode":"match"}}' % (place, body)


def _past(version: Version, base: str) -> bytes:
    """As HAPI tells it: whatever made the first version was a POST."""
    place, first = f"{version.type}/{version.id}", version.version == "1"
    rest = {
        "request": {"method": "POST" if first else version.method, "url": version.source},
        "response": {"status": "201 Created" if first else "200 OK", "etag": f'W/"{version.version}"'},
    }
    body = b"" if version.body is None else b'"resource":%b,' % version.body
    tail = json.dumps(rest, separators=(",", ":"))[1:].encode()
    return b'{"fullUrl":"%b",%b%b' % (f"{base}/{place}".encode(), body, tail)


def _page_link(base: str, token: str, offset: int, count: int) -> str:
    return (
        base
        + "?"
        + urlencode(
            {"_getpages": token, "_getpagesoffset": offset, "_count": count, "_bundletype": "searchset"}
        )
    )
