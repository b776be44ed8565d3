"""Baselines and visit values (rules D5-D8): where each result belongs, which one is taken, why not another.

A result is placed once in the course it was taken in; one that may be the next course's baseline is
placed there too. Nothing is carried forward and nothing is dropped: what is not taken says why.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from fhir_msct.outcomes.courses import Course, course_at
from fhir_msct.outcomes.days import BASELINE, UNSCHED, same_day, study_day, window_of
from fhir_msct.outcomes.values import Value, of_one_day
from fhir_msct.plan import Parameter, Plan

BEFORE_WINDOW = "before_window"
OUTSIDE_WINDOW = "outside_window"


class Placed(Struct, frozen=True, kw_only=True):
    """A value in a course: at a visit, as a baseline, or neither and why."""

    value: Value
    course: Course | None = None
    avisit: str = ""
    taken: bool = False
    why_not: str = ""

    @property
    def cady(self) -> int:
        """The day of the course (D2)."""
        return study_day(self.value.day, self.course.first.day) if self.course else 0

    @property
    def same_day(self) -> bool:
        """Whether it counts as before its infusion only because it has the infusion's date (D4)."""
        if self.course is None or self.avisit != BASELINE:
            return False
        first = self.course.first
        return same_day(self.value.day, self.value.moment, first.day, first.moment)


class Series(Struct, frozen=True, kw_only=True):
    """One parameter of one subject in one course: its baseline and its value at each visit."""

    paramcd: str
    course: Course
    baseline: Value | None = None
    visits: dict[str, Value] = {}
    conflicts: frozenset[str] = frozenset()
    """BASELINE or a visit, where the results of the day to take contradict each other."""
    rows: tuple[Placed, ...] = ()
    """Every value of the course, taken or not; a day's median stands beside the results it is of."""

    def by_day(self) -> list[Value]:
        """The value of each day after the infusion, at a visit or not, in order (D7)."""
        after = [row for row in self.rows if row.avisit not in ("", BASELINE) and len(row.value.results) == 1]
        days = [of_one_day([row.value for row in rows]).value for _, rows in _days(after)]
        return [value for value in days if value is not None]


def place(value: Value, courses: Sequence[Course], plan: Plan, data_cut: date | None) -> list[Placed]:
    """Where one value belongs: its own course, and the next one whose baseline it may be (D4, D5)."""
    if not courses:
        return [Placed(value=value, why_not="no_course")]
    parameter = plan.parameters[value.paramcd]
    own = course_at(value.day, value.moment, courses)
    unusable = _why_unusable(value, parameter, data_cut)
    if unusable:
        return [Placed(value=value, course=own or courses[0], why_not=unusable)]
    if own is None:
        return [_as_baseline(value, courses[0], parameter)]
    followed = [course for course in courses if course.number == own.number + 1]
    baselines = [_as_baseline(value, course, parameter) for course in followed]
    return [_at_visit(value, own, plan), *(row for row in baselines if row.avisit)]


def choose(paramcd: str, course: Course, placed: Iterable[Placed], plan: Plan) -> Series:
    """What is taken in one course: the last value before it, and the closest to each visit's target."""
    targets = {visit.name: visit.target for visit in plan.visits}
    chosen: dict[str, Value] = {}
    conflicts: set[str] = set()
    rows: list[Placed] = []
    for avisit, of_visit in groupby(sorted(placed, key=_avisit), _avisit):
        found = list(of_visit)
        if avisit in ("", UNSCHED):
            rows += found
            continue
        nearness = _last if avisit == BASELINE else _closest_to(targets[avisit])
        value, resolved = _take(found, nearness)
        rows += resolved
        if value is None:
            conflicts.add(avisit)
        else:
            chosen[avisit] = value
    baseline = chosen.pop(BASELINE, None)
    return Series(
        paramcd=paramcd,
        course=course,
        baseline=baseline,
        visits=chosen,
        conflicts=frozenset(conflicts),
        rows=tuple(rows),
    )


def _why_unusable(value: Value, parameter: Parameter, data_cut: date | None) -> str:
    """D8, D16; whatever else makes a result unusable was set aside when it was read."""
    low, high = parameter.low, parameter.high
    if (low is not None and value.aval < low) or (high is not None and value.aval > high):
        return "outside_scale"
    return "after_cut" if data_cut is not None and value.day > data_cut else ""


def _as_baseline(value: Value, course: Course, parameter: Parameter) -> Placed:
    """D5: a candidate for a course's baseline, if it lies in the parameter's window."""
    placed = Placed(value=value, course=course, avisit=BASELINE)
    if placed.cady < parameter.baseline_from:
        return replace(placed, avisit="", why_not=BEFORE_WINDOW)
    if placed.cady > parameter.baseline_to:
        return replace(placed, avisit="", why_not=OUTSIDE_WINDOW)
    return placed


def _at_visit(value: Value, course: Course, plan: Plan) -> Placed:
    """D6: at the visit in whose window it falls, else unscheduled."""
    avisit = window_of(study_day(value.day, course.first.day), plan.visits)
    return Placed(
        value=value, course=course, avisit=avisit, why_not=OUTSIDE_WINDOW if avisit == UNSCHED else ""
    )


def _take(
    placed: Sequence[Placed], nearness: Callable[[Placed], tuple[int, int]]
) -> tuple[Value | None, list[Placed]]:
    """The value of the nearest day, and every candidate with the reason why it was not taken."""
    nearest = min(nearness(row) for row in placed)
    of_day = [row for row in placed if nearness(row) == nearest]
    day = of_one_day([row.value for row in of_day])
    rows = [replace(row, why_not="not_closest") for row in placed if nearness(row) != nearest]
    for row in of_day:
        if row.value is day.value:
            rows.append(replace(row, taken=True))
        else:
            clashes = any(row.value is value for value in day.conflict)
            rows.append(replace(row, why_not="day_conflict" if clashes else "same_day_other"))
    if day.value is not None and not any(row.taken for row in rows):
        rows.append(replace(of_day[0], value=day.value, taken=True))
    return day.value, rows


def _last(row: Placed) -> tuple[int, int]:
    """D5: the last before the infusion comes first."""
    return -row.value.day.toordinal(), 0


def _closest_to(target: int) -> Callable[[Placed], tuple[int, int]]:
    """D7: the closest to the target comes first; of two as close, the later day."""
    return lambda row: (abs(row.cady - target), -row.cady)


def _avisit(row: Placed) -> str:
    return row.avisit


def _days(rows: Iterable[Placed]) -> Iterable[tuple[date, Iterable[Placed]]]:
    return groupby(sorted(rows, key=lambda row: row.value.day), lambda row: row.value.day)
