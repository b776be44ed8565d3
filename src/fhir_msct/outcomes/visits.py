"""Each parameter at each visit of each course (`by_visit.csv`): who was there, values, changes, statistics.

Law: n + not_due + retreated + missing = n_infused. `missing` is everybody else without a value: nobody
measured, results that contradict each other, death. At a baseline only `missing` can be more than zero.
"""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from fhir_msct.outcomes.change import SCALE_DIFFERS, change
from fhir_msct.outcomes.comparators import ABOVE, BELOW
from fhir_msct.outcomes.days import BASELINE
from fhir_msct.outcomes.statistics import (
    Description,
    describe,
    geometric_mean_ratio,
    hodges_lehmann,
    paired_t,
    signed_rank,
    walsh_interval,
)
from fhir_msct.outcomes.treated import Pair, Treated
from fhir_msct.outcomes.values import Value
from fhir_msct.plan import Parameter, Plan, Visit
from fhir_msct.results import VisitSummary

SMALLEST_N_FOR_05 = 6
"""With five pairs the smallest two-sided p of the signed-rank test is 2 / 2**5 = 0.0625 (D23)."""

Fields = dict[str, Any]


def summaries(treated: Sequence[Treated], plan: Plan) -> Iterator[VisitSummary]:
    """One row for each parameter, course and visit, in the plan's order."""
    courses = sorted({one.course.number for one in treated})
    for parameter in plan.parameters.values():
        for number in courses:
            infused = [one for one in treated if one.course.number == number]
            yield baseline_summary(infused, parameter, number)
            for visit in plan.visits:
                yield visit_summary(infused, parameter, number, visit, plan)


def baseline_summary(infused: Sequence[Treated], parameter: Parameter, course: int) -> VisitSummary:
    """The baselines of one parameter in one course (D5)."""
    series = [one.series[parameter.paramcd] for one in infused]
    baselines = [one.baseline for one in series if one.baseline is not None]
    described = describe([value.aval for value in baselines])
    return VisitSummary(
        paramcd=parameter.paramcd,
        course=course,
        avisit=BASELINE,
        n_infused=len(infused),
        missing=len(infused) - len(baselines),
        base_n=described.n,
        base_mean=described.mean,
        base_median=described.median,
        flags=(
            *_censored((one,) for one in baselines),
            *_conflict(any(BASELINE in one.conflicts for one in series)),
        ),
        **_described(described),
    )


def visit_summary(
    infused: Sequence[Treated], parameter: Parameter, course: int, visit: Visit, plan: Plan
) -> VisitSummary:
    """The values of one parameter at one visit of one course, and their change from the baseline."""
    code = parameter.paramcd
    values = [value for one in infused if (value := one.series[code].visits.get(visit.name))]
    absent = [one.why_absent(code, visit) for one in infused if visit.name not in one.series[code].visits]
    not_due, gone = absent.count("not_due"), absent.count("retreated")
    bases = [one.series[code].baseline for one in infused if one.series[code].visits.get(visit.name)]
    flags = _censored(zip(values, bases, strict=True))
    flags += (f"retreated:{gone}",) if gone else ()
    flags += _conflict("day_conflict" in absent)
    changes, more_flags = _changes(infused, parameter, visit, plan)
    return VisitSummary(
        paramcd=code,
        course=course,
        avisit=visit.name,
        n_infused=len(infused),
        not_due=not_due,
        retreated=gone,
        missing=len(absent) - not_due - gone,
        flags=(*flags, *more_flags),
        **_described(describe([value.aval for value in values])),
        **changes,
    )


def _changes(
    infused: Iterable[Treated], parameter: Parameter, visit: Visit, plan: Plan
) -> tuple[Fields, tuple[str, ...]]:
    """Baseline and change of those who have both, the test of it, and what limits it."""
    code = parameter.paramcd
    both = [
        Pair(base=base, value=value, change=change(base, value))
        for one in infused
        if (base := one.series[code].baseline) and (value := one.series[code].visits.get(visit.name))
    ]
    pairs = [pair for pair in both if not pair.change.why_not]
    bases = describe([pair.base.aval for pair in both])
    fields = {"base_n": bases.n, "base_mean": bases.mean, "base_median": bases.median, "chg_n": len(pairs)}
    differ = sum(pair.change.why_not == SCALE_DIFFERS for pair in both)
    flags = (f"{SCALE_DIFFERS}:{differ}",) if differ else ()
    if not pairs:
        return fields, flags
    tested, limits = _tested([pair.change.chg for pair in pairs if pair.change.chg is not None], plan)
    percents = [pair.change.pchg for pair in pairs if pair.change.pchg is not None]
    fields |= tested | {
        "pchg_median": describe(percents).median,
        "pair_base_median": describe([pair.base.aval for pair in pairs]).median,
        "pair_median": describe([pair.value.aval for pair in pairs]).median,
    }
    fields |= _ratio(pairs, plan) if parameter.enzyme else {}
    return fields, flags + limits


def _tested(changes: Sequence[Fraction], plan: Plan) -> tuple[Fields, tuple[str, ...]]:
    """D23: the exact test with its own estimate and interval, and Student's t beside it."""
    described = describe(changes)
    chosen = plan.statistics
    test = signed_rank(changes, exact_pairs=chosen.exact_pairs)
    interval = walsh_interval(
        changes, conf=chosen.conf, min_n=chosen.min_ci_n, exact_pairs=chosen.exact_pairs
    )
    fields: Fields = {
        "chg_mean": described.mean,
        "chg_sd": described.sd,
        "chg_median": described.median,
        "method": "; ".join(filter(None, (test.method, interval.method if interval else ""))),
        "p": test.p,
        "estimate": hodges_lehmann(changes),
        "t_p": paired_t(changes),
    }
    if interval is not None:
        fields |= {"ci_lo": interval.lo, "ci_hi": interval.hi, "conf": interval.conf}
    too_few = ("cannot_reach_05",) if len(changes) < SMALLEST_N_FOR_05 else ()
    return fields, ((("ci_unattainable",) if interval is None else ()) + too_few)


def _ratio(pairs: Sequence[Pair], plan: Plan) -> Fields:
    """D14: the geometric mean ratio of an enzyme, which halves and doubles rather than falls and rises."""
    found = geometric_mean_ratio([(pair.base.aval, pair.value.aval) for pair in pairs], plan.statistics.conf)
    return dict(zip(("gmr", "gmr_lo", "gmr_hi"), found, strict=True)) if found else {}


def _described(described: Description) -> Fields:
    names = ("n", "mean", "sd", "median", "q1", "q3", "min", "max")
    return {name: getattr(described, name) for name in names}


def _censored(used: Iterable[Sequence[Value | None]]) -> tuple[str, ...]:
    """D9: of how many subjects a value or its baseline is a limit of detection, taken at the limit."""
    count = sum(any(one and one.comparator in BELOW + ABOVE for one in values) for values in used)
    return (f"cens:{count}",) if count else ()


def _conflict(found: bool) -> tuple[str, ...]:
    return ("day_conflict",) if found else ()
