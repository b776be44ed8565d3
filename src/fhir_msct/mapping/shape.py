"""One mapping file at work, in both directions: resource to holes, holes to resource.

Laws: what was written reads back as it was; writing onto the untouched original gives its bytes; an
edit replaces the bytes of that value and no other byte.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from fhir_msct.errors import Refused
from fhir_msct.mapping import editor, filler, structs
from fhir_msct.mapping.codes import CodeTable
from fhir_msct.mapping.context import Context
from fhir_msct.mapping.derived import BUILDERS
from fhir_msct.mapping.generate import Generated
from fhir_msct.mapping.measured import measurement
from fhir_msct.mapping.quick import Quick
from fhir_msct.mapping.reading import MARKS, Aside
from fhir_msct.mapping.subjects import Patients
from fhir_msct.mapping.template import Hole, Template
from fhir_msct.records import Resource

NOBODY = Patients()
UNDERSCORE, BACKSLASH = b"_\\"


class Shape:
    """The resource with holes of one mapping file, compiled."""

    def __init__(self, template: Template, tables: Mapping[str, CodeTable], also: Iterable[str] = ()) -> None:
        """`also`: names that a reading has besides the holes, always empty."""
        self.template, self.tables = template, tables
        self.struct = structs.resource_struct(template)
        self.decode = msgspec.json.Decoder(self.struct).decode
        self.generated = Generated(template, dict(tables), also)
        self.holes, self.scope_field = template.holes, template.scope_field
        self.build: Callable[..., Any] = BUILDERS.get(template.name.split("-")[0], _only_written)
        """What makes a record, or an Aside, of a reading."""
        self._quick = None if self.build is not measurement or template.each else self._quickly(also)

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.template.name

    @property
    def scope_table(self) -> str:
        """The code table that decides what this mapping reads; empty where none does."""
        field = self.scope_field
        return field.node.table if field is not None and isinstance(field.node, Hole) else ""

    def found(self, body: bytes, patients: Patients = NOBODY, known: str | None = None) -> Any:
        """What stands in the holes, as a tuple with one item a record; or an Aside.

        `known` is what the scope's code table said of this resource; it is looked up where absent.
        """
        try:
            decoded = self.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            return Aside("shape", self.template.kind, path_of(error))
        if known is None and self.scope_field is not None:
            known = self.known(body)
        return self.generated.read(decoded, patients, known)

    def _quickly(self, also: Iterable[str]) -> tuple[Callable[[bytes], Any], Callable[..., Any]]:
        """The decoder and the reading function of a body in which nothing is unusual."""
        usual = msgspec.json.Decoder(structs.resource_struct(self.template, siblings=False))
        return usual.decode, Quick(self.template, dict(self.tables), also).read

    def record(self, resource: Resource, known: Any, context: Context) -> Any:
        """The record of a measurement in which nothing is unusual, at less than half the cost of the rest.

        None says only that something is unusual, or that this is no measurement.
        """
        body = resource.body
        if self._quick is None or known is None or resource.same_id or resource.subsetted:
            return None
        if (UNDERSCORE in body or BACKSLASH in body) and may_hold_siblings(body):
            return None
        decode, read = self._quick
        try:
            decoded = decode(body)
            meta = decoded.f_meta
            if meta is not None and meta.f_tag and any(tag.f_code in MARKS for tag in meta.f_tag):
                return None
            made = read(decoded, context.patients, known.value, known, resource, context)
        except (ValueError, RecursionError):
            return None
        return None if made.__class__ is Aside else made

    def known(self, body: bytes) -> str | None:
        """What the code of a resource means in the table that decides the scope."""
        field = self.scope_field
        assert field is not None and isinstance(field.node, Hole)  # noqa: S101  asked only then
        table = self.tables[field.node.table]
        raw = getattr(msgspec.json.decode(body, type=structs.peek_struct([field.key])), f"f_{field.key}")
        concept = msgspec.json.decode(raw, type=structs.Concept) if raw is not None else None
        meanings = {
            meaning.value
            for coding in (concept.f_coding if concept else None) or ()
            if (meaning := table.meaning(coding.f_system, coding.f_code))
        }
        return meanings.pop() if len(meanings) == 1 else None

    def write(
        self, values: Mapping[str, Any], onto: bytes | None = None, patients: Patients = NOBODY
    ) -> bytes:
        """The JSON bytes of a resource that holds these values; see `filler` and `editor`.

        Raises Refused where the values cannot be written without losing something.
        """
        if onto is None:
            return filler.write(self, values)
        meta = self.decode(onto).f_meta  # type: ignore[attr-defined]  # every resource's struct has it
        if meta is not None and any(tag.f_code == "SUBSETTED" for tag in meta.f_tag or ()):
            raise Refused(
                f"{self.name}: the original is only a part of a resource (SUBSETTED): read it whole first"
            )
        return editor.write(self, values, onto, patients)


def may_hold_siblings(body: bytes) -> bool:
    """Whether the bytes may hold a `_` member of a primitive: a `"_`, or an escape that could hide one."""
    if BACKSLASH in body and b"\\u" in body:
        return True
    if UNDERSCORE not in body:  # a single byte is found at the speed of memory, and a quote before it is not
        return False
    return any(part.endswith(b'"') for part in body.split(b"_")[:-1])


def _only_written(found: Any, known: Any, at: Any, context: Any) -> Aside:
    """What a mapping that is only written makes of a resource: nothing of the study's records."""
    return Aside("not-allowed")


def path_of(error: Exception) -> str:
    """Where a decoder stopped: its message without the offending value."""
    text = str(error)
    return text[text.rfind("`$") :].strip("`") if "`$" in text else type(error).__name__
