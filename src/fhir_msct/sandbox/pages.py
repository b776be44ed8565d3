"""Searchset and history Bundles, page by page: bodies go in as they are stored, byte for byte.

A search keeps its list of matches, so what comes or goes meanwhile moves no page; a page shows each
match as it is now. The link to the next page is opaque and hangs on the base address, as HAPI's does.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

from fhir_msct.sandbox import splice
from fhir_msct.sandbox.outcome import Rejected
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
        if not offset.isdecimal() or not count.isdecimal():
            raise Rejected(400, "a page link was changed: follow it as it was given")
        url = f"{base}?{urlencode(params)}"
        return self._page(found._replace(base=base), token, int(offset), int(count), url)

    def expire(self) -> None:
        """Forgets every search: each link to a next page is now 410."""
        self._found.clear()

    def _page(self, found: Found, token: str, start: int, size: int, self_url: str) -> bytes:
        links = {"self": self_url}
        if start + size < len(found.keys):
            links["next"] = _page_link(found.base, token, start + size, size)
        shown = self._store.page(found.keys[start : start + size])
        entries = [_match(version, found) for version in shown]
        total = None if found.query.total == "none" else len(found.keys)
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


def history(versions: Iterable[Version], base: str) -> bytes:
    """The history Bundle of one resource, the newest version first."""
    entries = [_past(version, base) for version in versions]
    return bundle("history", entries, total=len(entries))


def _match(version: Version, found: Found) -> bytes:
    body = version.body or b""
    if found.query.elements:
        body = splice.subset(body.decode(), found.query.elements).encode()
    place = f"{found.base}/{version.type}/{version.id}".encode()
    return b'{"fullUrl":"%b","resource":%b,"search":{"mode":"match"}}' % (place, body)


def _past(version: Version, base: str) -> bytes:
    place = f"{version.type}/{version.id}"
    url = version.type if version.method == "POST" else place
    status = "201 Created" if version.version == "1" else "200 OK"
    rest = {
        "request": {"method": version.method, "url": url},
        "response": {
            "status": "204 No Content" if version.body is None else status,
            "etag": f'W/"{version.version}"',
            "lastModified": version.last_updated,
        },
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
