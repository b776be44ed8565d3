"""The study's records: one frozen row each, in CDISC words, always with the resource version it came from.

A record holds the *holes* of its mapping (what can be read from a resource and written back) and
fields *derived* from them, which are computed and never edited. The rows of `records/*.csv` are these
records, column by column (`tables.py`).
"""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from msgspec import Struct


class When(Struct, frozen=True, gc=False):
    """One element of a choice type such as `effective[x]`: its kind, its value, and a Period's end."""

    kind: str
    value: Any
    end: str | None = None


class Resource(Struct, frozen=True, gc=False):
    """One FHIR resource exactly as it came: its bytes, and where and when the server says it belongs."""

    type: str
    id: str | None
    body: bytes
    version: str | None = None
    lastupdated: str | None = None
    full_url: str | None = None
    subsetted: bool = False
    deleted: bool = False
    same_id: bool = False
    """Another body claims the same type and id, and no version says which is newer."""
    where: str = ""
    """File and place it was cut from, for reports."""


class SetAside(Struct, frozen=True, gc=False):
    """A resource that could not become a record, with the reason code and where to look."""

    type: str
    id: str
    source: str
    reason: str
    detail: str = ""
    where: str = ""


class Subject(Struct, frozen=True, kw_only=True, gc=False):
    """One patient of the study (Patient -> ADSL)."""

    # holes
    id: str | None = None
    sex: str | None = None
    birth: str | None = None
    death: When | None = None
    # derived
    usubjid: str = ""
    age: int | None = None
    """Whole years at the first infusion; None without one, or with a partial birth date."""
    dx: str = ""
    dthdt: str = ""
    """Date of death as written; `Y` where the server only says that the patient died."""
    trtsdt: date | None = None
    courses: int = 0
    infusedfl: str = "N"
    evalfl: str = "N"
    excluded_why: str = ""
    source: str = ""
    flags: tuple[str, ...] = ()


class Measurement(Struct, frozen=True, gc=False):
    """One measured value (Observation -> LB/QS/MK row with ADaM words)."""

    # holes
    id: str | None = None
    status: str = ""
    paramcd: str = ""
    subject: str = ""
    when: When | None = None
    value: Decimal | None = None
    comparator: str | None = None
    unit_text: str | None = None
    unit_system: str | None = None
    unit: str | None = None
    side: str | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    # derived
    usubjid: str = ""
    param: str = ""
    adtc: str = ""
    aendtc: str = ""
    adt: date | None = None
    aval: Decimal | None = None
    """In the study's unit, as printed: exact, or 15 significant digits with the flag `rounded`."""
    avalu: str = ""
    orres: str = ""
    orresu: str = ""
    orcode: str = ""
    orsystem: str = ""
    anrlo: Decimal | None = None
    anrhi: Decimal | None = None
    scale: str = ""
    source: str = ""
    lastupdated: str = ""
    code_row: str = ""
    unit_row: str = ""
    flags: tuple[str, ...] = ()
    factor: Fraction | None = None
    """Study units in one unit as received; `exact` is `orres * factor`."""
    ornrlo: str = ""
    ornrhi: str = ""
    range_factor: Fraction | None = None
    identifiers: tuple[str, ...] = ()
    """Business identifiers, `system|value`: the same one twice is the same result sent twice."""

    @property
    def exact(self) -> Fraction | None:
        """The value in the study's unit, exactly."""
        if not self.orres or self.factor is None:
            return None
        return Fraction(Decimal(self.orres)) * self.factor

    @property
    def exact_low(self) -> Fraction | None:
        """Lower limit of normal in the study's unit, exactly."""
        return self._limit(self.ornrlo)

    @property
    def exact_high(self) -> Fraction | None:
        """Upper limit of normal in the study's unit, exactly."""
        return self._limit(self.ornrhi)

    def _limit(self, text: str) -> Fraction | None:
        if not text or self.range_factor is None:
            return None
        return Fraction(Decimal(text)) * self.range_factor


class Transplant(Struct, frozen=True, kw_only=True, gc=False):
    """One resource that says cells were infused (Procedure or MedicationAdministration -> EX)."""

    # holes
    id: str | None = None
    status: str = ""
    subject: str = ""
    when: When | None = None
    cell_source: str | None = None
    dose: Decimal | None = None
    doseu: str | None = None
    # derived
    usubjid: str = ""
    course: int | None = None
    """Treatment course it belongs to; None while it awaits review."""
    infusion: int | None = None
    """Number of the infusion within its subject; resources of one date share it."""
    exstdtc: str = ""
    exendtc: str = ""
    exstdt: date | None = None
    product: str = ""
    recognised_by: str = ""
    """`product code`, `local code`, `code + text` or `text only`."""
    source: str = ""
    lastupdated: str = ""
    flags: tuple[str, ...] = ()


class Finding(Struct, frozen=True, kw_only=True, gc=False):
    """A diagnosis, a manifestation, or an investigator's judgement of one (Condition, Observation)."""

    # holes
    id: str | None = None
    status: str | None = None
    """Of a judgement its Observation's; of a Condition its verification, where it says one."""
    term: str = ""
    subject: str = ""
    when: When | None = None
    abated: When | None = None
    recorded: str | None = None
    state: str | None = None
    # derived
    usubjid: str = ""
    finding: str = ""
    """`ILD`, `ULCER`, `DX`, or a judgement: `ILDRESP`, `ULCRESP`."""
    adtc: str = ""
    aendtc: str = ""
    adt: date | None = None
    aendt: date | None = None
    source: str = ""
    lastupdated: str = ""
    flags: tuple[str, ...] = ()


class DerivedOutcome(Struct, frozen=True, kw_only=True, gc=False):
    """One answer of one subject as it goes back to a server (an Observation that carries our tag)."""

    id: str | None = None
    study: str = ""
    identifier: str = ""
    research_study: str = ""
    device: str = ""
    status: str = ""
    """`preliminary` unless every input is final, amended or corrected."""
    category: str | None = None
    endpoint: str = ""
    rule: str = ""
    subject: str = ""
    when: When | None = None
    issued: str | None = None
    """The newest input's issued or effective instant; never the time of the run."""
    value: Decimal | None = None
    value_comparator: str | None = None
    unit_text: str | None = None
    unit: str | None = None
    answer: str | None = None
    """`met` or `not-met`; only one of answer, value, day and word is there."""
    day: str | None = None
    word: str | None = None
    derived_from: str | None = None
    """JSON list of references to the Observations it rests on, each with its version."""
    part_of: str | None = None
    """JSON list of references to the infusions of the course."""
    base: Decimal | None = None
    base_comparator: str | None = None
    base_unit: str | None = None
    aval: Decimal | None = None
    aval_comparator: str | None = None
    aval_unit: str | None = None
    detail: Decimal | None = None
    """What an answer of met or not met rests on: a percentage, a day, or a word such as the visit."""
    detail_comparator: str | None = None
    detail_unit: str | None = None
    detail_day: str | None = None
    detail_word: str | None = None


class StudyRecords(Struct, frozen=True, kw_only=True):
    """All records of one study, as the `records` stage leaves them."""

    subjects: tuple[Subject, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    transplants: tuple[Transplant, ...] = ()
    findings: tuple[Finding, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
