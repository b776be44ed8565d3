"""Each parameter at each visit: what was measured, and the change from the subject's own baseline."""

from collections.abc import Iterable

from fhir_msct.plan import Parameter
from fhir_msct.report.rounding import ABSENT, interval, p_value, percent, statistic
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import Table, listed
from fhir_msct.report.words import unit, word
from fhir_msct.results import Number, VisitSummary

BASELINE = "BASELINE"
SAID_IN_COLUMNS = ("retreated",)
"""Flags that a column of the table already tells."""
OF_CHANGE = ("scale_differs", "ci_unattainable", "cannot_reach_05")
"""Flags that concern the change from baseline, not the values."""


def summaries(files: StudyFiles) -> dict[tuple[str, int], list[VisitSummary]]:
    """The visits of each parameter and course in which anything was measured, in the plan's order."""
    found: dict[tuple[str, int], list[VisitSummary]] = {}
    for row in files.by_visit:
        found.setdefault((row.paramcd, row.course), []).append(row)
    order = list(files.plan.parameters)
    held = {key: rows for key, rows in found.items() if any(row.n for row in rows)}
    return dict(sorted(held.items(), key=lambda item: (item[0][1], order.index(item[0][0]))))


def title(parameter: Parameter) -> str:
    """A parameter's name and unit, and which way is better."""
    return f"{name(parameter)}; {word('direction', parameter.direction)}"


def name(parameter: Parameter) -> str:
    """A parameter's name with its unit as people write it."""
    return parameter.param.replace(parameter.study_unit, unit(parameter.study_unit))


def due(row: VisitSummary) -> str:
    """How many were measured of those whose visit was due by the data cut."""
    return f"{row.n}/{row.n_infused - row.not_due}"


def value_remarks(row: VisitSummary) -> str:
    """What a reader must know about the values of a visit."""
    absent = {"treated again": row.retreated, "missing": row.missing, "not yet due": row.not_due}
    said = [f"{count} {what}" for what, count in absent.items() if count]
    return "; ".join(said + [word("flag", flag) for flag in _flags(row, of_change=False)])


def change_remarks(row: VisitSummary) -> str:
    """What limits the change of a visit."""
    without = [f"{count} without a baseline"] if (count := _unpaired(row)) else []
    return "; ".join(without + [word("flag", flag) for flag in _flags(row, of_change=True)])


def signs(row: VisitSummary) -> list[str]:
    """Both as signs ("3a", "*"), where space is short; `words.toml` holds their key."""
    absent = {"retreated": row.retreated, "missing": row.missing, "unpaired": _unpaired(row)}
    codes = [f"{code}:{count}" for code, count in absent.items() if count]
    codes += [*_flags(row, of_change=False), *_flags(row, of_change=True)]
    said = [word("brief", code) for code in codes]
    return list(dict.fromkeys(sign for sign in said if sign))


def _unpaired(row: VisitSummary) -> int:
    """How many were measured at a visit and not before the infusion: no change can be known of them."""
    return 0 if row.avisit == BASELINE else row.n - (row.base_n or 0)


def _flags(row: VisitSummary, *, of_change: bool) -> list[str]:
    heads = {flag: flag.partition(":")[0] for flag in row.flags}
    return [
        flag
        for flag, head in heads.items()
        if head not in SAID_IN_COLUMNS and (head in OF_CHANGE) is of_change
    ]


def level(conf: Number) -> str:
    """The confidence that an interval attains: "95.1 %"."""
    return ABSENT if conf is None else f"{percent(conf)} %"


def values_table(parameter: Parameter, course: int, rows: Iterable[VisitSummary]) -> Table:
    """What was measured at each visit; visits without any value are only named."""
    held = list(rows)
    empty = [row.avisit for row in held if not row.n]
    return Table(
        title=f"{parameter.paramcd}, course {course}: values in {unit(parameter.study_unit)}",
        columns=("visit", "n/due", "mean", "SD", "median", "q1 to q3", "min to max", "remarks"),
        rows=tuple(
            (
                *(row.avisit, due(row), statistic(row.mean), statistic(row.sd), statistic(row.median)),
                *(interval(row.q1, row.q3) or ABSENT, interval(row.min, row.max) or ABSENT),
                value_remarks(row),
            )
            for row in held
            if row.n
        ),
        numbers=frozenset(range(1, 7)),
        note=f"Nobody was measured at {listed(empty)}." if empty else "",
    )


def change_table(parameter: Parameter, course: int, rows: Iterable[VisitSummary]) -> Table:
    """The change from baseline at each visit, in those who have both values."""
    columns = ["visit", "pairs", "median before", "median after", "mean change", "SD", "median change"]
    columns += ["median % change", "Hodges-Lehmann change", "interval", "level", "p (signed-rank)", "p (t)"]
    columns += ["ratio of geometric means"] if parameter.enzyme else []
    return Table(
        title=f"{parameter.paramcd}, course {course}: change from baseline in {unit(parameter.study_unit)}",
        columns=(*columns, "remarks"),
        rows=tuple(_change(row, parameter.enzyme) for row in rows if row.avisit != BASELINE and row.chg_n),
        numbers=frozenset(range(1, len(columns))),
        note=_methods(rows),
        empty="Nobody has both a baseline and a value at a visit.",
    )


def _change(row: VisitSummary, enzyme: bool) -> tuple[str, ...]:
    ratio = f"{statistic(row.gmr)} ({interval(row.gmr_lo, row.gmr_hi)})" if row.gmr_lo is not None else ABSENT
    return (
        *(row.avisit, str(row.chg_n), statistic(row.pair_base_median), statistic(row.pair_median)),
        *(statistic(row.chg_mean), statistic(row.chg_sd), statistic(row.chg_median)),
        *(statistic(row.pchg_median), statistic(row.estimate), interval(row.ci_lo, row.ci_hi) or ABSENT),
        *(level(row.conf), p_value(row.p), p_value(row.t_p), *([ratio] if enzyme else [])),
        change_remarks(row),
    )


def _methods(rows: Iterable[VisitSummary]) -> str:
    used = dict.fromkeys(row.method for row in rows if row.method)
    return f"p (signed-rank): {'; '.join(used)}." if used else ""
