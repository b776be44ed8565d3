"""What a server says of itself, as far as a study needs it: a claim, which probes then test.

https://hl7.org/fhir/R4/capabilitystatement.html
"""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from fhir_msct.errors import ServerUnfit


class TypeSaid(Struct, frozen=True, kw_only=True):
    """What the server says it does with one resource type."""

    type: str
    interactions: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    update_create: bool | None = None
    """None where the server does not say."""
    conditional_create: bool = False
    conditional_update: bool = False

    @property
    def writes(self) -> bool:
        """Whether anything of this type can be written at all."""
        return bool(self.interactions & {"create", "update"})


class Capability(Struct, frozen=True, kw_only=True):
    """A CapabilityStatement, read."""

    software: str = ""
    version: str = ""
    release: str = ""
    """Of FHIR."""
    interactions: frozenset[str] = frozenset()
    operations: frozenset[str] = frozenset()
    """`export` and the like, on whichever level."""
    types: dict[str, TypeSaid] = {}
    """Empty where the statement lists no types at all: then it claims nothing and denies nothing."""

    def absent(self, type_: str) -> bool:
        """Whether the server says that it does not hold this type."""
        return bool(self.types) and type_ not in self.types


_RELEASES = {"0": "DSTU1", "1": "DSTU2", "3": "STU3", "4.1": "R4B", "4.3": "R4B", "5": "R5", "6": "R6"}


def statement(tree: Any, named: str, status: int, key: str) -> dict[str, Any]:
    """The CapabilityStatement that a server answered with; `key` of study.toml leads to it.

    Raises ServerUnfit where this is no FHIR server, or one of another release than R4 (4.0.x).
    """
    if not isinstance(tree, dict) or tree.get("resourceType") not in ("CapabilityStatement", "Conformance"):
        raise ServerUnfit(
            f"{named} is not a FHIR server at this address (metadata: {status}): "
            f"write the base address as {key}, the one below which /metadata answers"
        )
    release = release_of(tree)
    if not release.startswith("4.0."):
        name = next((name for start, name in _RELEASES.items() if release.startswith(start)), "")
        said = f"speaks FHIR {release} ({name or 'unknown'})" if release else "names no FHIR release"
        raise ServerUnfit(
            f"{named} {said}, and R4 (4.0.1) is needed: ask its owner for the address that "
            f"speaks R4, and write it as {key}"
        )
    return tree


def capability(statement: dict[str, Any]) -> Capability:
    """The claims of a CapabilityStatement; anything may stand in its places."""
    software = statement.get("software")
    about = software if isinstance(software, dict) else {}
    rest = [one for one in objects(statement.get("rest")) if one.get("mode", "server") == "server"]
    everywhere = frozenset(name for one in rest for name in _names(one.get("searchParam"), "name"))
    said = [_type(one, everywhere) for part in rest for one in objects(part.get("resource"))]
    parts = [*rest, *(one for part in rest for one in objects(part.get("resource")))]
    return Capability(
        software=_one_line(about.get("name", ""))[:80],
        version=_one_line(about.get("version", ""))[:40],
        release=release_of(statement),
        interactions=frozenset(code for one in rest for code in _names(one.get("interaction"), "code")),
        operations=frozenset(name for one in parts for name in _names(one.get("operation"), "name")),
        types={one.type: one for one in said if one.type},
    )


def release_of(statement: dict[str, Any]) -> str:
    """The release of FHIR that a statement names, such as 4.0.1; empty where what stands there is none."""
    said = statement.get("fhirVersion")
    return said if isinstance(said, str) and re.fullmatch(r"\d{1,2}(\.\d{1,3}){1,2}", said) else ""


def _type(said: dict[str, Any], everywhere: frozenset[str]) -> TypeSaid:
    name = said.get("type")
    return TypeSaid(
        type=name if isinstance(name, str) else "",
        interactions=frozenset(_names(said.get("interaction"), "code")),
        parameters=frozenset(_names(said.get("searchParam"), "name")) | everywhere,
        update_create=said["updateCreate"] if isinstance(said.get("updateCreate"), bool) else None,
        conditional_create=said.get("conditionalCreate") is True,
        conditional_update=said.get("conditionalUpdate") is True,
    )


def _one_line(value: Any) -> str:
    """A server's own words, without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON list; none where something else stands in its place."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _names(value: Any, key: str) -> Iterator[str]:
    return (one[key] for one in objects(value) if isinstance(one.get(key), str))
