"""What FHIR R4 has: the elements, types and cardinalities of the resources we map (`r4.json`).

Source: https://hl7.org/fhir/R4/ (4.0.1); `scripts/r4.py` makes the file.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

DATE_KINDS = ("dateTime", "Period", "instant")
"""The kinds of a choice that say when something was; Timing, Age, string and the like do not."""


class Element(NamedTuple):
    """One element of a type, as a mapping names it."""

    base: str
    """`effective` for `effectiveDateTime` and for `effective[x]`; else the name itself."""
    kind: str
    """Its type; `choice` for a whole `value[x]`."""
    kinds: tuple[str, ...]
    """All types of the choice it belongs to; empty where there is no choice."""
    many: bool


@cache
def table() -> dict[str, Any]:
    """The whole of `r4.json`."""
    return json.loads(files("fhir_msct.mapping").joinpath("r4.json").read_text("utf-8"))  # type: ignore[no-any-return]


def has(kind: str) -> bool:
    """Whether a type is one whose elements we know; every other type is a primitive."""
    return kind in table()["types"]


def is_complex(kind: str) -> bool:
    """Whether a type has elements of its own."""
    return kind[:1].isupper()


@cache
def element(owner: str, name: str) -> Element | None:
    """The element that a mapping names, `valueQuantity` and `value[x]` included; None if R4 has none."""
    elements: dict[str, str] = table()["types"][owner]
    if name.endswith("[x]"):
        return Element(name[:-3], "choice", _kinds(elements[name]), False) if name in elements else None
    if name in elements:
        kind = elements[name].rstrip("!*")
        return Element(name, kind, (), "*" in elements[name])
    for key, text in elements.items():
        if key.endswith("[x]") and name.startswith(key[:-3]):
            for kind in _kinds(text):
                if name == named(key[:-3], kind):
                    return Element(key[:-3], kind, _kinds(text), False)
    return None


def named(base: str, kind: str) -> str:
    """The JSON name of one kind of a choice: `value`, `Quantity` -> `valueQuantity`."""
    return base + kind[0].upper() + kind[1:]


def has_element(owner: str, name: str) -> bool:
    """Whether a type has an element of this name."""
    return has(owner) and name in table()["types"][owner]


def _kinds(text: str) -> tuple[str, ...]:
    return tuple(text.rstrip("!*").split("|"))
