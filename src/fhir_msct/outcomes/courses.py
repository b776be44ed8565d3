"""Treatment courses (rules D3, D15): which infusion opens one, which repeats it, and when it ends.

One infusion per subject and date, whatever resources tell of it. Up to `repeat_within_days` after its
course's first infusion it is a repeat dose; later it opens the next course, and that ends the one before.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from fhir_msct.dates import instant
from fhir_msct.outcomes.days import date_of, is_before
from fhir_msct.outcomes.reviews import Review
from fhir_msct.plan import Plan, Visit
from fhir_msct.records import Transplant


class Infusion(Struct, frozen=True, kw_only=True):
    """One infusion of one subject, merged from every resource that tells of its date."""

    day: date
    moment: datetime | None = None
    """The earliest instant that any of its resources gives; None when all say no more than the date."""
    sources: tuple[str, ...] = ()

    def is_after(self, day: date, moment: datetime | None) -> bool:
        """D4: whether a value of that date, or better that instant, comes before this infusion."""
        return is_before(day, moment, self.day, self.moment)


class Course(Struct, frozen=True, kw_only=True):
    """One treatment course of one subject: its infusions, and the one that ended it."""

    usubjid: str
    number: int
    infusions: tuple[Infusion, ...]
    ended_by: Infusion | None = None
    """The next course's first infusion (D15)."""

    @property
    def first(self) -> Infusion:
        """The infusion that opened the course: days are counted from it."""
        return self.infusions[0]

    def holds(self, day: date) -> bool:
        """Whether a date lies after the course's first infusion and not after its end."""
        return self.first.day < day and (self.ended_by is None or day <= self.ended_by.day)


def open_courses(
    transplants: Iterable[Transplant], plan: Plan, reviews: Iterable[Review] = ()
) -> tuple[Transplant, ...]:
    """D3: the same transplants in the same order, with course and infusion number filled.

    Trusted tiers count by themselves, the others only after a `yes` in reviews.csv; until a decision
    they are flagged `review`. A `no` counts for any tier. Without a full date, flagged `partial_date`,
    nothing can be counted.
    """
    rows = list(transplants)
    decided: dict[str, str] = {review.of: review.decision for review in reviews}
    days: dict[str, set[date]] = {}
    for row in rows:
        if row.exstdt is not None and _counts(row, plan, decided):
            days.setdefault(row.usubjid, set()).add(row.exstdt)
    places = {usubjid: _numbered(sorted(found), plan) for usubjid, found in days.items()}
    return tuple(_placed(row, plan, decided, places.get(row.usubjid, {})) for row in rows)


def courses_by_subject(
    transplants: Iterable[Transplant], data_cut: date | None
) -> dict[str, tuple[Course, ...]]:
    """Each infused subject's courses in order; an infusion after the data cut has not happened yet (D16)."""
    counted = [
        row
        for row in transplants
        if row.course is not None and row.exstdt is not None and (data_cut is None or row.exstdt <= data_cut)
    ]
    counted.sort(key=lambda row: row.usubjid)
    return {usubjid: _courses(usubjid, list(rows)) for usubjid, rows in groupby(counted, _usubjid)}


def course_at(day: date, moment: datetime | None, courses: Sequence[Course]) -> Course | None:
    """D4: the course of the latest infusion before a value; None before the first."""
    found = None
    for course in courses:
        if any(not infusion.is_after(day, moment) for infusion in course.infusions):
            found = course
    return found


def why_absent(course: Course, visit: Visit, *, died: date | None, data_cut: date | None) -> str:
    """D15: why a course has no value at a visit: `not_due`, `retreated`, `died` or `no_value`.

    What is not yet due says nothing, whatever happened before: else only the early failures of a
    running trial would be counted. Otherwise the next course or death explains the gap if it came
    by the end of the window.
    """
    closes = date_of(visit.stop, course.first.day)
    if data_cut is not None and closes > data_cut:
        return "not_due"
    if course.ended_by is not None and course.ended_by.day <= closes:
        return "retreated"
    if died is not None and died <= closes:
        return "died"
    return "no_value"


def _counts(row: Transplant, plan: Plan, decided: dict[str, str]) -> bool:
    if row.source in decided:
        return decided[row.source] == "yes"
    return row.recognised_by in plan.course.trusted


def _numbered(days: Sequence[date], plan: Plan) -> dict[date, tuple[int, int]]:
    """Course and infusion number of each date on which a subject was infused."""
    repeat = timedelta(days=plan.course.repeat_within_days)
    places: dict[date, tuple[int, int]] = {}
    course, opened = 0, date.min
    for infusion, day in enumerate(days, start=1):
        if course == 0 or day - opened > repeat:
            course, opened = course + 1, day
        places[day] = course, infusion
    return places


def _placed(
    row: Transplant, plan: Plan, decided: dict[str, str], places: dict[date, tuple[int, int]]
) -> Transplant:
    flags = [flag for flag in row.flags if flag not in ("review", "partial_date")]
    if row.source not in decided and row.recognised_by not in plan.course.trusted:
        flags.append("review")
    if row.exstdt is None:
        flags.append("partial_date")
    counted = row.exstdt is not None and _counts(row, plan, decided)
    course, infusion = places[row.exstdt] if counted and row.exstdt else (None, None)
    return replace(row, course=course, infusion=infusion, flags=tuple(flags))


def _courses(usubjid: str, rows: list[Transplant]) -> tuple[Course, ...]:
    rows.sort(key=lambda row: (row.course or 0, row.exstdt or date.min, row.source))
    opened: list[Course] = []
    for number, of_course in groupby(rows, lambda row: row.course or 0):
        infusions = tuple(
            _infusion(day, list(of_day)) for day, of_day in groupby(of_course, lambda row: row.exstdt) if day
        )
        if opened:
            opened[-1] = replace(opened[-1], ended_by=infusions[0])
        opened.append(Course(usubjid=usubjid, number=number, infusions=infusions))
    return tuple(opened)


def _infusion(day: date, rows: list[Transplant]) -> Infusion:
    moments = [moment for row in rows if (moment := instant(row.exstdtc)) is not None]
    return Infusion(
        day=day,
        moment=min(moments, default=None),
        sources=tuple(sorted(row.source for row in rows)),
    )


def _usubjid(row: Transplant) -> str:
    return row.usubjid
