"""Everything known of one subject in one course: what the endpoints look at, and nothing else."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from msgspec import Struct

from fhir_msct.dates import calendar_date
from fhir_msct.errors import MappingError
from fhir_msct.outcomes.change import Change, change
from fhir_msct.outcomes.chosen import Placed, Series, choose, place
from fhir_msct.outcomes.courses import Course, courses_by_subject, why_absent
from fhir_msct.outcomes.days import BASELINE
from fhir_msct.outcomes.values import Value, value_of
from fhir_msct.plan import Plan, Visit
from fhir_msct.records import Finding, Measurement, StudyRecords, Subject


class Pair(Struct, frozen=True, kw_only=True):
    """A baseline, the value of a visit, and the change between them."""

    base: Value
    value: Value
    change: Change


class Treated(Struct, frozen=True, kw_only=True):
    """One subject in one course: the population INFUSED is all of them (D17)."""

    usubjid: str
    course: Course
    series: dict[str, Series]
    """By paramcd; every parameter of the plan is there, also what was never measured."""
    subject: Subject | None = None
    findings: tuple[Finding, ...] = ()
    data_cut: date | None = None

    @property
    def died(self) -> date | None:
        """The date of death, where it is known in full."""
        return calendar_date(self.subject.dthdt) if self.subject else None

    def why_absent(self, paramcd: str, visit: Visit) -> str:
        """Why there is no value at a visit (D7, D15)."""
        if visit.name in self.series[paramcd].conflicts:
            return "day_conflict"
        return why_absent(self.course, visit, died=self.died, data_cut=self.data_cut)

    def why_no_baseline(self, paramcd: str) -> str:
        """Why there is no baseline (D5, D7)."""
        return "day_conflict" if BASELINE in self.series[paramcd].conflicts else "no_baseline"

    def pair(self, paramcd: str, visit: Visit) -> Pair | str:
        """Baseline and value of a visit that can be compared, or the reason why there are none.

        What is not yet due comes first, since it leaves every denominator; then the baseline, which
        nothing can replace; then the value.
        """
        series = self.series[paramcd]
        value = series.visits.get(visit.name)
        absent = "" if value else self.why_absent(paramcd, visit)
        if absent == "not_due":
            return absent
        if series.baseline is None:
            return self.why_no_baseline(paramcd)
        if value is None:
            return absent
        if self.died is not None and self.died <= value.day:
            return "died"
        changed = change(series.baseline, value)
        return changed.why_not or Pair(base=series.baseline, value=value, change=changed)


class Followed(Struct, frozen=True, kw_only=True):
    """The trial as the endpoints see it, and the values that belong to no course."""

    treated: tuple[Treated, ...]
    elsewhere: tuple[Placed, ...]
    """Values of subjects who were not infused."""
    undated: tuple[Measurement, ...]
    """Results without a full date: not analysed (D1)."""


def follow(records: StudyRecords, plan: Plan, data_cut: date | None) -> Followed:
    """Every infused subject in every course, with each parameter's baseline and visit values.

    Raises MappingError for a parameter that parameters.csv does not know.
    """
    courses = courses_by_subject(records.transplants, data_cut)
    placed: dict[tuple[str, int, str], list[Placed]] = defaultdict(list)
    elsewhere: list[Placed] = []
    undated: list[Measurement] = []
    for result in sorted(records.measurements, key=_order):
        _check(result, plan)
        value = value_of(result)
        if value is None:
            undated.append(result)
            continue
        for row in place(value, courses.get(result.usubjid, ()), plan, data_cut):
            if row.course is None:
                elsewhere.append(row)
            else:
                placed[result.usubjid, row.course.number, result.paramcd].append(row)
    subjects = {row.usubjid: row for row in sorted(records.subjects, key=lambda row: row.source, reverse=True)}
    findings = _findings(records.findings, plan, data_cut)
    treated = [
        Treated(
            usubjid=usubjid,
            course=course,
            series={
                code: choose(code, course, placed[usubjid, course.number, code], plan)
                for code in plan.parameters
            },
            subject=subjects.get(usubjid),
            findings=findings.get(usubjid, ()),
            data_cut=data_cut,
        )
        for usubjid, opened in courses.items()
        for course in opened
    ]
    return Followed(treated=tuple(treated), elsewhere=tuple(elsewhere), undated=tuple(undated))


def _findings(
    findings: Iterable[Finding], plan: Plan, data_cut: date | None
) -> dict[str, tuple[Finding, ...]]:
    """Each subject's findings in a fixed order, without those dated after the data cut (D16)."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for row in sorted(findings, key=lambda row: (row.finding, row.adtc, row.source)):
        day = row.adt or calendar_date(row.recorded, plan.zone)
        if data_cut is None or day is None or day <= data_cut:
            found[row.usubjid].append(row)
    return {usubjid: tuple(rows) for usubjid, rows in found.items()}


def _check(result: Measurement, plan: Plan) -> None:
    if result.paramcd not in plan.parameters:
        raise MappingError(f"{result.source}: parameters.csv has no row for {result.paramcd}")


def _order(result: Measurement) -> tuple[str, str, str, str, str]:
    return result.usubjid, result.paramcd, result.adtc, result.source, result.orres
