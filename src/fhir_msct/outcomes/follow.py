"""Records in, the trial as its endpoints see it out: every subject, course and parameter, once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TypeVar

from msgspec import Struct

from fhir_msct.dates import calendar_date
from fhir_msct.errors import MappingError
from fhir_msct.outcomes.chosen import Placed, Series, choose, place
from fhir_msct.outcomes.courses import Course, courses_by_subject
from fhir_msct.outcomes.treated import Treated
from fhir_msct.outcomes.values import value_of
from fhir_msct.plan import Plan
from fhir_msct.records import Finding, Measurement, StudyRecords, Subject

R = TypeVar("R", Subject, Measurement, Finding)


class Followed(Struct, frozen=True, kw_only=True):
    """Everybody who was infused, course by course, and the results that belong to no course."""

    treated: tuple[Treated, ...]
    elsewhere: tuple[Placed, ...] = ()
    """Values of subjects who were not infused."""
    undated: tuple[Measurement, ...] = ()
    """Results without a full date: not analysed (D1)."""


def follow(records: StudyRecords, plan: Plan, data_cut: date | None) -> Followed:
    """Every infused subject in every course, with each parameter's baseline and visit values.

    Raises MappingError for a parameter that parameters.csv does not know.
    """
    for result in records.measurements:
        if result.paramcd not in plan.parameters:
            raise MappingError(f"{result.source}: parameters.csv has no row for {result.paramcd}")
    courses = courses_by_subject(records.transplants, data_cut)
    placed = {
        usubjid: _placed(results, courses.get(usubjid, ()), plan, data_cut)
        for usubjid, results in _by_subject(records.measurements, _result_order).items()
    }
    patients = _by_subject(records.subjects, lambda row: (row.source,))
    findings = _by_subject(records.findings, lambda row: (row.finding, row.adtc, row.source))
    treated = [
        Treated(
            usubjid=usubjid,
            course=course,
            series=_series(course, placed.get(usubjid, []), plan),
            subject=(subject := next(iter(patients.get(usubjid, [])), None)),
            died=calendar_date(subject.dthdt, plan.zone) if subject else None,
            findings=_until(data_cut, findings.get(usubjid, []), plan),
            data_cut=data_cut,
        )
        for usubjid, opened in courses.items()
        for course in opened
    ]
    return Followed(
        treated=tuple(treated),
        elsewhere=tuple(row for rows in placed.values() for row in rows if row.course is None),
        undated=tuple(row for row in sorted(records.measurements, key=_result_order) if row.adt is None),
    )


def _by_subject(rows: Iterable[R], order: Callable[[R], tuple[str, ...]]) -> dict[str, list[R]]:
    """Each subject's rows, in an order that does not depend on how they came."""
    found: dict[str, list[R]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.usubjid, *order(row))):
        found[row.usubjid].append(row)
    return found


def _placed(
    results: Iterable[Measurement], courses: Sequence[Course], plan: Plan, data_cut: date | None
) -> list[Placed]:
    values = [value for result in results if (value := value_of(result)) is not None]
    return [row for value in values for row in place(value, courses, plan, data_cut)]


def _series(course: Course, placed: Iterable[Placed], plan: Plan) -> dict[str, Series]:
    held: dict[str, list[Placed]] = defaultdict(list)
    for row in placed:
        if row.course is not None and row.course.number == course.number:
            held[row.value.paramcd].append(row)
    return {code: choose(code, course, held[code], plan) for code in plan.parameters}


def _until(data_cut: date | None, findings: Iterable[Finding], plan: Plan) -> tuple[Finding, ...]:
    """Those not dated after the data cut (D16)."""
    days = ((row, row.adt or calendar_date(row.recorded, plan.zone)) for row in findings)
    return tuple(row for row, day in days if data_cut is None or day is None or day <= data_cut)


def _result_order(result: Measurement) -> tuple[str, ...]:
    return result.paramcd, result.adtc, result.source, result.orres, result.comparator or ""
