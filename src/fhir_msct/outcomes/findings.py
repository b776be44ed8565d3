"""Lung disease and skin ulcers (rule D21): present at the infusion, and what became of them.

Only an investigator's judgement, or an abatement with a date, says improved. Text is never parsed.
"""

from collections.abc import Iterable
from datetime import date

from msgspec import Struct

from fhir_msct.outcomes.courses import Course
from fhir_msct.outcomes.days import first_day, last_day
from fhir_msct.records import Finding

IMPROVED = "improved"
ABATED = "abated"
JUDGEMENTS = (IMPROVED, "unchanged", "worse")


class Fate(Struct, frozen=True, kw_only=True):
    """What became of a finding after the infusion, or why nobody can tell."""

    state: str = ""
    """`improved`, `unchanged`, `worse` or `abated`; empty with a reason."""
    reason: str = ""
    day: date | None = None
    rests_on: tuple[Finding, ...] = ()


def present_at_infusion(findings: Iterable[Finding], finding: str, course: Course) -> tuple[Finding, ...]:
    """The conditions that began by the course's first infusion and had not ended by then.

    The infusion's own date counts as before it (D4). Without an onset the day it was recorded counts.
    A partial date says so only when every day that it can mean says so.
    """
    day = course.first.day
    return tuple(
        row
        for row in findings
        if row.finding == finding
        and (began := row.adt or last_day(row.adtc or row.recorded or "")) is not None
        and began <= day
        and not ((ended := row.aendt or last_day(row.aendtc)) is not None and ended <= day)
    )


def fate(
    findings: Iterable[Finding],
    present: tuple[Finding, ...],
    judgement: str,
    course: Course,
    cut: date | None,
) -> Fate:
    """The latest judgement within the course; else an abatement dated after the infusion; else unknown."""
    judged = [
        row
        for row in findings
        if row.finding == judgement and row.state in JUDGEMENTS and row.adt and course.holds(row.adt)
    ]
    latest = max((row.adt for row in judged if row.adt), default=None)
    last = tuple(row for row in judged if row.adt == latest)
    states = {row.state or "" for row in last}
    abated = tuple(row for row in present if _abated_within(row, course, cut))
    if IMPROVED in states and len(states) == 1:
        return Fate(state=IMPROVED, day=latest, rests_on=last)
    if abated:
        day = min((row.aendt for row in abated if row.aendt), default=None)
        return Fate(state=ABATED, day=day, rests_on=abated)
    if len(states) > 1:
        return Fate(reason="day_conflict", rests_on=last)
    return Fate(state=states.pop(), day=latest, rests_on=last) if states else Fate(reason="no_findings")


def _abated_within(row: Finding, course: Course, cut: date | None) -> bool:
    """A full or partial date of abatement that can only lie after the infusion and within the course."""
    first, last = row.aendt or first_day(row.aendtc), row.aendt or last_day(row.aendtc)
    if first is None or last is None:
        return False
    return course.holds(first) and course.holds(last) and (cut is None or last <= cut)
