"""What the analysis concludes: the rows of `outcomes/*.csv`, in CDISC ADaM words.

Exact numbers are fractions until they are printed; floats begin where a statistic has no exact value
(a standard deviation, a p-value).
"""

from datetime import date
from fractions import Fraction

from msgspec import Struct

Number = Fraction | float | None


class Analysis(Struct, frozen=True, kw_only=True):
    """One row of `analysis.csv` (ADaM BDS): a value in its course and visit, chosen or not, and why."""

    usubjid: str
    paramcd: str
    course: int | None = None
    avisit: str = ""
    adt: date | None = None
    ady: int | None = None
    cady: int | None = None
    aval: Fraction | None = None
    avalu: str = ""
    comparator: str = ""
    base: Fraction | None = None
    chg: Fraction | None = None
    pchg: Fraction | None = None
    ablfl: str = ""
    anl01fl: str = ""
    why_not: str = ""
    """Why a value was not chosen, or cannot be used: empty where `anl01fl` or `ablfl` is Y."""
    flags: tuple[str, ...] = ()
    source: str = ""
    """Every resource version the value rests on, separated by one space."""


class Outcome(Struct, frozen=True, kw_only=True):
    """One subject's answer to one endpoint in one course (`by_subject.csv`)."""

    usubjid: str
    course: int
    endpoint: str
    value: str = ""
    """Decimal text for a number, a date or a word otherwise; empty when not evaluable."""
    unit: str = ""
    status: str = ""
    """`met`, `not met`, `not evaluable` or `value`."""
    reason: str = ""
    source: str = ""
    """Every resource version the answer rests on, separated by one space."""
    paramcd: str = ""
    avisit: str = ""
    adt: date | None = None
    """Date the answer is about: the visit's value, or the event."""
    base_adt: date | None = None
    base: str = ""
    aval: str = ""
    """Baseline and follow-up in the study's unit, as decimal text, where the answer compares two values."""
    base_comparator: str = ""
    comparator: str = ""
    """Of `base` and `aval`: `<` before 0.3 is some value below 0.3."""
    value_comparator: str = ""
    """Of `value`: what follows for it from those two; a number without one is exact."""


class VisitSummary(Struct, frozen=True, kw_only=True):
    """One parameter at one visit of one course (`by_visit.csv`)."""

    paramcd: str
    course: int
    avisit: str
    n: int = 0
    n_infused: int = 0
    not_due: int = 0
    retreated: int = 0
    missing: int = 0
    mean: Number = None
    sd: Number = None
    median: Number = None
    q1: Number = None
    q3: Number = None
    min: Number = None
    max: Number = None
    base_n: int | None = None
    base_mean: Number = None
    base_median: Number = None
    chg_n: int | None = None
    chg_mean: Number = None
    chg_sd: Number = None
    chg_median: Number = None
    pchg_median: Number = None
    method: str = ""
    p: Number = None
    estimate: Number = None
    ci_lo: Number = None
    ci_hi: Number = None
    conf: Number = None
    t_p: Number = None
    gmr: Number = None
    gmr_lo: Number = None
    gmr_hi: Number = None
    flags: tuple[str, ...] = ()
    pair_base_median: Number = None
    pair_median: Number = None
    """Before and after in the same subjects: those who have a change."""


class Answer(Struct, frozen=True, kw_only=True):
    """The trial's answer to one endpoint in one population (`endpoints.csv`)."""

    endpoint: str
    paramcd: str = ""
    course: int = 1
    avisit: str = ""
    population: str = ""
    n: int | None = None
    x: int | None = None
    """Subjects who met it, for a proportion."""
    value: Number = None
    unit: str = ""
    ci_lo: Number = None
    ci_hi: Number = None
    conf: Number = None
    p: Number = None
    method: str = ""
    rule: str = ""
    status: str = ""
    """`value`, or `not evaluable`."""
    reason: str = ""


class Results(Struct, frozen=True, kw_only=True):
    """All that the `outcomes` stage computes."""

    analysis: tuple[Analysis, ...] = ()
    by_subject: tuple[Outcome, ...] = ()
    by_visit: tuple[VisitSummary, ...] = ()
    endpoints: tuple[Answer, ...] = ()
