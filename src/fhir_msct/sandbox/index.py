"""What a resource can be found by: one term for each value that a search parameter looks at."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from fhir_msct.sandbox.moments import Moment, moment, period
from fhir_msct.sandbox.parameters import PARAMETERS, Parameter

_LITERAL = re.compile(r"([A-Z]\w+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]+)?")
_HALF = re.compile("[\ud800-\udfff]")
_CHOICES = ("", "DateTime", "Date", "Period", "Instant", "CodeableConcept", "Reference")


class Term(NamedTuple):
    """One searchable value: a token or reference by (system, value), a date by its two ranges."""

    param: str
    system: str | None = None
    value: str | None = None
    start: int | None = None
    stop: int | None = None
    wall_start: int | None = None
    wall_stop: int | None = None


def terms(type_: str, tree: dict[str, Any]) -> set[Term]:
    """Every term of a resource; an element of an unexpected shape has none."""
    found = set(_tokens(f"{type_}._tag", _at(tree, "meta.tag")))
    for name, parameter in PARAMETERS.get(type_, {}).items():
        param = f"{type_}.{name}"
        elements = _at(tree, parameter.path)
        if parameter.kind in ("token", "uri"):
            found.update(_tokens(param, elements))
        elif parameter.kind == "date":
            found.update(_dates(param, elements))
        else:
            found.update(_references(param, elements, parameter))
    return {term for term in found if _storable(term.system) and _storable(term.value)}


def literal(reference: str) -> tuple[str, str] | None:
    """The (type, id) that a relative reference names, its version left aside."""
    found = _LITERAL.fullmatch(reference)
    return (found[1], found[2]) if found else None


def _storable(text: str | None) -> bool:
    """Half a surrogate pair can be escaped in JSON, but is no text that a database takes."""
    return text is None or text.isascii() or _HALF.search(text) is None


def _at(tree: Any, path: str) -> list[Any]:
    """The elements at a dotted path, lists opened, a choice's last step under any of its names."""
    *steps, last = path.split(".")
    nodes = [tree]
    for step in steps:
        nodes = [item for node in nodes for item in _items(node, step)]
    found: list[Any] = []
    for node in nodes:
        if isinstance(node, dict):
            for key in _names(last):
                if key in node:
                    found += _items(node, key)
    return found


@cache
def _names(element: str) -> tuple[str, ...]:
    """What an element can be called: itself, or a choice's name with each of its types."""
    return tuple(element + choice for choice in _CHOICES)


def _items(node: Any, key: str) -> list[Any]:
    value = node.get(key) if isinstance(node, dict) else None
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _tokens(param: str, elements: list[Any]) -> Iterator[Term]:
    for element in elements:
        if isinstance(element, str | bool):
            yield Term(param, "", str(element).lower() if isinstance(element, bool) else element)
        if not isinstance(element, dict):
            continue
        for coding in [element, *_items(element, "coding")]:
            value = (coding.get("code") or coding.get("value")) if isinstance(coding, dict) else None
            if isinstance(value, str):
                system = coding.get("system")
                yield Term(param, system if isinstance(system, str) else "", value)


def _dates(param: str, elements: list[Any]) -> Iterator[Term]:
    for element in elements:
        covered: Moment | None = None
        if isinstance(element, str):
            covered = moment(element)
        elif isinstance(element, dict) and ("start" in element or "end" in element):
            ends = [element.get(key) for key in ("start", "end")]
            covered = period(*(end if isinstance(end, str) else None for end in ends))
        if covered:
            yield Term(param, None, None, *covered[:4])


def _references(param: str, elements: list[Any], parameter: Parameter) -> Iterator[Term]:
    for element in elements:
        text = element.get("reference") if isinstance(element, dict) else None
        if not isinstance(text, str) or text.startswith("#"):
            continue
        named = literal(text)
        if named is None:
            yield Term(param, "", text)
        elif parameter.target in ("", named[0]):
            yield Term(param, *named)
