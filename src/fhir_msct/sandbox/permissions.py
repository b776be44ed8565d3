"""What a request has to be allowed, by type: the letters of SMART scopes, version 2.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html#scopes-for-requesting-fhir-resources
"""

from collections.abc import Iterator
from typing import Any

import msgspec

_INSTANCE = {"GET": "r", "HEAD": "r", "PUT": "u", "DELETE": "d"}
_TYPE = {"GET": "s", "HEAD": "s", "POST": "c", "PUT": "u"}


def needed(method: str, path: str, body: bytes) -> Iterator[tuple[str, str]]:
    """Type and letter for everything a request wants; `path` is what stands behind the base address."""
    if method == "POST" and not path:
        yield from _of_bundle(body)
    elif path and path != "metadata":
        yield _one(method, path)


def _one(method: str, path: str) -> tuple[str, str]:
    type_, *rest = path.split("/")
    if rest == ["_search"]:
        return type_, "s"
    return type_, (_INSTANCE if rest else _TYPE).get(method, "d")


def _of_bundle(body: bytes) -> Iterator[tuple[str, str]]:
    """For each entry what it would need alone; a body that is no Bundle is refused elsewhere."""
    try:
        tree: Any = msgspec.json.decode(body)
        requests = [entry["request"] for entry in tree.get("entry", [])]
        asked = [(str(one["method"]), str(one["url"]).partition("?")[0]) for one in requests]
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError):
        return
    for method, path in asked:
        if path:
            yield _one(method, path)
