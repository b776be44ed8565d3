"""Days of a course (rules D2, D4, D6): counted without a day 0, before or after an infusion, in a window.

D1, the calendar date itself, is taken where a record is read (`dates.calendar_date`).
"""

import calendar
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from fhir_msct.dates import calendar_date
from fhir_msct.plan import Visit

BASELINE = "BASELINE"
UNSCHED = "UNSCHED"

_PARTIAL = re.compile(r"(\d{4})(?:-(\d\d))?")


def study_day(day: date, first: date) -> int:
    """D2: the day of the study, counted from the infusion, which is day 1; the day before is -1."""
    return (day - first).days + (1 if day >= first else 0)


def date_of(study_day: int, first: date) -> date:
    """The date on which a study day falls."""
    return first + timedelta(days=study_day - 1 if study_day > 0 else study_day)


def is_before(day: date, moment: datetime | None, infused: date, infused_at: datetime | None) -> bool:
    """D4: before an infusion by instant if both have one, else by date; the same one counts as before."""
    if moment is not None and infused_at is not None:
        return moment <= infused_at
    return day <= infused


def same_day(day: date, moment: datetime | None, infused: date, infused_at: datetime | None) -> bool:
    """Whether only the rule, and no clock, puts a value of the infusion's own date before it (D4)."""
    return day == infused and (moment is None or infused_at is None)


def window_of(cady: int, visits: Sequence[Visit]) -> str:
    """D6: the visit in whose window a day of the course falls, else UNSCHED."""
    return next((visit.name for visit in visits if visit.start <= cady <= visit.stop), UNSCHED)


def first_day(text: str) -> date | None:
    """The earliest date that a possibly partial date can mean: 2011-02 is 2011-02-01 at the earliest."""
    year, month = _year_and_month(text)
    return date(year, month or 1, 1) if year else calendar_date(text)


def last_day(text: str) -> date | None:
    """The latest date that a possibly partial date can mean: 2011-02 is 2011-02-28 at the latest."""
    year, month = _year_and_month(text)
    month = month or 12
    return date(year, month, calendar.monthrange(year, month)[1]) if year else calendar_date(text)


def _year_and_month(text: str) -> tuple[int, int]:
    found = _PARTIAL.fullmatch(text)
    year, month = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    return (year, month) if month <= 12 else (0, 0)
