"""A new resource: the template with its holes filled; what has no value is left out."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from fhir_msct.errors import Refused
from fhir_msct.mapping import r4
from fhir_msct.mapping.structs import NUMBERS
from fhir_msct.mapping.template import Constant, Field, Hole, Items, Object, holes_of
from fhir_msct.records import When

if TYPE_CHECKING:
    from fhir_msct.mapping.shape import Shape

encode = msgspec.json.Encoder().encode


def write(shape: "Shape", values: Mapping[str, Any]) -> bytes:
    """The bytes of a new resource, read back once before they are given out.

    Raises Refused where a needed value is missing, or the resource would not read back as it was.
    """
    kind = shape.template.kind
    body = encode({"resourceType": kind, **_merged(_filled(shape, shape.template.root, values))})
    check_reads_back(shape, body, values)
    return body


def check_reads_back(
    shape: "Shape", body: bytes, values: Mapping[str, Any], item: int = 0, patients: Any = None
) -> None:
    """Raises Refused unless the bytes read back as exactly these values, digit for digit."""
    found = shape.found(body, patients) if patients is not None else shape.found(body)
    if not isinstance(found, tuple):
        raise Refused(f"{shape.name}: would be set aside as {found.reason} at {found.where}")
    mine = next((one for one in found if one.item == item), None)
    for name in shape.holes:
        if mine is None or not same(getattr(mine, name), values.get(name)):
            raise Refused(f"{shape.name}: {name} would not read back as it is")


def same(one: Any, other: Any) -> bool:
    """Equal to the last digit: 5.4 is not 5.40, and -0 is not 0."""
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one.as_tuple() == other.as_tuple()
    return type(one) is type(other) and bool(one == other)


def _filled(shape: "Shape", o: Object, values: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = dict(o.written)
    parts = [o, *(part for part in o.alternatives if part is _alternative(o, values))]
    for field in (field for part in parts for field in part.fields):
        node = field.node
        if isinstance(node, Constant):
            out[field.key] = node.value
        elif isinstance(node, Hole):
            if not node.private:
                _fill_hole(shape, field, node, values, out)
        elif isinstance(node, Object):
            if _any(node, values):
                out[field.key] = _filled(shape, node, values)
        elif isinstance(node, Items) and (items := _fill_items(shape, node, values)):
            out[field.key] = items
    return out


def _alternative(o: Object, values: Mapping[str, Any]) -> Object | None:
    """The first alternative that has room for every value that only an alternative could take."""
    outside = {hole.name for field in o.fields for _, hole in holes_of(field)}
    room = [(part, {hole.name for _, hole in part.holes()} - outside) for part in o.alternatives]
    wanted = {name for _, names in room for name in names if values.get(name) is not None}
    return next((part for part, names in room if wanted <= names), room[0][0] if room else None)


def _any(o: Object, values: Mapping[str, Any]) -> bool:
    """Whether an object has something to hold: a value, or nothing but constants."""
    holes = [hole for _, hole in o.holes() if not hole.private]
    return not holes or any(values.get(hole.name) is not None for hole in holes)


def _fill_items(shape: "Shape", node: Items, values: Mapping[str, Any]) -> list[Any]:
    filled = []
    for item in node.items:
        if isinstance(item, Hole):
            if values.get(item.name) is not None:
                filled.append(_concept(shape, item, values[item.name]))
        elif _any(item, values):
            filled.append(_filled(shape, item, values))
    return filled


def _fill_hole(
    shape: "Shape", field: Field, hole: Hole, values: Mapping[str, Any], out: dict[str, Any]
) -> None:
    value = values.get(hole.name)
    if value is None:
        if not hole.optional:
            raise Refused(f"{shape.name}: {hole.name} is needed")
    elif field.key.endswith("[x]"):
        if not isinstance(value, When) or value.kind not in field.element.kinds:
            raise Refused(f"{shape.name}: {hole.name}: R4 has no such kind of {field.key}")
        out[r4.named(field.element.base, value.kind)] = json_value(shape, field, hole, value)
    else:
        out[field.key] = json_value(shape, field, hole, value)


def json_value(shape: "Shape", field: Field, hole: Hole, value: Any) -> Any:
    """One hole's value as it stands in JSON. Raises Refused where it cannot stand there."""
    if hole.table:
        return _concept(shape, hole, value)
    if isinstance(value, When):
        if value.kind == "Period":
            return {
                key: text for key, text in (("start", value.value), ("end", value.end)) if text is not None
            }
        return Raw(str(value.value).encode()) if r4.is_complex(value.kind) else value.value
    if hole.allowed and value not in hole.allowed:
        raise Refused(f"{shape.name}: {hole.name} is none of {', '.join(hole.allowed)}")
    if field.element.kind in NUMBERS:
        if not isinstance(value, Decimal) or not value.is_finite():
            raise Refused(f"{shape.name}: {hole.name} is not a finite Decimal")
        if field.element.kind != "decimal" and value != value.to_integral_value():
            raise Refused(f"{shape.name}: {hole.name}: R4 wants a whole number there")
        return Raw(str(value).encode())
    if field.element.many or r4.is_complex(field.element.kind):
        return Raw(str(value).encode())
    return hole.before + value + hole.after if isinstance(value, str) else value


def _concept(shape: "Shape", hole: Hole, value: str) -> dict[str, Any]:
    row = shape.tables[hole.table].preferred(value)
    if row is None:
        raise Refused(f"{shape.name}: {hole.name}: no row of {hole.table}.csv is there to write")
    display = {"display": row["display"]} if row["display"] else {}
    return {"coding": [{"system": row["system"], "code": row["code"], **display}]}


def _merged(out: dict[str, Any]) -> dict[str, Any]:
    """FHIR's usual order for what people read first; the rest as the template has it."""
    first = [key for key in ("id", "meta") if key in out]
    return {key: out[key] for key in (*first, *(k for k in out if k not in first))}
