"""One resource type: what of it is ours, which shape reads it, and what comes of it."""

from collections.abc import Callable
from typing import Any

import msgspec

from fhir_msct.mapping import identity, structs, twice
from fhir_msct.mapping.codes import CodeTable
from fhir_msct.mapping.context import Context, origin
from fhir_msct.mapping.reading import DERIVED, SUBSETTED, Aside, Reading
from fhir_msct.mapping.recognition import TransplantScope
from fhir_msct.mapping.rows import Row
from fhir_msct.mapping.scope import OWN_OUTCOME, CodeScope, Known
from fhir_msct.mapping.shape import Shape
from fhir_msct.records import Resource

Rows = tuple[Row, ...]

NOT_READ = ("outcome",)
"""Shapes that are only written: what they describe is ours, and out of scope when it comes back."""


class Kind:
    """All shapes of one resource type, and what decides between them.

    Of several shapes for one code (the shipped one first, then a study's own) the first that gives
    records is taken; where none does, the first one's reason stands.
    """

    def __init__(
        self,
        kind: str,
        shapes: dict[str, Shape],
        tables: dict[str, CodeTable],
        words: Rows,
        recognition: Rows,
    ) -> None:
        self.kind = kind
        mine = [s for n, s in shapes.items() if s.template.kind == kind and n not in NOT_READ]
        stepped = tuple(shape for shape in mine if shape.template.scope)
        by_table: dict[str, tuple[Shape, ...]] = {}
        for shape in mine:
            if shape.scope_table:
                by_table[shape.scope_table] = (*by_table.get(shape.scope_table, ()), shape)
        self.whole = tuple(s for s in mine if not s.template.scope and not s.scope_table)
        self.field = next((s.template.scope_field.key for s in mine if s.template.scope_field), "")
        self.by_code = CodeScope(f"{kind}.{self.field}", by_table, tables, words) if by_table else None
        self.transplant = TransplantScope(stepped, recognition) if stepped else None
        keys = self.transplant.keys if self.transplant else [self.field] if self.field else []
        self.keys = keys
        self.peek: Callable[[bytes], Any] = msgspec.json.Decoder(structs.peek_struct(keys)).decode
        self.judge = self._judge()
        """What the code of a peeked resource says: decided here, once. None where all of a type is wanted."""

    def _judge(self) -> Callable[[Any], Known | Aside | Reading | None]:
        if self.by_code is not None:
            return self.by_code.judge_at(f"f_{self.field}")
        transplant, keys = self.transplant, self.keys
        if transplant is None:
            return lambda peeked: None

        def judge(peeked: Any) -> Known | Aside | Reading:
            raws = ((key, getattr(peeked, f"f_{key}")) for key in keys)
            return transplant.judge({key: b"" if raw is None else bytes(raw) for key, raw in raws})

        return judge

    def codes(self) -> tuple[str, ...]:
        """Every `system|code` in scope; empty where scope is not a matter of codes alone."""
        if self.by_code is None:
            return ()
        tables = [self.by_code.tables[name] for name in self.by_code.shapes]
        return tuple(sorted({f"{row['system']}|{row['code']}" for table in tables for row in table.rows}))

    def read(self, resource: Resource, context: Context) -> Reading:
        """Records, a reason, or out of scope."""
        try:
            peeked = self.peek(resource.body)
        except (msgspec.DecodeError, RecursionError) as error:
            return identity.aside(resource, identity.broken(resource.body, error))
        if peeked.f_resourceType != self.kind:
            reason = Aside("no-type") if peeked.f_resourceType is None else Aside("shape", "resourceType")
            return identity.aside(resource, reason)
        known = self.judge(peeked)
        return known if isinstance(known, Reading) else self.read_known(resource, known, context)

    def read_known(self, resource: Resource, known: Known | Aside | None, context: Context) -> Reading:
        """The reading of a resource that is not out of scope: records, or a reason."""
        if isinstance(known, Aside):
            return identity.aside(resource, known)
        first: Reading | None = None
        for shape in known.shapes if known else self.whole:
            record = shape.record(resource, known, context)
            if record is not None and not twice.is_twice(resource.body, record):
                return Reading((record,))
            reading = self.read_as(resource, shape, known, context)
            if reading.records and (why := twice.why_not(resource.body, self.kind)):
                return identity.aside(resource, why)
            if not reading.set_aside:
                return reading
            first = first or reading
        return first or Reading()

    def read_as(self, resource: Resource, shape: Any, known: Known | None, context: Context) -> Reading:
        """The reading by one mapping file."""
        found = shape.found(resource.body, context.patients, known.value if known else None)
        if isinstance(found, Aside):
            return identity.aside(resource, found)
        return self.build(resource, found, shape, known, context)

    def build(self, resource: Resource, found: Any, shape: Shape, known: Any, context: Context) -> Reading:
        """The records of a reading; one item that cannot become one sets the resource aside."""
        if not found:
            return Reading(out=("", ""))  # a list of which no item is ours
        meta = found[0].o.f_meta
        for tag in (meta.f_tag if meta else None) or ():
            if (tag.f_system, tag.f_code) == DERIVED:
                return Reading(out=OWN_OUTCOME)
            if tag.f_code == SUBSETTED:
                resource = msgspec.structs.replace(resource, subsetted=True)
        if resource.same_id:
            return identity.aside(resource, Aside("same-id", self.kind))
        at = origin(resource, self.kind, found[0].o.f_id, meta)
        made = tuple([shape.build(one, known, at, context) for one in found])
        for one in made:
            if one.__class__ is Aside:
                return identity.aside(resource, one)
        return Reading(made)
