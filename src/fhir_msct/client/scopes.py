"""What we ask a server to let us do, and whether that was granted: SMART scopes of versions 1 and 2.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

ORDER = "cruds"
"""The letters of version 2: create, read, update, delete, search; written in this order."""

READ, WRITE = "rs", "crus"
"""What reading a type takes; what writing takes, with the search and the read-back of a push."""

_V1 = {"read": "rs", "write": "cud", "*": ORDER}
"""The words of version 1 in letters."""

_SCOPE = re.compile(r"system/([A-Z][A-Za-z]{1,63}|\*)\.(read|write|\*|c?r?u?d?s?)")
_IS_V2 = re.compile(r"\w+/[\w*]+\.c?r?u?d?s?(\?.*)?")


class Access(Struct, frozen=True, kw_only=True):
    """The types that are read, and those that are written as well."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    @property
    def needs(self) -> dict[str, str]:
        """The letters that each type needs, in the order of the types."""
        return dict.fromkeys(self.read, READ) | dict.fromkeys(self.write, WRITE)

    def scopes(self, *, v2: bool) -> tuple[str, ...]:
        """The least that has to be asked for: no type that is not needed, never `*`."""
        if v2:
            return tuple(f"system/{type_}.{letters}" for type_, letters in self.needs.items())
        words = {READ: ("read",), WRITE: ("read", "write")}
        return tuple(
            f"system/{type_}.{word}" for type_, letters in self.needs.items() for word in words[letters]
        )


def speaks_v2(configuration: Mapping[str, Any]) -> bool:
    """Whether a server takes scopes of version 2, by its smart-configuration.

    One that names neither version is older than both names, unless it lists a scope of version 2.
    """
    capabilities, listed = (
        [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
        for found in (configuration.get("capabilities"), configuration.get("scopes_supported"))
    )
    if "permission-v2" in capabilities or "permission-v1" in capabilities:
        return "permission-v2" in capabilities
    return any(_IS_V2.fullmatch(scope) for scope in listed)


def ungranted(access: Access, granted: str) -> tuple[str, ...]:
    """The types for which less was granted than is needed, in their order.

    A scope with a query (`system/Observation.rs?category=...`) grants less than the type, so it grants
    nothing here.
    """
    held: dict[str, set[str]] = {}
    for scope in granted.split():
        if found := _SCOPE.fullmatch(scope):
            held.setdefault(found[1], set()).update(_V1.get(found[2], found[2]))
    everywhere = held.get("*", set())
    return tuple(
        type_
        for type_, letters in access.needs.items()
        if not set(letters) <= held.get(type_, set()) | everywhere
    )


def in_words(types: Iterable[str], limit: int = 12) -> str:
    """Types, for a message."""
    named = list(types)
    more = f" and {len(named) - limit} more" if len(named) > limit else ""
    return ", ".join(named[:limit]) + more
