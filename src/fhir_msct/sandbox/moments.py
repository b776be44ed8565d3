"""FHIR dates as ranges: what a date covers depends on how precisely it was written.

Two clocks are kept, as HAPI keeps them: a search for a calendar day compares calendar days as they
were written, a search with a time compares instants. https://hl7.org/fhir/R4/search.html#date
"""

import re
from calendar import monthrange
from datetime import UTC, date, datetime
from typing import NamedTuple

EARLIEST, LATEST = -(2**62), 2**62
"""The ends of a period that has none; microseconds, as everywhere here."""

_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:(Z)|([+-])(\d\d):(\d\d))?)?)?)?"
)
_DAY, _HOUR, _MINUTE, _SECOND = 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000
_EPOCH = date(1970, 1, 1).toordinal()


class Moment(NamedTuple):
    """A half-open range twice: as an instant (UTC), and on the wall clock it was written by."""

    start: int
    stop: int
    wall_start: int
    wall_stop: int
    timed: bool = True


def moment(text: str) -> Moment | None:
    """What a FHIR date, dateTime or instant covers; None for what is none of these."""
    found = _DATE.fullmatch(text)
    if not found:
        return None
    try:
        start, width = _wall(found)
    except ValueError:
        return None
    zone = 0
    if found[9]:
        zone = (int(found[10]) * _HOUR + int(found[11]) * _MINUTE) * (-1 if found[9] == "-" else 1)
    return Moment(start - zone, start - zone + width, start, start + width, timed=bool(found[4]))


def period(start: str | None, end: str | None) -> Moment:
    """What a Period covers; an end that is missing or unreadable is open."""
    first = moment(start) if start else None
    last = moment(end) if end else None
    return Moment(
        first.start if first else EARLIEST,
        last.stop if last else LATEST,
        first.wall_start if first else EARLIEST,
        last.wall_stop if last else LATEST,
    )


def instant_text(now: datetime) -> str:
    """A `lastUpdated` as HAPI writes it: 2026-11-23T11:44:16.172+00:00."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds")


def _wall(found: re.Match[str]) -> tuple[int, int]:
    year, month, day = int(found[1]), int(found[2] or 1), int(found[3] or 1)
    at = (date(year, month, day).toordinal() - _EPOCH) * _DAY
    if not found[2]:
        return at, (366 if monthrange(year, 2)[1] == 29 else 365) * _DAY
    if not found[3]:
        return at, monthrange(year, month)[1] * _DAY
    if not found[4]:
        return at, _DAY
    hour, minute, second = int(found[4]), int(found[5]), min(int(found[6] or 0), 60)
    if hour > 23 or minute > 59 or int(found[6] or 0) > 60:
        raise ValueError("no such time of day")
    at += hour * _HOUR + minute * _MINUTE + min(second, 59) * _SECOND  # a leap second is the one before it
    if not found[6]:
        return at, _MINUTE
    digits = (found[7] or "")[:6]
    return at + int(digits.ljust(6, "0")), 10 ** (6 - len(digits))
