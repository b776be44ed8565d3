"""The rows of `analysis.csv`: every result in its course, taken or not, with day, baseline and change."""

from datetime import date
from typing import Any

from fhir_msct.outcomes.change import SCALE_DIFFERS, Change, change
from fhir_msct.outcomes.chosen import Placed, Series
from fhir_msct.outcomes.days import BASELINE, study_day
from fhir_msct.outcomes.follow import Followed
from fhir_msct.outcomes.values import CARRIED, Value
from fhir_msct.plan import Plan
from fhir_msct.records import Measurement
from fhir_msct.results import Analysis

TAKEN = "Y"


def analysis_rows(followed: Followed, plan: Plan) -> list[Analysis]:
    """Every result once a course, a day's median beside its results; sorted, in the plan's order."""
    anchors = {one.usubjid: one.course.first.day for one in reversed(followed.treated)}
    rows = [_undated(result) for result in followed.undated]
    rows += [_nowhere(placed) for placed in followed.elsewhere]
    for one in followed.treated:
        anchor = anchors[one.usubjid]
        rows += [_row(row, series, anchor, plan) for series in one.series.values() for row in series.rows]
    order = list(plan.parameters)
    return sorted(rows, key=lambda row: (row.usubjid, order.index(row.paramcd), *_within_parameter(row)))


def _within_parameter(row: Analysis) -> tuple[Any, ...]:
    day = row.adt or date.min
    return row.course or 0, day, row.avisit, row.source, row.aval or 0, row.comparator, row.why_not


def _row(placed: Placed, series: Series, anchor: date, plan: Plan) -> Analysis:
    value, base = placed.value, series.baseline
    is_baseline, after = placed.avisit == BASELINE, placed.avisit not in ("", BASELINE)
    changed = change(base, value) if base and after else Change()
    taken = TAKEN if placed.taken else ""
    return Analysis(
        usubjid=series.course.usubjid,
        paramcd=series.paramcd,
        course=series.course.number,
        avisit=placed.avisit,
        adt=value.day,
        ady=study_day(value.day, anchor),
        cady=placed.cady,
        aval=value.aval,
        avalu=plan.parameters[series.paramcd].study_unit,
        comparator=value.comparator,
        base=base.aval if base and (after or (is_baseline and placed.taken)) else None,
        chg=changed.chg,
        pchg=changed.pchg,
        ablfl=taken if is_baseline else "",
        anl01fl=taken,
        why_not=placed.why_not,
        flags=_flags(placed, base if after else None, changed, plan),
        source=" ".join(value.sources),
    )


def _flags(placed: Placed, base: Value | None, changed: Change, plan: Plan) -> tuple[str, ...]:
    """What a reader should know of a row, of its own value and of the baseline it is compared with."""
    value = placed.value
    found = {
        "same_day": placed.same_day,
        "no_side": base is not None and "no_side" in base.flags,
        "no_uln": plan.parameters[value.paramcd].enzyme and value.uln is None,
        SCALE_DIFFERS: changed.why_not == SCALE_DIFFERS,
    }
    return tuple(sorted({*value.flags, *(flag for flag, holds in found.items() if holds)}))


def _nowhere(placed: Placed) -> Analysis:
    """A value of somebody who was not infused."""
    value = placed.value
    return Analysis(
        usubjid=value.results[0].usubjid,
        paramcd=value.paramcd,
        adt=value.day,
        aval=value.aval,
        avalu=value.results[0].avalu,
        comparator=value.comparator,
        why_not=placed.why_not,
        flags=value.flags,
        source=" ".join(value.sources),
    )


def _undated(result: Measurement) -> Analysis:
    """D1: a partial date has no place in the analysis."""
    return Analysis(
        usubjid=result.usubjid,
        paramcd=result.paramcd,
        aval=result.exact,
        avalu=result.avalu,
        comparator=result.comparator or "",
        why_not="partial_date" if result.adtc else "no_adt",
        flags=tuple(flag for flag in CARRIED if flag in result.flags),
        source=result.source,
    )
