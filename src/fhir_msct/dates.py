"""Dates as they were written: precision and offset stay; a calendar date is taken, never invented.

FHIR R4 dateTime: https://hl7.org/fhir/R4/datatypes.html#dateTime
"""

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

_FULL = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:\d\d)?)?")

_PARTIAL = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?")


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


def is_date(text: str | None) -> bool:
    """Whether this is a date that exists, of any precision."""
    if _PARTIAL.fullmatch(text or ""):
        return True
    return calendar_date(text) is not None


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


def has_time(text: str | None) -> bool:
    """Whether a time of day was written."""
    found = _FULL.fullmatch(text or "")
    return bool(found and found[2])


def is_utc(text: str | None) -> bool:
    """Whether the text is an instant in Z, whose calendar date depends on the study's time zone."""
    found = _FULL.fullmatch(text or "")
    return bool(found and found[3] == "Z")
