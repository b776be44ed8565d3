"""An edit of an original: the bytes of the values that changed are replaced, and no other byte.

Refused, because something would be lost or would mean something else: removing a value, changing a
code or the kind of a date, adding half a Period, filling a place where the original says why it is
empty. Whatever is written is read back once before it is given out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from fhir_msct.errors import Refused
from fhir_msct.mapping import r4
from fhir_msct.mapping.filler import check_reads_back, encode, json_value, same
from fhir_msct.mapping.selection import item_conditions
from fhir_msct.mapping.spans import Span, characters, spans
from fhir_msct.mapping.subjects import Patients, id_place, local_id
from fhir_msct.mapping.template import Field, Hole, Items, Object
from fhir_msct.records import When

if TYPE_CHECKING:
    from fhir_msct.mapping.shape import Shape

Path = tuple["str | int", ...]


def write(shape: "Shape", values: Mapping[str, Any], onto: bytes, patients: Patients) -> bytes:
    """The original with the values that differ replaced in place.

    Raises Refused where the original is not of this shape, or an edit would lose something.
    """
    item = values.get("item") or 0
    found = shape.found(onto, patients)
    old = next((one for one in found if one.item == item), None) if isinstance(found, tuple) else None
    if old is None:
        raise Refused(f"{shape.name}: nothing of this mapping is in the original")
    body = onto
    for name in shape.holes:
        before, after = getattr(old, name), values.get(name)
        if not same(before, after):
            _check(shape, old, name, before, after)
            body = _edited(shape, body, old, name, after, patients)
    if body is not onto:
        check_reads_back(shape, body, values, item, patients)
    return body


def _check(shape: "Shape", old: Any, name: str, before: Any, after: Any) -> None:
    _, hole = shape.holes[name]
    if after is None:
        raise Refused(f"{name}: removing a value is refused: retract the resource, or say why it is absent")
    if hole.table:
        raise Refused(f"{name} says what this is: write a new resource")
    if before is None and any(at in ("", name) for at, _ in old.why):
        raise Refused(f"{name}: the original says why it is absent: correct it by hand")
    if isinstance(before, When) and isinstance(after, When):
        if before.kind != after.kind:
            raise Refused(f"{name}: {before.kind} to {after.kind} is another element: write a new resource")
        if (before.end is None) != (after.end is None):
            raise Refused(f"{name}: adding or removing a Period's end")


def _edited(shape: "Shape", body: bytes, old: Any, name: str, new: Any, patients: Patients) -> bytes:
    """The body with one hole's value in place of the old one."""
    decoded = shape.decode(body)
    place = _place(shape, shape.template.root, decoded, name, old, patients)
    if place is None:
        raise Refused(f"{name} has no place in the original")
    field, path = place
    _, hole = shape.holes[name]
    if field.key.endswith("[x]") and getattr(old, name) is None:
        path = (*path[:-1], r4.named(field.element.base, new.kind))
    span = spans(body)
    for depth, step in enumerate(path):
        if _absent(span, step):
            return _added(body, span, step, path[depth + 1 :], json_value(shape, field, hole, new))
        span = span.kids[step]
    if getattr(old, name) is None:
        raise Refused(f"{name}: the original holds something there that this mapping cannot read")
    if isinstance(new, When):
        return _when(body, span, getattr(old, name), new)
    if hole.before or hole.after:
        return _within(body, span, field, hole, getattr(old, name), new, patients)
    return body[: span.start] + encode(json_value(shape, field, hole, new)) + body[span.stop :]


def _absent(span: Span, step: str | int) -> bool:
    if isinstance(span.kids, dict):
        return step not in span.kids
    if isinstance(span.kids, list):
        return isinstance(step, int) and step >= len(span.kids)
    raise Refused("the original holds something there that this mapping cannot read")


def _added(body: bytes, parent: Span, step: str | int, rest: Path, fragment: Any) -> bytes:
    """The smallest fragment, last in its parent."""
    for key in reversed(rest):
        fragment = [fragment] if isinstance(key, int) else {key: fragment}
    kids = list(parent.kids.values()) if isinstance(parent.kids, dict) else list(parent.kids)
    at = max((kid.stop for kid in kids), default=parent.start + 1)
    text = encode({step: fragment})[1:-1] if isinstance(step, str) else encode(fragment)
    return body[:at] + (b"," if kids else b"") + text + body[at:]


def _when(body: bytes, span: Span, old: When, new: When) -> bytes:
    if new.kind != "Period":
        text = str(new.value).encode() if r4.is_complex(new.kind) else encode(new.value)
        return body[: span.start] + text + body[span.stop :]
    swaps = [(span.kids["start"], new.value)] if old.value != new.value else []
    swaps += [(span.kids["end"], new.end)] if old.end != new.end else []
    for place, text in sorted(swaps, key=lambda swap: -swap[0].start):
        body = body[: place.start] + encode(text) + body[place.stop :]
    return body


def _within(
    body: bytes, span: Span, field: Field, hole: Hole, old: str, new: str, patients: Patients
) -> bytes:
    """Only the hole inside a string: the id in a reference, the text between constants."""
    chars = characters(body, span.start + 1, span.stop - 1)
    whole = msgspec.json.decode(body[span.start : span.stop], type=str)
    if field.key == "reference":
        if local_id(hole.before[:-1], whole, patients.base) != old:
            raise Refused(f"{hole.name}: the original refers to it in a way that holds no id")
        first = id_place(whole)
    else:
        first = len(hole.before)
    start, stop = chars[first].start(), chars[first + len(old) - 1].end()
    return body[:start] + encode(new)[1:-1] + body[stop:]


def _place(
    shape: "Shape", o: Object, v: Any, name: str, old: Any, patients: Patients, path: Path = ()
) -> tuple[Field, Path] | None:
    """The field and the JSON path of a hole, through the same picks and choices as the reader."""
    chosen = shape.generated.choices[id(o)](v) if o.alternatives and v is not None else None
    parts = [o, *([o.alternatives[chosen or 0]] if o.alternatives else ())]
    for field in (field for part in parts for field in part.fields):
        node, value = field.node, getattr(v, f"f_{field.key}", None) if v is not None else None
        found = None
        if isinstance(node, Hole) and node.name == name and not _scope(shape, field, path):
            return field, (*path, _key(field, v))
        if isinstance(node, Object):
            found = _place(shape, node, value, name, old, patients, (*path, field.key))
        elif isinstance(node, Items):
            found = _item_place(shape, node, value or (), name, old, patients, (*path, field.key), field)
        if found is not None:
            return found
    return None


def _scope(shape: "Shape", field: Field, path: Path) -> bool:
    return field is shape.template.scope_field and not path


def _key(field: Field, v: Any) -> str:
    """The JSON name of a field; of a choice, of the kind that is there."""
    if not field.key.endswith("[x]"):
        return field.key
    names = [r4.named(field.element.base, kind) for kind in field.element.kinds]
    return next((n for n in names if v is not None and getattr(v, f"f_{n}", None) is not None), names[0])


def _item_place(
    shape: "Shape", node: Items, items: Any, name: str, old: Any, patients: Patients, path: Path, field: Field
) -> tuple[Field, Path] | None:
    for item in node.items:
        if isinstance(item, Hole):
            continue  # a code: never edited
        if node.step == "each":
            n: int | None = old.item
        else:
            who = (lambda: patients.who(old.subject, old.when)) if hasattr(old, "when") else None
            n = shape.generated.picks[id(item)](items, who) if items else None
        inside = items[n] if n is not None and n < len(items) else None
        at = n if n is not None else len(items)
        found = _place(shape, item, inside, name, old, patients, (*path, at))
        if found is not None:
            if inside is None and _selects(item):
                raise Refused(f"{name}: the original has no such item: write a new resource")
            return found
    return None


def _selects(item: Object) -> bool:
    """Whether constants choose the item, so that a new one would need more than the value."""
    return bool(item_conditions(item, "i"))
