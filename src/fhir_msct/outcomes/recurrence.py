"""Recurrence (rule D19): after a response, the first of a relapse on record and the next course.

The next course is an intervention: it says that the disease was back, not since when.
"""

from collections.abc import Iterator
from datetime import date
from fractions import Fraction

from msgspec import Struct

from fhir_msct.dates import calendar_date
from fhir_msct.outcomes.comparators import Span, at_most, span
from fhir_msct.outcomes.days import first_day
from fhir_msct.outcomes.response import is_normal, responds
from fhir_msct.outcomes.treated import Pair, Treated
from fhir_msct.outcomes.values import Value
from fhir_msct.plan import Parameter, Plan


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened in a course, and the resource versions that say so."""

    day: date
    onset: str = ""
    """When it began, as far as it was written; empty where only a consequence is known."""
    sources: tuple[str, ...] = ()


def first_response(treated: Treated, plan: Plan) -> Event | None:
    """The first visit of the course at which any RESP20 criterion was met; None without one."""
    met = [
        Event(day=pair.value.day, sources=(*pair.base.sources, *pair.value.sources))
        for threshold, paramcd in _criteria(treated, plan)
        for visit in plan.visits
        if isinstance(pair := treated.pair(paramcd, visit), Pair)
        and pair.base.aval
        and responds(pair.base, pair.value, plan.parameters[paramcd], threshold)
    ]
    return min(met, key=lambda event: event.day, default=None)


def first_recurrence(treated: Treated, plan: Plan, after: date) -> Event | None:
    """The first recurrence after a response; of two on one day, the one whose onset is known."""
    events = [*_relapses_on_record(treated, plan, after), *_next_course(treated)]
    if plan.recurrence.laboratory:
        events += _laboratory_relapses(treated, plan, after)
    return min(events, key=lambda event: (event.day, not event.onset, event.sources), default=None)


def _criteria(treated: Treated, plan: Plan) -> Iterator[tuple[int, str]]:
    for endpoint in plan.endpoints:
        if endpoint.rule == "response" and endpoint.course == treated.course.number:
            for paramcd in endpoint.paramcds:
                yield endpoint.threshold or 0, paramcd


def _relapses_on_record(treated: Treated, plan: Plan, after: date) -> Iterator[Event]:
    """D19 (a): a diagnosis of the disease in a state of relapse, dated after the response."""
    for row in treated.findings:
        if row.finding != "DX" or row.term not in plan.recurrence.terms:
            continue
        said = row.adtc or row.recorded or ""
        full = row.adt or calendar_date(said, plan.zone)
        began = full or first_day(said)
        if row.state in plan.recurrence.states and began is not None and began > after:
            yield Event(day=began, onset=full.isoformat() if full else said, sources=(row.source,))


def _next_course(treated: Treated) -> Iterator[Event]:
    """D19 (b)."""
    if (infusion := treated.course.ended_by) is not None:
        yield Event(day=infusion.day, sources=infusion.sources)


def _laboratory_relapses(treated: Treated, plan: Plan, after: date) -> Iterator[Event]:
    """Off by default: the same finding on two consecutive dates; it begins with the first."""
    rules = [(code, _enzyme_is_back) for code in plan.recurrence.enzymes]
    rules += [(code, _strength_is_lost) for code in plan.recurrence.strengths]
    for paramcd, is_back in rules:
        values = treated.series[paramcd].by_day()
        parameter = plan.parameters[paramcd]
        back = [is_back(values[:n], value, parameter, plan) for n, value in enumerate(values)]
        for n in range(1, len(values)):
            if back[n - 1] and back[n] and values[n - 1].day > after:
                sources = (*values[n - 1].sources, *values[n].sources)
                day = values[n - 1].day
                yield Event(day=day, onset=day.isoformat(), sources=sources)


def _enzyme_is_back(earlier: list[Value], value: Value, parameter: Parameter, plan: Plan) -> bool:
    """Above its own limit of normal, and at least so many times the lowest value of the course before."""
    highs = [one.high for one in _spans(earlier, parameter) if one.high is not None]
    if not highs or is_normal(value, parameter) is not False:
        return False
    nadir = Span(low=None, high=min(highs)).times(Fraction(plan.recurrence.enzyme_times_nadir))
    return at_most(nadir, span(value.aval, value.comparator, parameter))


def _strength_is_lost(earlier: list[Value], value: Value, parameter: Parameter, plan: Plan) -> bool:
    """At least so many percent below the best value of the course before, on the same side."""
    lows = [one.low for one in _spans(earlier, parameter) if one.low is not None]
    if not lows or len(value.sides.union(*(one.sides for one in earlier))) > 1:
        return False
    best = Span(low=max(lows), high=None).times(Fraction(100 - plan.recurrence.strength_below_best, 100))
    return at_most(span(value.aval, value.comparator, parameter), best)


def _spans(values: list[Value], parameter: Parameter) -> list[Span]:
    return [span(value.aval, value.comparator, parameter) for value in values]
