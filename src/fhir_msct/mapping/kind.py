"""One resource type: what of it is ours, which shape reads it, and what comes of it."""

from collections.abc import Callable
from typing import Any

import msgspec

from fhir_msct.mapping import identity, structs
from fhir_msct.mapping.codes import CodeTable
from fhir_msct.mapping.derived import BUILDERS, Context, origin
from fhir_msct.mapping.reading import Aside, Reading
from fhir_msct.mapping.recognition import TransplantScope
from fhir_msct.mapping.rows import Row
from fhir_msct.mapping.scope import OWN_OUTCOME, CodeScope, Known, Out
from fhir_msct.mapping.shape import Shape
from fhir_msct.records import Resource

Rows = tuple[Row, ...]

DERIVED = ("urn:fhir-msct:tags", "derived")
"""The tag of what we computed and pushed: never read as a measurement."""

SUBSETTED = "SUBSETTED"
"""A server's word that this is a part of a resource: read and flagged, never written onto.

https://hl7.org/fhir/R4/resource.html#tag (v3-ObservationValue, under two system names)
"""

NOT_READ = ("outcome",)
"""Shapes that are only written: what they describe is ours, and out of scope when it comes back."""


class Kind:
    """All shapes of one resource type, and what decides between them."""

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
        stepped = next((shape for shape in mine if shape.template.scope), None)
        self.whole = next((s for s in mine if not s.template.scope and s.template.scope_field is None), None)
        by_table = {s.template.scope_field.node.table: s for s in mine if s.template.scope_field}  # type: ignore[union-attr]
        fields = {shape.template.scope_field.key for shape in by_table.values()}  # type: ignore[union-attr]
        self.field = next(iter(fields), "")
        self.by_code = CodeScope(f"{kind}.{self.field}", by_table, tables, words) if fields else None
        self.transplant = TransplantScope(stepped, recognition) if stepped else None
        keys = self.transplant.keys if self.transplant else [self.field] if self.field else []
        self.keys = keys
        self.peek: Callable[[bytes], Any] = msgspec.json.Decoder(structs.peek_struct(keys)).decode

    def codes(self) -> tuple[str, ...]:
        """Every `system|code` in scope; empty where scope is not a matter of codes alone."""
        if self.by_code is None:
            return ()
        tables = [self.by_code.tables[name] for name in self.by_code.shapes]
        return tuple(sorted({f"{row['system']}|{row['code']}" for table in tables for row in table.rows}))

    def read(self, resource: Resource, context: Context) -> Reading:
        """Records, a reason, or out of scope: decided here, once."""
        body = resource.body
        try:
            peeked = self.peek(body)
        except (msgspec.DecodeError, RecursionError) as error:
            return identity.aside(resource, identity.broken(body, error))
        if peeked.f_resourceType != self.kind:
            reason = Aside("no-type") if peeked.f_resourceType is None else Aside("shape", "resourceType")
            return identity.aside(resource, reason)
        known = self.judge(peeked)
        if isinstance(known, Out):
            return Reading(out=(known.system, known.code))
        if isinstance(known, Aside):
            return identity.aside(resource, known)
        shape: Any = known.shape if known else self.whole
        found = shape.found(body, context.patients, known.value if known else None)
        if isinstance(found, Aside):
            return identity.aside(resource, found)
        return self.build(resource, found, shape, known, context)

    def judge(self, peeked: Any) -> Known | Aside | Out | None:
        """What the code says; None where everything of this type is wanted."""
        raws = {key: b"" if (raw := getattr(peeked, f"f_{key}")) is None else bytes(raw) for key in self.keys}
        if self.by_code is not None:
            return self.by_code.judge(raws[self.field])
        return self.transplant.judge(raws) if self.transplant else None

    def build(self, resource: Resource, found: Any, shape: Shape, known: Any, context: Context) -> Reading:
        """The records of a reading; one item that cannot become one sets the resource aside."""
        if not found:
            return Reading(out=("", ""))  # a list of which no item is ours
        meta = found[0].o.f_meta
        tags = {(tag.f_system, tag.f_code) for tag in meta.f_tag or ()} if meta else set()
        if DERIVED in tags:
            return Reading(out=OWN_OUTCOME)
        if any(code == SUBSETTED for _, code in tags):
            resource = msgspec.structs.replace(resource, subsetted=True)
        resource = identity.identified(
            resource, identity.Head(self.kind, getattr(found[0], "id", None), meta)
        )
        if resource.same_id:
            return identity.aside(resource, Aside("same-id", self.kind))
        make, at = BUILDERS[shape.name.split("-")[0]], origin(resource)
        made = [make(one, known, at, context) for one in found]
        for one in made:
            if isinstance(one, Aside):
                return identity.aside(resource, one)
        return Reading(records=tuple(made))
