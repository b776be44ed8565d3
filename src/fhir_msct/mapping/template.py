"""A mapping is the resource with holes in it: the grammar, checked against FHIR R4 when it is loaded.

    {"resourceType": "Observation", "status": "{status}", "code": "{paramcd:codes}",
     "subject": {"reference": "Patient/{subject}"}, "effective[x]": "{when?}",
     "@one": [{"valueQuantity": {"value": "{value?}"}}, {"component": [{"valueQuantity": ...}]}]}

`{x}` a hole; `{x?}` may be absent; `{x:a|b}` one of these; `{x:codes}` a CodeableConcept looked up in
the table of that name; text round a hole is constant, so it selects as a constant does (`Type/{x}` in a
`reference` is read in every resolvable shape); `[x]` takes any type that FHIR allows there; `{_x}` is
looked at, never written. A brace in a constant is doubled. Keys: `@one` alternatives, `@write` written
only, `@scope` the named step that decides what is ours. First in a list: `@each` one record an item,
`@name` a named step picks the item. A list may hold several items, each of which selects its own.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fhir_msct.errors import MappingError
from fhir_msct.mapping import r4

_TEXT = r"(?:[^{}]|\{\{|\}\})*"
_HOLE = re.compile(rf"({_TEXT})\{{(\w+)(\?)?(?::([^{{}}]+))?\}}({_TEXT})")

LOOKED_AT: dict[str, dict[str, str]] = {
    "normal": {"type": "{_type?}", "appliesTo": "{_applies_to?}", "age": "{_age?}"},
}
"""What each named step that picks a list item looks at, besides the holes of the item."""


class Hole(NamedTuple):
    """A place where data goes."""

    name: str
    optional: bool = False
    allowed: tuple[str, ...] = ()
    table: str = ""
    before: str = ""
    after: str = ""

    @property
    def private(self) -> bool:
        """Whether it is only looked at: no field of the record, never written."""
        return self.name.startswith("_")


class Constant(NamedTuple):
    """What must stand there: an expectation, or inside a list item a selection."""

    value: Any


class Items(NamedTuple):
    """A list: the items that are meant, and how they are found."""

    step: str
    """Empty, `each`, or the named step that picks."""
    items: tuple["Object | Hole", ...]


class Field(NamedTuple):
    """One element of a template object."""

    key: str
    element: r4.Element
    node: "Hole | Constant | Items | Object"


class Object(NamedTuple):
    """A JSON object of the template."""

    kind: str
    fields: tuple[Field, ...]
    alternatives: tuple["Object", ...] = ()
    written: Mapping[str, Any] = {}

    def parts(self) -> Iterator["Object"]:
        """This object and its alternatives, which share its place."""
        yield self
        for alternative in self.alternatives:
            yield from alternative.parts()

    def holes(self) -> Iterator[tuple[Field, Hole]]:
        """Every hole below, in template order, with the field that it stands in."""
        for field in (field for part in self.parts() for field in part.fields):
            yield from holes_of(field)


class Template(NamedTuple):
    """One mapping file: a resource type with holes in it."""

    name: str
    kind: str
    root: Object
    scope: str
    """The named step that decides the scope; empty where a table does, or everything is meant."""
    tables: frozenset[str]

    @property
    def scope_field(self) -> Field | None:
        """The field whose code table decides what is ours."""
        for field in self.root.fields:
            if isinstance(field.node, Hole) and field.node.table and not field.node.optional:
                return field
        return None

    @property
    def each(self) -> Field | None:
        """The list that gives one record an item."""
        for field in self.root.fields:
            if isinstance(field.node, Items) and field.node.step == "each":
                return field
        return None

    @property
    def steps(self) -> bool:
        """Whether a named step picks an item of a list."""
        return any(
            isinstance(field.node, Items) and field.node.step not in ("", "each")
            for part in self.root.parts()
            for field in part.fields
        )

    @property
    def holes(self) -> dict[str, tuple[Field, Hole]]:
        """The record's fields: every hole that is not private, by name (the first where it stands twice)."""
        found: dict[str, tuple[Field, Hole]] = {}
        for field, hole in self.root.holes():
            if not hole.private:
                found.setdefault(hole.name, (field, hole))
        return found


def holes_of(field: Field) -> Iterator[tuple[Field, Hole]]:
    """The holes in one field."""
    if isinstance(field.node, Hole):
        yield field, field.node
    elif isinstance(field.node, Object):
        yield from field.node.holes()
    elif isinstance(field.node, Items):
        for item in field.node.items:
            if isinstance(item, Hole):
                yield field, item
            else:
                yield from item.holes()


def parse(name: str, document: Mapping[str, Any], tables: frozenset[str]) -> Template:
    """The template of one mapping file. `tables` names the code tables that its holes may use.

    Raises MappingError with the file's name and the path of the key that FHIR R4 does not have.
    """
    kind = document.get("resourceType")
    if not isinstance(kind, str) or not r4.has(kind):
        raise MappingError(f"{name}.json: resourceType: R4 has no mapped resource {kind!r}")
    reader = _Parser(name, tables)
    body = {key: value for key, value in document.items() if key not in ("resourceType", "@scope")}
    return Template(name, kind, reader.object(kind, body, kind), str(document.get("@scope", "")), tables)


class _Parser:
    """Reads template objects; every complaint names file and path."""

    def __init__(self, name: str, tables: frozenset[str]) -> None:
        self.name, self.tables = name, tables

    def wrong(self, path: str, why: str) -> MappingError:
        return MappingError(f"{self.name}.json: {path}: {why}")

    def object(self, kind: str, body: Mapping[str, Any], path: str) -> Object:
        if not r4.has(kind):
            raise self.wrong(path, f"{kind} has no elements that a mapping can name")
        written = body.get("@write", {})
        if written:
            self.object(kind, written, f"{path}.@write")  # its paths are checked too
        alternatives = tuple(self.object(kind, part, path) for part in body.get("@one", ()))
        fields = tuple(self.field(kind, k, v, f"{path}.{k}") for k, v in body.items() if k[0] != "@")
        unknown = [k for k in body if k[0] == "@" and k not in ("@one", "@write")]
        if unknown:
            raise self.wrong(path, f"{unknown[0]} is no key of the mapping grammar here")
        return Object(kind, fields, alternatives, written)

    def field(self, owner: str, key: str, value: Any, path: str) -> Field:
        element = r4.element(owner, key)
        if element is None:
            raise self.wrong(path, f"R4 has no {owner}.{key}")
        whole = isinstance(value, str) and element.many  # a whole list as one hole: raw JSON
        if element.many != isinstance(value, list) and not whole:
            raise self.wrong(path, f"{owner}.{key} is {'' if element.many else 'not '}a list in R4")
        if isinstance(value, list):
            return Field(key, element, self.items(element.kind, value, path))
        if isinstance(value, dict):
            return Field(key, element, self.object(element.kind, value, path))
        node = self.leaf(value, path)
        if isinstance(node, Constant) and (whole or r4.is_complex(element.kind)):
            raise self.wrong(path, f"a constant in place of {element.kind}")
        return Field(key, element, node)

    def items(self, kind: str, value: list[Any], path: str) -> Items:
        step = ""
        if value and isinstance(value[0], str) and value[0].startswith("@"):
            step, value = value[0][1:], value[1:]
        if not value or (step and len(value) != 1) or step not in ("", "each", *LOOKED_AT):
            raise self.wrong(path, 'wants items, or ["@step", item] with a step that exists')
        return Items(step, tuple(self.item(kind, part, step, path) for part in value))

    def item(self, kind: str, part: Any, step: str, path: str) -> Object | Hole:
        if isinstance(part, dict):
            return self.object(kind, {**part, **LOOKED_AT.get(step, {})}, f"{path}[]")
        node = self.leaf(part, f"{path}[]")
        if not isinstance(node, Hole) or not node.table:
            raise self.wrong(f"{path}[]", "an item is an object, or a hole with a code table")
        return node

    def leaf(self, value: Any, path: str) -> Hole | Constant:
        if not isinstance(value, str):
            return Constant(value)
        found = _HOLE.fullmatch(value)
        if not found:
            plain = value.replace("{{", "").replace("}}", "")
            if "{" in plain or "}" in plain:
                raise self.wrong(path, "not a hole (a brace in a constant is doubled)")
            return Constant(_single(value))
        table = found[4] if found[4] and "|" not in found[4] else ""
        if table and table not in self.tables:
            raise self.wrong(path, f"there is no table {table}.csv")
        allowed = tuple(found[4].split("|")) if found[4] and not table else ()
        return Hole(found[2], bool(found[3]), allowed, table or "", _single(found[1]), _single(found[5]))


def _single(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")
