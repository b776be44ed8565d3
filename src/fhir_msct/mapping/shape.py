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
from fhir_msct.mapping.derived import BUILDERS
from fhir_msct.mapping.generate import Generated
from fhir_msct.mapping.reading import Aside
from fhir_msct.mapping.subjects import Patients
from fhir_msct.mapping.template import Hole, Template

NOBODY = Patients()


class Shape:
    """The resource with holes of one mapping file, compiled."""

    def __init__(self, template: Template, tables: Mapping[str, CodeTable], also: Iterable[str] = ()) -> None:
        """`also`: names that a reading has besides the holes, always empty."""
        self.template, self.tables = template, tables
        self.struct = structs.resource_struct(template)
        self.decode = msgspec.json.Decoder(self.struct).decode
        self.generated = Generated(template, dict(tables), also)
        lean = structs.resource_struct(template, siblings=False)
        self._decode_lean = msgspec.json.Decoder(lean).decode
        self._read_lean = Generated(template, dict(tables), also, siblings=False).read
        self.holes = template.holes
        self.build: Callable[..., Any] = BUILDERS.get(template.name.split("-")[0], _only_written)
        """What makes a record, or an Aside, of a reading."""

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.template.name

    @property
    def scope_table(self) -> str:
        """The code table that decides what this mapping reads; empty where none does."""
        field = self.template.scope_field
        return field.node.table if field is not None and isinstance(field.node, Hole) else ""

    def found(self, body: bytes, patients: Patients = NOBODY, known: str | None = None) -> Any:
        """What stands in the holes, as a tuple with one item a record; or an Aside.

        `known` is what the scope's code table said of this resource; it is looked up where absent.
        """
        # Most bodies hold no `_` member of a primitive, and reading those needs half as many looks.
        lean = b"\\" not in body and (b"_" not in body or b'"_' not in body)
        try:
            decoded = self._decode_lean(body) if lean else self.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            return Aside("shape", self.template.kind, path_of(error))
        if known is None and self.template.scope_field is not None:
            known = self.known(body)
        return (self._read_lean if lean else self.generated.read)(decoded, patients, known)

    def known(self, body: bytes) -> str | None:
        """What the code of a resource means in the table that decides the scope."""
        field = self.template.scope_field
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


def _only_written(found: Any, known: Any, at: Any, context: Any) -> Aside:
    """What a mapping that is only written makes of a resource: nothing of the study's records."""
    return Aside("not-allowed")


def path_of(error: Exception) -> str:
    """Where a decoder stopped: its message without the offending value."""
    text = str(error)
    return text[text.rfind("`$") :].strip("`") if "`$" in text else type(error).__name__
