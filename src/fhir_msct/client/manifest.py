"""The manifest of an export: which files there are, in the words of every dialect.

https://hl7.org/fhir/uv/bulkdata/export.html#response---output-manifest
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from fhir_msct.client.capability import objects
from fhir_msct.client.failures import Unusable
from fhir_msct.client.origin import Origin

Kind = Literal["output", "deleted", "error"]


class Listed(Struct, frozen=True, kw_only=True):
    """One file of a manifest."""

    kind: Kind
    type: str
    url: str
    count: int | None = None


class Manifest(Struct, frozen=True, kw_only=True):
    """What a finished job, or a part of it, consists of."""

    text: str
    """As it came."""
    transaction_time: str
    requires_token: bool
    files: tuple[Listed, ...]
    next: str | None = None


def read_manifest(body: bytes, origin: Origin) -> Manifest:
    """A manifest, its addresses made absolute; raises Unusable (`shape`) for what is none."""
    try:
        tree: Any = msgspec.json.decode(body)
        text = body.decode("utf-8")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Unusable("shape", "$export status: the manifest is not JSON, or cut short") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("output"), list):
        raise Unusable("shape", "$export status: done, but what comes is no manifest")
    named: list[tuple[Kind, str]] = [("output", "output"), ("deleted", "deleted")]
    named += [("error", "error"), ("error", "outcome")]
    files = [file for kind, key in named for file in _listed(kind, tree.get(key), origin)]
    following = [one.get("url") for one in objects(tree.get("link")) if one.get("relation") == "next"]
    return Manifest(
        text=text,
        transaction_time=str(tree.get("transactionTime") or ""),
        requires_token=tree.get("requiresAccessToken") is not False,
        files=tuple(files),
        next=next((origin.resolve(url) for url in following if isinstance(url, str)), None),
    )


def _listed(kind: Kind, value: Any, origin: Origin) -> Iterator[Listed]:
    for one in objects(value):
        url, count = one.get("url"), one.get("count")
        if not isinstance(url, str):
            raise Unusable("shape", "$export status: a file without an address")
        counted = count if isinstance(count, int) and not isinstance(count, bool) else None
        type_ = str(one.get("type") or "")
        yield Listed(kind=kind, type=type_, url=origin.resolve(url), count=counted)


def levels(capability: dict[str, Any]) -> frozenset[str]:
    """The levels at which the server says that it exports: `system`, `Patient`, `Group`."""
    found = set()
    for rest in objects(capability.get("rest")):
        if any(str(one.get("name", "")).endswith("export") for one in objects(rest.get("operation"))):
            found.add("system")
        for resource in objects(rest.get("resource")):
            if any(str(one.get("name", "")).endswith("export") for one in objects(resource.get("operation"))):
                found.add(str(resource.get("type")))
    return frozenset(found)
