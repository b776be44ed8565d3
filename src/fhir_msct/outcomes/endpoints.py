"""The trial's answers (`endpoints.csv`, rules D17, D25): every endpoint in every population, always.

A population without anybody, or in which nobody's answer is known, has no answer but a reason: nothing
measured is not nobody improved.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from msgspec import Struct
from msgspec.structs import replace

from fhir_msct.outcomes.answers import MET, NOT_EVALUABLE, VALUE, why_not_abnormal
from fhir_msct.outcomes.findings import present_at_infusion
from fhir_msct.outcomes.statistics import clopper_pearson
from fhir_msct.outcomes.treated import Treated
from fhir_msct.plan import Endpoint, Plan
from fhir_msct.results import Answer, Outcome, VisitSummary

INFUSED = "INFUSED"
EVALUABLE = "EVALUABLE"
ABN = "ABN"
OF_ENZYME_RESPONDERS = ("response", "normal")
NON_RESPONDERS = ("retreated", "died")
"""D15: without a value, but known not to have responded."""


class Question(Struct, frozen=True):
    """An endpoint, for one parameter, in one population: one row of endpoints.csv."""

    endpoint: Endpoint
    paramcd: str
    population: str


class Case(Struct, frozen=True):
    """One subject in the endpoint's course, and their own answer."""

    treated: Treated
    outcome: Outcome


def questions(plan: Plan) -> Iterator[Question]:
    """D25: every question of endpoints.toml, in its order; enzyme responders among ABN, not INFUSED (D17)."""
    for endpoint in plan.endpoints:
        for paramcd in endpoint.paramcds or ("",):
            enzyme = bool(paramcd) and plan.parameters[paramcd].enzyme
            for population in endpoint.populations:
                narrowed = enzyme and endpoint.rule in OF_ENZYME_RESPONDERS and population == INFUSED
                yield Question(endpoint, paramcd, ABN if narrowed else population)


def trial_answers(
    treated: Sequence[Treated], by_subject: Iterable[Outcome], by_visit: Iterable[VisitSummary], plan: Plan
) -> Iterator[Answer]:
    """The answer to every question, or the reason why there is none."""
    outcomes = {(row.usubjid, row.course, row.endpoint): row for row in by_subject}
    visits = {(row.paramcd, row.course, row.avisit): row for row in by_visit}
    for question in questions(plan):
        endpoint, course = question.endpoint, question.endpoint.course
        name = endpoint.name(question.paramcd)
        infused = [one for one in treated if one.course.number == course]
        cases = [Case(one, outcomes[one.usubjid, course, name]) for one in infused]
        if endpoint.rule == "change":
            yield _change(question, cases, visits.get((question.paramcd, course, endpoint.avisit)), plan)
        else:
            yield _proportion(question, cases, plan)


def belongs(case: Case, question: Question, plan: Plan) -> bool:
    """Whether a subject is in a question's denominator (D15, D17-D21).

    EVALUABLE has a baseline and a value that can be compared; where only a comparator leaves the rule
    open, the subject stays in n and is not counted as met (D9).
    """
    if case.outcome.reason == "not_due" or not _at_risk(case, question, plan):
        return False
    if question.population == ABN:
        return not why_not_abnormal(case.treated, question.paramcd, plan)
    if question.population == EVALUABLE:
        return case.outcome.status != NOT_EVALUABLE or case.outcome.reason == "cens"
    return True


def _at_risk(case: Case, question: Question, plan: Plan) -> bool:
    """Whether the endpoint can happen to a subject at all: nobody recovers from what they did not have."""
    endpoint, treated = question.endpoint, case.treated
    if endpoint.rule == "normal":
        return not why_not_abnormal(treated, question.paramcd, plan)
    if endpoint.rule == "finding_improved":
        return bool(present_at_infusion(treated.findings, endpoint.finding, treated.course))
    return not (endpoint.rule == "recurrence" and case.outcome.reason == "no_response")


def _proportion(question: Question, cases: Sequence[Case], plan: Plan) -> Answer:
    counted = [case.outcome for case in cases if belongs(case, question, plan)]
    n, x = len(counted), sum(row.status == MET for row in counted)
    if not any(row.status != NOT_EVALUABLE or row.reason in NON_RESPONDERS for row in counted):
        return _no_answer(question, n, _commonest(_why_not(case, question, plan) for case in cases))
    lo, hi = clopper_pearson(x, n, plan.statistics.conf)
    unclear = sum(row.reason == "cens" for row in counted)
    return replace(
        _blank(question),
        n=n,
        x=x,
        value=Fraction(x, n),
        ci_lo=lo,
        ci_hi=hi,
        conf=plan.statistics.conf,
        method="Clopper-Pearson",
        status=VALUE,
        reason=f"cens:{unclear}" if unclear else "",
    )


def _change(question: Question, cases: Sequence[Case], summary: VisitSummary | None, plan: Plan) -> Answer:
    if summary is None or not summary.chg_n:
        return _no_answer(question, 0, _commonest(case.outcome.reason for case in cases))
    counted = [row for case in cases if (row := case.outcome).status == VALUE or row.reason == "cens"]
    censored = sum(bool(row.base_comparator or row.comparator) for row in counted)
    limits = [f"cens:{censored}"] if censored else []
    limits += [flag for flag in summary.flags if flag in ("ci_unattainable", "cannot_reach_05")]
    return replace(
        _blank(question),
        n=summary.chg_n,
        value=summary.estimate,
        unit=plan.parameters[question.paramcd].study_unit,
        ci_lo=summary.ci_lo,
        ci_hi=summary.ci_hi,
        conf=summary.conf,
        p=summary.p,
        method=summary.method,
        status=VALUE,
        reason=" ".join(limits),
    )


def _blank(question: Question) -> Answer:
    endpoint = question.endpoint
    return Answer(
        endpoint=endpoint.name(question.paramcd),
        paramcd=question.paramcd,
        course=endpoint.course,
        avisit=endpoint.avisit,
        population=question.population,
        rule=endpoint.rule,
    )


def _no_answer(question: Question, n: int, reason: str) -> Answer:
    return replace(_blank(question), n=n, status=NOT_EVALUABLE, reason=reason)


def _why_not(case: Case, question: Question, plan: Plan) -> str:
    of_abn = question.population == ABN
    return (of_abn and why_not_abnormal(case.treated, question.paramcd, plan)) or case.outcome.reason


def _commonest(reasons: Iterable[str]) -> str:
    """The reason of most subjects; `no_course` where nobody had the course."""
    counts = Counter(reason for reason in reasons if reason)
    return min(counts, key=lambda reason: (-counts[reason], reason), default="no_course")
