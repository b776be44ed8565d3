"""msgspec structs that hold only what a template names, and the guards that a careful reader needs.

A reader that decodes only named fields would not see a `modifierExtension`, an `implicitRules`, a
`dataAbsentReason` or the `_` sibling of a primitive; so every struct has room for those too. What is
only guarded is kept as raw bytes: its shape is nobody's business here.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from fhir_msct.mapping import r4
from fhir_msct.mapping.subjects import Identifier
from fhir_msct.mapping.template import Constant, Field, Hole, Items, Object, Template

NUMBERS = ("decimal", "integer", "positiveInt", "unsignedInt")
"""Primitives that are read digit for digit."""

_PRIMITIVES: dict[str, Any] = {"boolean": bool, **dict.fromkeys(NUMBERS, Raw)}
_GUARDS = ("implicitRules", "dataAbsentReason", "modifierExtension")


class Coding(msgspec.Struct, frozen=True, gc=False, rename={"f_system": "system", "f_code": "code"}):
    """What identifies a concept: system and code, always together."""

    f_system: str | None = None
    f_code: str | None = None


class Concept(msgspec.Struct, frozen=True, gc=False, rename={"f_coding": "coding", "f_text": "text"}):
    """A CodeableConcept as far as it is looked at."""

    f_coding: tuple[Coding, ...] | None = None
    f_text: str | None = None


class Period(msgspec.Struct, frozen=True, gc=False, rename={"f_start": "start", "f_end": "end"}):
    """A Period as far as it is looked at."""

    f_start: str | None = None
    f_end: str | None = None


class Meta(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={"f_version": "versionId", "f_lastupdated": "lastUpdated", "f_tag": "tag"},
):
    """What a resource says of its own version."""

    f_version: str | None = None
    f_lastupdated: str | None = None
    f_tag: tuple[Coding, ...] | None = None


def resource_struct(template: Template, *, siblings: bool = True) -> type[msgspec.Struct]:
    """The struct of a whole resource: the template's holes, the guards, `meta` and `identifier`.

    Without `siblings` there is no room for the `_` members of primitives: for bodies that hold none; and
    what `remembered` names is left as it came.
    """
    fields = _fields([template.root], siblings, skip=template.scope_field)
    fields = {"resourceType": str, **fields, "meta": Meta}
    fields.setdefault("identifier", Raw if siblings else tuple[Identifier, ...])
    fields.setdefault("contained", Raw)
    if not siblings:
        fields |= {field.key: Raw for field in remembered(template)}
    return _define(template.kind, fields)


def remembered(template: Template) -> list[Field]:
    """The lists of a resource whose texts come again and again: those that a named step picks from.

    A laboratory has one reference range for a test, not one for a result.
    """
    keys = [field.key for part in template.root.parts() for field in part.fields]
    stepped = [
        f for f in template.root.fields if isinstance(f.node, Items) and f.node.step not in ("", "each")
    ]
    return [field for field in stepped if keys.count(field.key) == 1]


def part_type(field: Field) -> Any:
    """The type of one such list, for reading it alone."""
    return _type_of([field], siblings=False)


def peek_struct(keys: Iterable[str]) -> type[msgspec.Struct]:
    """What decides the scope of a resource, each element as raw bytes, and nothing else."""
    return _define("Peek", {"resourceType": str, **dict.fromkeys(keys, Raw)})


def _define(name: str, fields: dict[str, Any]) -> type[msgspec.Struct]:
    # A bare Raw: msgspec reads `Raw | None` as "null only".
    typed = [("f_" + key, t if t is Raw else t | None, None) for key, t in fields.items()]
    rename = {"f_" + key: key for key in fields}
    return msgspec.defstruct(name.replace(".", "_"), typed, rename=rename, frozen=True, gc=False)


def _fields(objects: list[Object], siblings: bool, skip: Field | None = None) -> dict[str, Any]:
    """One set of fields for all template objects that share a place."""
    groups: dict[str, list[Field]] = defaultdict(list)
    for field in (f for o in objects for part in o.parts() for f in part.fields if f is not skip):
        groups[field.key].append(field)
    fields: dict[str, Any] = {}
    for key, group in groups.items():
        _choice_guards(group[0], fields, siblings)
        if not key.endswith("[x]"):
            fields[key] = _type_of(group, siblings)
            if siblings and not r4.is_complex(group[0].element.kind):
                fields["_" + key] = Raw
    kind = objects[0].kind
    if kind in ("Quantity", "Period"):
        fields.setdefault("extension", Raw)
    if kind == "Reference":
        fields.setdefault("identifier", Raw)
    for guard in _GUARDS:
        if r4.has_element(kind, guard):
            fields.setdefault(guard, Raw)
    return fields


def _choice_guards(field: Field, fields: dict[str, Any], siblings: bool) -> None:
    """Room for every kind of a choice, so that another kind than the named one is seen."""
    whole = field.key.endswith("[x]")
    for kind in field.element.kinds:
        name = r4.named(field.element.base, kind)
        if whole and kind == "Period":
            fields[name] = Period
        elif whole and not r4.is_complex(kind):
            fields[name] = _PRIMITIVES.get(kind, str)
            fields.update({"_" + name: Raw} if siblings else {})
        else:
            fields.setdefault(name, Raw)


def _type_of(group: list[Field], siblings: bool) -> Any:
    """The Python type of one JSON member that all these fields share."""
    nodes = [field.node for field in group]
    first = nodes[0]
    if isinstance(first, Items):
        parts = [item for node in nodes if isinstance(node, Items) for item in node.items]
        if any(isinstance(part, Hole) for part in parts):
            return tuple[Concept, ...]
        objects = [part for part in parts if isinstance(part, Object)]
        return tuple[_define(objects[0].kind, _fields(objects, siblings)), ...]  # type: ignore[misc]
    if isinstance(first, Object):
        objects = [node for node in nodes if isinstance(node, Object)]
        return _define(objects[0].kind, _fields(objects, siblings))
    if isinstance(first, Hole) and first.table:
        return Concept
    kind = group[0].element.kind
    if r4.is_complex(kind) or group[0].element.many:
        return Raw
    if isinstance(first, Constant) and kind not in ("boolean", *NUMBERS):
        return type(first.value)
    return _PRIMITIVES.get(kind, str)
