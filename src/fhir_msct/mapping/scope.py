"""What is ours: decided by the code alone, before anything else is looked at.

Each distinct code element is judged once; most of what a hospital sends is out of scope, and its bytes
have been seen before.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.mapping import twice
from fhir_msct.mapping.codes import CodeTable
from fhir_msct.mapping.reading import REMEMBERED, Aside, Reading
from fhir_msct.mapping.rows import Row
from fhir_msct.mapping.words import Words

OWN_OUTCOME = ("urn:fhir-msct", "own-outcome")


class Known(Struct, frozen=True, eq=False):
    """What the code of a resource in scope says: one object for each text of a code."""

    shapes: tuple[Any, ...]
    value: str
    row: Row
    system: str = ""
    code: str = ""
    tier: str = ""
    flags: tuple[str, ...] = ()


class _Coding(Struct, frozen=True):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class Concept(Struct, frozen=True):
    """A CodeableConcept with its words."""

    coding: tuple[_Coding, ...] | None = None
    text: str | None = None

    def words(self) -> Iterable[str]:
        """All its texts."""
        return filter(None, (self.text, *(coding.display for coding in self.coding or ())))


concept_of = msgspec.json.Decoder(Concept).decode


class CodeScope:
    """The scope of a resource type whose shapes are chosen by the tables of their codes."""

    def __init__(
        self,
        path: str,
        shapes: dict[str, tuple[Any, ...]],
        tables: dict[str, CodeTable],
        words: Iterable[Row],
    ) -> None:
        """`shapes`: table name -> its mapping files; `words`: what the texts of a parameter look like."""
        self.path, self.shapes, self.tables = path, shapes, tables
        self.words = [(row["paramcd"], Words(row["words"]), Words(row["unless_words"])) for row in words]
        self.seen: dict[bytes, Known | Aside | Reading] = {}

    def judge_at(self, place: str) -> Callable[[Any], Known | Aside | Reading]:
        """What the code element of a peeked resource says; `place` is the attribute that holds its bytes."""
        seen, judged, raw_of = self.seen, self._judged, attrgetter(place)

        def judge(peeked: Any) -> Known | Aside | Reading:
            raw = raw_of(peeked)
            key = b"" if raw is None else b"" + raw  # a copy, at half the time of bytes(raw)
            return seen.get(key) or judged(key)

        return judge

    def _judged(self, raw: bytes) -> Known | Aside | Reading:
        found = self._judge(raw)
        if len(self.seen) < REMEMBERED:
            self.seen[raw] = found
        return found

    def _judge(self, raw: bytes) -> Known | Aside | Reading:
        try:
            concept = concept_of(raw) if raw else Concept()
        except msgspec.DecodeError:
            return Aside("shape", self.path)
        if raw and (why := twice.why_not(raw, self.path)):
            return why
        codings = [(coding.system or "", coding.code or "") for coding in concept.coding or ()]
        if not any(code for _, code in codings):
            return Aside("no-code", self.path, concept.text or "")
        found = [
            Known(shapes, meaning.value, meaning.row, system, code, flags=_flags(meaning))
            for table, shapes in self.shapes.items()
            for system, code in codings
            if (meaning := self.tables[table].meaning(system, code))
        ]
        if len({(known.shapes[0].name, known.value) for known in found}) > 1:
            return Aside("codes-contradict", self.path)
        if not found:
            return Reading(out=OWN_OUTCOME if self._own_outcome(codings) else codings[0])
        if found[0].row["relation"] == "refused":
            return Aside("history-not-event", self.path)
        return self._with_text(found[0], concept)

    def _own_outcome(self, codings: list[tuple[str, str]]) -> bool:
        table = self.tables.get("outcome_codes")
        return table is not None and any(table.meaning(*coding) for coding in codings)

    def _with_text(self, known: Known, concept: Concept) -> Known:
        """Flags a code whose own text names another parameter."""
        text = concept.text or ""
        named = {paramcd for paramcd, words, unless in self.words if words(text) and not unless(text)}
        if not text or not named or known.value in named:
            return known
        return msgspec.structs.replace(known, flags=(*known.flags, "code_text_differs"))


def _flags(meaning: Any) -> tuple[str, ...]:
    alias = ("system_alias",) if meaning.alias else ()
    return alias if meaning.row.approved else (*alias, "unapproved")
