"""Dates as they were written: precision and offset stay; a calendar date is taken, never invented.

FHIR R4 dateTime: https://hl7.org/fhir/R4/datatypes.html#dateTime
"""

import re
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from msgspec import Struct

_FULL = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:\d\d)?)?")

_TAIL = re.compile(r"(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?")
_PARTIAL = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?")


class Day(Struct, frozen=True, gc=False):
    """What a FHIR date of any precision says."""

    calendar: date | None = None
    """The calendar date as written (rule D1); None for a partial date."""
    exists: bool = False
    utc: bool = False
    """An instant in Z, whose calendar date depends on the study's time zone."""


@lru_cache(1 << 16)
def _ends_in_z(tail: str) -> bool | None:
    """Whether what follows a date is an instant in Z; None where it is no time of day. Kept: times repeat."""
    found = _TAIL.fullmatch(tail)
    return found and found[1] == "Z"


def day_of(text: str, zone: ZoneInfo | None = None) -> Day:
    """The calendar date in a text, whether it is a date at all, and whether it is an instant in Z."""
    if zone is None and text[7:8] == "-" and (utc := _ends_in_z(text[10:])) is not None:
        try:
            return Day(date.fromisoformat(text[:10]), True, utc)
        except ValueError:
            return Day()
    found = _FULL.fullmatch(text)
    if found is None:
        return Day(exists=_PARTIAL.fullmatch(text) is not None)
    utc = found[3] == "Z"
    if utc and zone is not None:
        day = calendar_date(text, zone)
        return Day(day, day is not None, True)
    try:
        return Day(date.fromisoformat(found[1]), True, utc)
    except ValueError:
        return Day()


def calendar_date(text: str | None, zone: ZoneInfo | None = None) -> date | None:
    """The calendar date as written (rule D1); None for a partial date or what is no date.

    With a study time zone, an instant that ends in Z is moved there first; any other offset is
    where the value was taken and stays.
    """
    found = _FULL.fullmatch(text or "")
    if not found:
        return None
    try:
        if zone is not None and found[3] == "Z":
            moment = instant(text)
            return moment.astimezone(zone).date() if moment else None
        return date.fromisoformat(found[1])
    except ValueError:
        return None


def instant(text: str | None) -> datetime | None:
    """The moment in time, when both a time and an offset were written; else None.

    Fractions beyond microseconds are cut and a leap second counts as the second before it: this
    orders events, the text itself is kept elsewhere.
    """
    found = _FULL.fullmatch(text or "")
    if not found or not found[2] or not found[3]:
        return None
    whole, _, fraction = found[2].partition(".")
    whole = whole if whole.count(":") == 2 else whole + ":00"
    if whole.endswith(":60"):
        whole = whole[:-2] + "59"
    offset = "+00:00" if found[3] == "Z" else found[3]
    try:
        return datetime.fromisoformat(f"{found[1]}T{whole}.{(fraction + '000000')[:6]}{offset}")
    except ValueError:
        return None
