"""Cutting a Bundle into its entries, byte for byte, and reading of a resource only what says which one it is.

https://hl7.org/fhir/R4/bundle.html
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fhir_msct.client import strict
from fhir_msct.client.failures import Unusable
from fhir_msct.records import Resource

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """One entry of a Bundle: its resource's own bytes, and what the entry says of it."""

    body: bytes | None
    full_url: str | None = None
    mode: str | None = None
    method: str | None = None
    url: str | None = None
    version: str | None = None
    modified: str | None = None
    status: str | None = None


class Bundle(Struct, frozen=True, kw_only=True):
    """A Bundle, cut: `entries` in their order, `links` by relation."""

    type: str
    total: int | None
    links: dict[str, str]
    subsetted: bool
    entries: tuple[Entry, ...]
    resource_type: str = ""


class Head(Struct, frozen=True, rename="camel", gc=False):
    """What names a resource. Anything may stand in these places, so nothing is expected of them."""

    resource_type: Any = None
    id: Any = None
    meta: Any = None

    @property
    def type(self) -> str:
        """The type, or the empty text for what has none."""
        named = self.resource_type
        return named if isinstance(named, str) and _is_type(named) else ""


@lru_cache(maxsize=256)
def _is_type(name: str) -> bool:
    return _TYPE.fullmatch(name) is not None


class _Entry(Struct, rename="camel", gc=False):
    resource: Raw = None  # type: ignore[assignment]
    full_url: Any = None
    search: Any = None
    request: Any = None
    response: Any = None


class _Bundle(Struct, rename={"resource_type": "resourceType"}):
    resource_type: Any = None
    type: Any = None
    total: Any = None
    link: Any = None
    meta: Any = None
    entry: list[_Entry] | None = None


_head = msgspec.json.Decoder(Head)
_bundle = msgspec.json.Decoder(_Bundle)


def checked_text(body: bytes) -> None:
    """Returns when the bytes are UTF-8; raises Unusable (`not-utf8`) where they are not.

    A JSON reader that skips fields does not look inside them, so this is asked of the whole once.
    """
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable("not-utf8", f"byte {error.start} is not UTF-8") from None


def head(body: bytes) -> Head:
    """Type, id and meta of a JSON object.

    Raises Unusable (`not-json`, `not-an-object`, `shape`, `too-deep`).
    """
    try:
        found = _head.decode(body)
    except msgspec.ValidationError:
        reason = "shape" if body.lstrip()[:1] == b"{" else "not-an-object"
        raise Unusable(reason, "JSON, but no object that could be a resource") from None
    except msgspec.DecodeError:
        raise Unusable("not-json", "not JSON, or cut short") from None
    except RecursionError:
        raise Unusable("too-deep", "nested deeper than anything that is read") from None
    if isinstance(found.id, str) and "\0" in found.id:  # where most programs, databases too, end a text
        raise Unusable("shape", "an id with a NUL in it")
    return found


def incoming(body: bytes) -> Head:
    """The head of a resource that is to be kept; raises Unusable as `head`, and for `too-deep`, `key-twice`.

    Of two ids, or two versions, a reader takes the last: whose bytes these are would be a guess. A Bundle is
    looked at where it is cut.
    """
    known = head(body)
    if known.type == "Bundle":
        return known
    if known.type and strict.is_deep(body):
        raise Unusable("too-deep", f"nested deeper than {strict.DEEPEST}")
    if strict.is_ambiguous(body):
        raise Unusable("key-twice", "a key stands twice, and nothing says which is meant")
    return known


def resource(body: bytes, known: Head, *, where: str = "", entry: Entry | None = None) -> Resource:
    """A resource as it came, with what its head and its entry say of it."""
    meta = known.meta if isinstance(known.meta, dict) else {}
    return Resource(
        type=known.type,
        id=_text(known.id),
        body=body,
        version=_text(meta.get("versionId")),
        lastupdated=_text(meta.get("lastUpdated")),
        full_url=entry.full_url if entry else None,
        subsetted=_is_subsetted(meta),
        where=where,
    )


def cut(body: bytes) -> Bundle:
    """A Bundle whose bytes are known to be UTF-8, cut.

    Raises Unusable (`not-json`, `shape`, `too-deep`, `key-twice`).
    """
    try:
        tree = _bundle.decode(body)
        entries = tuple([_entry(one) for one in tree.entry or ()])
        strict.check_frame(body, _parts(body, entries))
    except msgspec.ValidationError:
        raise Unusable("shape", "a Bundle whose entries are not a list of objects") from None
    except strict.KeyTwice:
        raise Unusable("key-twice", "a Bundle in which a key stands twice: one of the two is lost") from None
    except ValueError:
        raise Unusable("not-json", "not JSON, or cut short") from None
    except RecursionError:
        raise Unusable("too-deep", "nested deeper than anything that is read") from None
    return Bundle(
        type=_text(tree.type) or "",
        total=tree.total if isinstance(tree.total, int) and not isinstance(tree.total, bool) else None,
        links=dict(_links(tree.link)),
        subsetted=_is_subsetted(tree.meta),
        entries=entries,
        resource_type=_text(tree.resource_type) or "",
    )


def _entry(entry: _Entry) -> Entry:
    own = None if entry.resource is None else bytes(entry.resource)
    body, mode = None if own == b"null" else own, _text(_object(entry.search).get("mode"))
    if entry.request is None and entry.response is None:
        return Entry(body=body, full_url=_text(entry.full_url), mode=mode)
    request, response = _object(entry.request), _object(entry.response)
    return Entry(
        body=body,
        full_url=_text(entry.full_url),
        mode=mode,
        method=_text(request.get("method")),
        url=_text(request.get("url")),
        version=etag_version(_text(response.get("etag"))),
        modified=_text(response.get("lastModified")),
        status=_text(response.get("status")),
    )


def places(body: bytes, entries: Iterable[Entry]) -> Iterator[int]:
    """Where in a Bundle the resource of each of its entries begins; of one without, where it could."""
    at = 0
    for entry in entries:
        own = entry.body or b""
        at = max(_place(body, own, at), at)
        yield at
        at += len(own)


def _parts(body: bytes, entries: Sequence[Entry]) -> Iterator[tuple[int, int]]:
    """From where to where the resources of these entries reach."""
    for entry, at in zip(entries, places(body, entries), strict=True):
        if entry.body and entry.body.startswith(b"{"):
            yield at, at + len(entry.body)


def _place(body: bytes, own: bytes, after: int) -> int:
    """Where a part of a body begins, -1 where nowhere; its first bytes are looked for, as that is faster."""
    found = body.find(own[:64], after)
    return found if found < 0 or body.startswith(own, found) else body.find(own, found)


def etag_version(etag: str | None) -> str | None:
    """The version in an ETag: `W/"3"`, and the bare `"3"` of some servers, are 3."""
    found = re.fullmatch(r'(?:W/)?"?([A-Za-z0-9\-.]{1,64})"?', etag) if etag else None
    return found[1] if found else None


def _links(links: Any) -> Iterator[tuple[str, str]]:
    for link in links if isinstance(links, list) else []:
        relation, url = _object(link).get("relation"), _object(link).get("url")
        if isinstance(relation, str) and isinstance(url, str):
            yield relation, url


def _is_subsetted(meta: Any) -> bool:
    """Whether the tag says that elements were left out (https://hl7.org/fhir/R4/search.html#elements)."""
    tags = meta.get("tag") if isinstance(meta, dict) else None
    return isinstance(tags, list) and any(_object(tag).get("code") == "SUBSETTED" for tag in tags)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
