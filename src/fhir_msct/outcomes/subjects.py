"""What the trial makes of each patient (`subjects.csv`): age, diagnosis, death, courses, populations."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from msgspec.structs import replace

from fhir_msct.dates import calendar_date
from fhir_msct.outcomes.follow import follow
from fhir_msct.outcomes.treated import Treated
from fhir_msct.plan import Plan
from fhir_msct.records import StudyRecords, Subject, Transplant

DEATH_WITHOUT_DATE = "Y"


def complete(
    subjects: Iterable[Subject], records: StudyRecords, plan: Plan, data_cut: date | None = None
) -> tuple[Subject, ...]:
    """The same subjects in the same order, with everything filled that their records say.

    `infusedfl` is Y with at least one course; `evalfl` is Y when course 1 has, for any parameter, both a
    baseline and a value at a scheduled visit; `excluded_why` says which of the two is missing and why.
    """
    courses: dict[str, list[Treated]] = defaultdict(list)
    diagnoses: dict[str, set[str]] = defaultdict(set)
    transplants: dict[str, list[Transplant]] = defaultdict(list)
    for one in follow(records, plan, data_cut).treated:
        courses[one.usubjid].append(one)
    for finding in records.findings:
        if finding.finding == "DX":
            diagnoses[finding.usubjid].add(finding.term)
    for transplant in records.transplants:
        transplants[transplant.usubjid].append(transplant)
    return tuple(
        _completed(row, courses[row.usubjid], diagnoses[row.usubjid], transplants[row.usubjid])
        for row in subjects
    )


def age_at(birth: str | None, day: date | None) -> int | None:
    """Whole years between a full birth date and a day; None without either, or before birth."""
    born = calendar_date(birth)
    if born is None or day is None or day < born:
        return None
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _completed(
    subject: Subject, courses: list[Treated], diagnoses: set[str], transplants: list[Transplant]
) -> Subject:
    anchor = courses[0].course.first.day if courses else None
    evaluable = bool(courses) and _is_evaluable(courses[0])
    return replace(
        subject,
        age=age_at(subject.birth, anchor),
        dx=" ".join(sorted(diagnoses)),
        dthdt=_death(subject),
        trtsdt=anchor,
        courses=len(courses),
        infusedfl="Y" if courses else "N",
        evalfl="Y" if evaluable else "N",
        excluded_why="" if evaluable else _why_excluded(courses, transplants),
    )


def _death(subject: Subject) -> str:
    """The date as written; `Y` where the server says no more than that the patient died."""
    if subject.death is None:
        return subject.dthdt
    value = subject.death.value
    return (DEATH_WITHOUT_DATE if value else "") if isinstance(value, bool) else str(value)


def _is_evaluable(first: Treated) -> bool:
    return any(series.baseline and series.visits for series in first.series.values())


def _why_excluded(courses: list[Treated], transplants: list[Transplant]) -> str:
    if courses:
        has_baseline = any(series.baseline for series in courses[0].series.values())
        return "no_value" if has_baseline else "no_baseline"
    if any(row.course is not None for row in transplants):
        return "after_cut"
    flags = {flag for row in transplants for flag in row.flags}
    return next((flag for flag in ("review", "partial_date") if flag in flags), "not_infused")
