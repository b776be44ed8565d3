"""One subject's answer to one endpoint in one course (`by_subject.csv`): met, not met, or why not evaluable.

Each rule of endpoints.toml is a function here. An answer names every resource version it rests on: the
infusion that opened the course, the baseline, the value, the event.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from fhir_msct.dates import calendar_date
from fhir_msct.exact import decimal_text
from fhir_msct.outcomes.comparators import of_difference, of_ratio
from fhir_msct.outcomes.findings import ABATED, IMPROVED, fate, present_at_infusion
from fhir_msct.outcomes.recurrence import first_recurrence, first_response
from fhir_msct.outcomes.response import is_better, is_normal, responds
from fhir_msct.outcomes.treated import Pair, Treated
from fhir_msct.outcomes.values import Value
from fhir_msct.plan import Endpoint, Plan, Visit
from fhir_msct.results import Outcome

MET = "met"
NOT_MET = "not met"
NOT_EVALUABLE = "not evaluable"
VALUE = "value"

Fields = dict[str, Any]
Rule = Callable[[Treated, Endpoint, str, Plan], Fields]


def answer(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Outcome:
    """The answer of one subject in the endpoint's course."""
    fields = RULES[endpoint.rule](treated, endpoint, paramcd, plan)
    sources = {*treated.course.first.sources, *fields.pop("sources", ())}
    blank = Outcome(
        usubjid=treated.usubjid,
        course=treated.course.number,
        endpoint=endpoint.name(paramcd),
        paramcd=paramcd,
        avisit=endpoint.avisit,
        source=" ".join(sorted(sources)),
    )
    return replace(blank, **fields)


def answers(treated: Iterable[Treated], plan: Plan) -> Iterator[Outcome]:
    """Every subject's answers, in the plan's order; an endpoint of course 2 only for those who had one."""
    for one in treated:
        for endpoint in plan.endpoints:
            if endpoint.course == one.course.number:
                for paramcd in endpoint.paramcds or ("",):
                    yield answer(one, endpoint, paramcd, plan)


def change_at(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """CHG: the change from the baseline to the visit, in the study's unit (D14).

    A comparator bounds the change (D9); two that pull apart leave nothing that could be said of it.
    """
    pair = treated.pair(paramcd, _visit(endpoint, plan))
    if isinstance(pair, str):
        return _not_evaluable(treated, paramcd, pair)
    comparator = of_difference(pair.value.comparator, pair.base.comparator)
    if comparator is None:
        return {"status": NOT_EVALUABLE, "reason": "cens", **_compared(pair)}
    unit = plan.parameters[paramcd].study_unit
    found = _number(decimal_text(pair.change.chg), unit, comparator)
    return {"status": VALUE, **found, **_compared(pair)}


def response_at(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """RESP20, RESP2: at the visit at least so many percent of the own baseline better (D18, D20)."""
    pair = treated.pair(paramcd, _visit(endpoint, plan))
    if isinstance(pair, str):
        return _not_evaluable(treated, paramcd, pair)
    if pair.change.pchg is None:
        return {"status": NOT_EVALUABLE, "reason": "base_zero", **_compared(pair)}
    met = responds(pair.base, pair.value, plan.parameters[paramcd], endpoint.threshold or 0)
    base, value = pair.base, pair.value
    comparator = of_ratio(value.comparator, base.comparator, zero=not value.aval)
    percent = {} if comparator is None else _number(decimal_text(pair.change.pchg), "%", comparator)
    return {**_verdict(met, percent), **_compared(pair)}


def better_at_any_visit(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """IMP_EVER: better than the baseline at one or more scheduled visits (D18)."""
    found = [(visit, treated.pair(paramcd, visit)) for visit in plan.visits]
    pairs = [(visit, pair) for visit, pair in found if isinstance(pair, Pair)]
    if not pairs:
        reasons = [pair for _, pair in found if isinstance(pair, str)]
        return _not_evaluable(treated, paramcd, _why_never(reasons))
    parameter = plan.parameters[paramcd]
    better = [is_better(pair.base, pair.value, parameter) for _, pair in pairs]
    if True in better:
        visit, pair = pairs[better.index(True)]
        return {"status": MET, "value": visit.name, "avisit": visit.name, **_compared(pair)}
    base, values = pairs[0][1].base, [pair.value for _, pair in pairs]
    sources = [*base.sources, *(source for value in values for source in value.sources)]
    met = None if None in better else False
    return {**_verdict(met, {}), "adt": values[-1].day, "base_adt": base.day, "sources": sources}


def normal_at(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """CKNORM: at the visit at most the own upper limit of normal, after a baseline above it (D18)."""
    pair = treated.pair(paramcd, _visit(endpoint, plan))
    reason = pair if pair in ("not_due", "no_baseline") else why_not_abnormal(treated, paramcd, plan)
    if reason or isinstance(pair, str):
        return _not_evaluable(treated, paramcd, reason or str(pair))
    if pair.value.uln is None:
        return {"status": NOT_EVALUABLE, "reason": "no_uln", **_compared(pair)}
    parameter = plan.parameters[paramcd]
    measured = _number(decimal_text(pair.value.aval), parameter.study_unit, pair.value.comparator)
    return {**_verdict(is_normal(pair.value, parameter), measured), **_compared(pair)}


def finding_improved(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """ILDIMP, ULCIMP: a finding that was present at the infusion, judged improved or ended (D21)."""
    present = present_at_infusion(treated.findings, endpoint.finding, treated.course)
    sources = [row.source for row in present]
    if not present:
        return {"status": NOT_EVALUABLE, "reason": "no_findings"}
    became = fate(treated.findings, present, endpoint.judgement, treated.course, treated.data_cut)
    sources += [row.source for row in became.rests_on]
    if became.reason:
        return {"status": NOT_EVALUABLE, "reason": became.reason, "sources": sources}
    met = became.state in (IMPROVED, ABATED)
    return {**_verdict(met, {"value": became.state}), "adt": became.day, "sources": sources}


def recurrence(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """RECUR: after a response, a relapse on record or the next course; the value is the onset (D19)."""
    response = first_response(treated, plan)
    if response is None:
        return {"status": NOT_EVALUABLE, "reason": "no_response"}
    event = first_recurrence(treated, plan, response.day)
    if event is None:
        return {"status": NOT_MET, "base_adt": response.day, "sources": response.sources}
    return {
        "status": MET,
        "value": event.onset,
        "reason": "" if event.onset else "retreated",
        "adt": event.day,
        "base_adt": response.day,
        "sources": (*response.sources, *event.sources),
    }


def retreated(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """RETREAT: a next course was opened (D3)."""
    infusion = treated.course.ended_by
    if infusion is None:
        return {"status": NOT_MET}
    return {
        "status": MET,
        "value": infusion.day.isoformat(),
        "adt": infusion.day,
        "sources": infusion.sources,
    }


def death(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """DEATH: the patient's own record says so, by the data cut (D16, D22); the value is the date or `Y`."""
    subject = treated.subject
    if subject is None:
        return {"status": NOT_EVALUABLE, "reason": "no_findings"}
    day = calendar_date(subject.dthdt, plan.zone)
    later = day is not None and treated.data_cut is not None and day > treated.data_cut
    if not subject.dthdt or later:
        return {"status": NOT_MET, "sources": (subject.source,)}
    return {"status": MET, "value": subject.dthdt, "adt": day, "sources": (subject.source,)}


def adverse_event(treated: Treated, endpoint: Endpoint, paramcd: str, plan: Plan) -> Fields:
    """SAE, AE: not evaluable while nothing says where events are kept (D22).

    With a source named it still is: no mapping reads adverse events yet, and none read is not none happened.
    """
    return {"status": NOT_EVALUABLE, "reason": "no_findings" if plan.safety.sources else "no_safety_source"}


RULES: dict[str, Rule] = {
    "ever_better": better_at_any_visit,
    "response": response_at,
    "change": change_at,
    "normal": normal_at,
    "finding_improved": finding_improved,
    "recurrence": recurrence,
    "retreated": retreated,
    "death": death,
    "event": adverse_event,
}


def why_not_abnormal(treated: Treated, paramcd: str, plan: Plan) -> str:
    """Why a subject is not in ABN, a baseline above its own upper limit of normal (D17); empty in it."""
    base = treated.series[paramcd].baseline
    if base is None:
        return treated.why_no_baseline(paramcd)
    if base.uln is None:
        return "no_uln"
    return {True: "not_abnormal", False: "", None: "cens"}[is_normal(base, plan.parameters[paramcd])]


def _visit(endpoint: Endpoint, plan: Plan) -> Visit:
    return next(visit for visit in plan.visits if visit.name == endpoint.avisit)


def _verdict(met: bool | None, value: Fields) -> Fields:
    """D9: what a comparator leaves open is not evaluable, and then has no value to show."""
    if met is None:
        return {"status": NOT_EVALUABLE, "reason": "cens"}
    return {"status": MET if met else NOT_MET, **value}


def _number(value: str, unit: str, comparator: str) -> Fields:
    return {"value": value, "unit": unit, "value_comparator": comparator}


def _compared(pair: Pair) -> Fields:
    return {
        **_baseline(pair.base),
        "aval": decimal_text(pair.value.aval),
        "comparator": pair.value.comparator,
        "adt": pair.value.day,
        "sources": (*pair.base.sources, *pair.value.sources),
    }


def _not_evaluable(treated: Treated, paramcd: str, reason: str) -> Fields:
    """What is there is still named: the baseline, where there is one."""
    base = treated.series[paramcd].baseline
    known = {**_baseline(base), "sources": base.sources} if base else {}
    return {"status": NOT_EVALUABLE, "reason": reason, **known}


def _baseline(base: Value) -> Fields:
    return {"base": decimal_text(base.aval), "base_comparator": base.comparator, "base_adt": base.day}


def _why_never(reasons: list[str]) -> str:
    """One reason for a course without a value at any visit: the first visit's; a wider one comes before."""
    for wider in ("no_baseline", "scale_differs", "day_conflict"):
        if wider in reasons:
            return wider
    return reasons[0]
