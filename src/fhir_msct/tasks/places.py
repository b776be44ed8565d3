"""Where resources of ours are on a server that chose their ids, and how they are named there and here.

Everything is decided in our own names, so that a plan and its hash are the same on every server; only what
goes over the wire speaks the server's. A server that takes our ids needs none of this.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

Key = tuple[str, str]
Tree = dict[str, Any]
Name = Callable[[str], str | None]

_exact = msgspec.json.Decoder(float_hook=lambda text: Raw(text.encode()))


class Places:
    """Our type and id of each resource, and the id that the server gave it."""

    def __init__(self, base: str, system: str, known: Mapping[Key, str]) -> None:
        self._base, self._system = base.rstrip("/") + "/", system
        self._kept: set[str] = set()
        self._there: dict[Key, str] = {}
        self._here: dict[str, str] = {}
        for key, server_id in known.items():
            self.learn(key, server_id)

    def learn(self, key: Key, server_id: str) -> None:
        """Takes note of where a resource of ours is."""
        kind, own = key
        if (before := self._there.pop(key, None)) is not None:
            del self._here[f"{kind}/{before}"]
        if server_id != own:
            self._there[key] = server_id
            self._here[f"{kind}/{server_id}"] = f"{kind}/{own}"

    def keep(self, place: str) -> None:
        """Takes note of what is not brought there: others name it by its identifier."""
        self._kept.add(place)

    @property
    def kept(self) -> tuple[str, ...]:
        """What is not brought there, by our own names."""
        return tuple(sorted(self._kept))

    def __bool__(self) -> bool:
        """Whether the server chose any."""
        return bool(self._there)

    def id(self, key: Key) -> str | None:
        """The id that the server chose; None where it chose none."""
        return self._there.get(key)

    def place(self, key: Key) -> str:
        """Type and id, as they are on the server."""
        return f"{key[0]}/{self._there.get(key, key[1])}"

    def to_own(self, body: bytes) -> bytes:
        """What the server holds, in our own names."""
        if not self and not self._kept:
            return body
        return _renamed(body, lambda place: self._here.get(place.removeprefix(self._base)), self._literal)

    def to_server(self, body: bytes, fresh: Mapping[str, str]) -> bytes:
        """What is sent, in the server's names; `fresh`: `Type/id` of what has none yet, and its fullUrl."""
        if not self and not fresh and not self._kept:
            return body
        there = {f"{kind}/{own}": f"{kind}/{one}" for (kind, own), one in self._there.items()} | dict(fresh)
        return _renamed(body, there.get, self._logical)

    def _logical(self, reference: Tree) -> Tree:
        """A reference to what is kept here, by its identifier (https://hl7.org/fhir/R4/references.html#logical)."""
        kind, _, own = str(reference.get("reference")).partition("/")
        if f"{kind}/{own}" not in self._kept:
            return reference
        others = {name: part for name, part in reference.items() if name != "reference"}
        return {**others, "type": kind, "identifier": {"system": self._system, "value": own}}

    def _literal(self, reference: Tree) -> Tree:
        """The same, back."""
        named = reference.get("identifier")
        if "reference" in reference or not isinstance(named, dict) or named.get("system") != self._system:
            return reference
        others = {name: part for name, part in reference.items() if name not in ("type", "identifier")}
        return {**others, "reference": f"{reference.get('type')}/{named.get('value')}"}


def _renamed(body: bytes, name: Name, bend: Callable[[Tree], Tree]) -> bytes:
    tree = _exact.decode(body)
    place = name(f"{tree.get('resourceType')}/{tree.get('id')}")
    if place is not None and "/" in place:
        tree["id"] = place.partition("/")[2]
    return msgspec.json.encode({key: _relinked(part, name, bend) for key, part in tree.items()})


def _relinked(value: Any, name: Name, bend: Callable[[Tree], Tree]) -> Any:
    if isinstance(value, list):
        return [_relinked(one, name, bend) for one in value]
    if not isinstance(value, dict):
        return value
    bent = bend(value) if "reference" in value or "identifier" in value else value
    return {
        key: _link(part, name) if key == "reference" else _relinked(part, name, bend)
        for key, part in bent.items()
    }


def _link(reference: Any, name: Name) -> Any:
    """A reference to the same resource under its other name; its version stays."""
    if not isinstance(reference, str):
        return reference
    plain, slash, version = reference.partition("/_history/")
    renamed = name(plain)
    if renamed is None:
        return reference
    return renamed if renamed.startswith("urn:") else renamed + slash + version
