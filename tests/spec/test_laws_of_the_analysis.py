"""What holds for every trial, however it went: hypothesis makes them up, one line a record."""

import csv
import io
from collections import Counter
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import combinations_with_replacement, product
from math import exp, log
from statistics import mean, median, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fhir_msct.outcomes import analyse, complete, open_courses
from fhir_msct.records import StudyRecords
from fhir_msct.results import Analysis, Results, VisitSummary
from fhir_msct.tables import csv_bytes
from lib.people import PLAN, analysed, day, records

LAW = settings(derandomize=True, deadline=None, max_examples=120)
PARAMCDS = ("CK", "CKMBMASS", "MMT8", "PTGVAS")
DAYS = [n for n in range(-32, 420) if n]
"""Days around the infusion and visits come up more often than chance would have it."""
LIKELY = (-31, -30, -2, -1, 1, 2, 5, 8, 11, 12, 30, 170, 183, 184, 196, 213, 366)


def days() -> st.SearchStrategy[int]:
    return st.sampled_from(LIKELY) | st.sampled_from(DAYS)


@st.composite
def results_of_a_day(draw: st.DrawFn) -> list[str]:
    """Up to three results of one parameter and day: with times, comparators, limits, identifiers, sides."""
    paramcd, when = draw(st.sampled_from(PARAMCDS)), day(f"d{draw(days())}")
    times = draw(st.sampled_from([[""], [""], ["T08:00:00Z", "T09:30:00+02:00"], ["", "T08:00:00Z"]]))
    return [
        f"{paramcd} {when}{draw(st.sampled_from(times))} {draw(numbers)} {draw(options)}"
        for _ in range(draw(st.integers(1, 3)))
    ]


numbers = st.builds("{}{}".format, st.sampled_from(["", "", "", "", "<", ">="]), st.integers(0, 9))
options = st.builds(
    "{} {} {} {}".format,
    st.sampled_from(["uln=4", "uln=4", "uln=0", ""]),
    st.sampled_from(["", "", "", "ident=lab|1"]),
    st.sampled_from(["", "updated=2024-02-01T00:00:00Z", "status=corrected"]),
    st.sampled_from(["", "", "side=right", "side=left"]),
)


@st.composite
def other(draw: st.DrawFn) -> str:
    """One infusion, finding or judgement."""
    when = f"d{draw(days())}"
    kinds = (
        "MSCT {}",
        "DRUG {}",
        "MSCT {} tier=text_only",
        "DX {} DM state=relapse",
        "ILD {} abated=d100",
        "ILDRESP {} improved",
    )
    return draw(st.sampled_from(kinds)).format(when)


@st.composite
def trials(draw: st.DrawFn) -> str:
    """Up to eight subjects, most of them infused, most with a baseline and an M6, and much beside it."""
    who = [f"p{n}" for n in range(draw(st.sampled_from((1, 3, 8))))]
    infused = [f"{one} MSCT d1" for one in who if draw(st.integers(0, 5))]
    pairs = [
        f"{one} {paramcd} d{n} {draw(numbers)} {draw(options)}"
        for one in who
        for paramcd in ("MMT8", "CK")
        for n in (draw(st.sampled_from((-5, 1))), 183)
        if draw(st.integers(0, 4))
    ]
    results = draw(st.lists(st.tuples(st.sampled_from(who), results_of_a_day()), max_size=15))
    others = draw(st.lists(st.tuples(st.sampled_from(who), other()), max_size=8))
    lines = [*infused, *pairs, *(f"{one} {line}" for one, line in others)]
    return "\n".join([*lines, *(f"{one} {line}" for one, of_day in results for line in of_day)])


cuts = st.sampled_from([None, "d12", "d200"])


@LAW
@given(trials(), cuts, st.randoms(use_true_random=False))
def test_the_order_of_the_records_changes_nothing(lines: str, cut: str | None, chance: Any) -> None:
    held = records(lines)
    until = analysed(lines, cut=cut)
    mixed = StudyRecords(
        **{name: tuple(chance.sample(rows, len(rows))) for name, rows in _tables(held).items()}
    )
    again = replace(mixed, transplants=open_courses(mixed.transplants, PLAN))
    again = replace(again, subjects=complete(again.subjects, again, PLAN))
    assert analyse(again, PLAN, _date(cut)) == until
    by_name = {row.usubjid: row for row in held.subjects}
    assert {row.usubjid: row for row in again.subjects} == by_name


@LAW
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["p1", "p2", "p3"]),
            days(),
            st.decimals(0, 30, places=3),
            st.sampled_from(["", "<", ">"]),
            st.decimals(1, 4, places=2),
        ),
        max_size=20,
    )
)
def test_all_ck_in_ukat_per_l_in_place_of_u_per_l_leaves_every_outcome_as_it_was(
    results: list[tuple[str, int, Decimal, str, Decimal]],
) -> None:
    infused = ["p1 MSCT d1", "p2 MSCT d1", "p2 MSCT d196", "p3 MSCT d1"]
    ukat = [f"{who} CK d{n} {sign}{x} unit=ukat/L uln={limit}" for who, n, x, sign, limit in results]
    units = [f"{who} CK d{n} {sign}{60 * x} uln={60 * limit}" for who, n, x, sign, limit in results]
    assert analysed("\n".join(infused + ukat)) == analysed("\n".join(infused + units))


@LAW
@given(trials(), cuts)
def test_every_infused_subject_is_counted_once_at_every_visit(lines: str, cut: str | None) -> None:
    for row in analysed(lines, cut=cut).by_visit:
        assert row.n + row.not_due + row.retreated + row.missing == row.n_infused
        assert (row.chg_n or 0) <= (row.base_n or 0) <= row.n


@LAW
@given(trials(), cuts)
def test_analysis_holds_every_measurement_once_a_course_and_says_why_it_was_not_taken(
    lines: str, cut: str | None
) -> None:
    sent = [row.source for row in records(lines).measurements]
    rows = analysed(lines, cut=cut).analysis
    single = [row for row in rows if " " not in row.source]
    assert {row.source for row in single} == set(sent)
    assert max(Counter((row.source, row.course) for row in single).values(), default=1) == 1
    assert all((row.anl01fl == "Y") == (row.why_not == "") for row in rows)
    assert all("day_median" in row.flags for row in rows if " " in row.source)
    chosen = Counter((row.usubjid, row.paramcd, row.course, row.avisit) for row in rows if row.anl01fl)
    assert max(chosen.values(), default=1) == 1
    for source, times in Counter(row.source for row in single).items():
        own, *next_baseline = [row for row in single if row.source == source]
        assert times == 1 or [(row.course, row.avisit) for row in next_baseline] == [
            ((own.course or 0) + 1, "BASELINE")
        ]


@LAW
@given(trials(), cuts)
def test_no_answer_counts_more_than_there_are_and_every_answer_has_a_subject_behind_it(
    lines: str, cut: str | None
) -> None:
    results = analysed(lines, cut=cut)
    for row in results.endpoints:
        mine = [one for one in results.by_subject if one.endpoint == row.endpoint]
        assert (row.n or 0) <= len(mine)
        if row.x is not None:
            assert row.n and row.value == Fraction(row.x, row.n)
            assert row.x <= sum(one.status == "met" for one in mine)
    assert all(one.source for one in results.by_subject)
    assert all((one.status == "not evaluable") <= (one.value == "") for one in results.by_subject)


@LAW
@given(trials(), cuts)
def test_by_visit_can_be_recomputed_from_analysis_without_our_code(lines: str, cut: str | None) -> None:
    results = analysed(lines, cut=cut)
    analysis = _read(csv_bytes(results.analysis, Analysis))
    for row in _read(csv_bytes(results.by_visit, VisitSummary)):
        place = {key: row[key] for key in ("paramcd", "course", "avisit")}
        chosen = [one for one in analysis if one["anl01fl"] == "Y" and place.items() <= one.items()]
        expected = recomputed(chosen, row["avisit"] == "BASELINE")
        found = {key: float(row[key]) for key in expected if row[key]}
        assert found == pytest.approx({key: value for key, value in expected.items() if value is not None})


def recomputed(rows: list[dict[str, str]], is_baseline: bool) -> dict[str, float | None]:
    """One row of by_visit from the chosen rows of analysis.csv, in floats and by brute force."""
    out: dict[str, float | None] = dict(described([float(row["aval"]) for row in rows]))
    bases = [float(row["base"]) for row in rows if row["base"]]
    out |= {f"base_{key}": described(bases).get(key) for key in ("n", "mean", "median")}
    if is_baseline:
        return out
    changes = [float(row["chg"]) for row in rows if row["chg"]]
    out |= {f"chg_{key}": described(changes).get(key) for key in ("n", "mean", "sd", "median")}
    pairs = [row for row in rows if row["chg"]]
    out["pair_median"] = median(float(row["aval"]) for row in pairs) if pairs else None
    out["pair_base_median"] = median(float(row["base"]) for row in pairs) if pairs else None
    percents = [float(row["pchg"]) for row in rows if row["pchg"]]
    out["pchg_median"] = median(percents) if percents else None
    ratios = [(float(row["aval"]), float(row["base"])) for row in rows if row["chg"]]
    if rows and rows[0]["paramcd"].startswith("CK") and len(ratios) > 1 and all(a * b for a, b in ratios):
        out["gmr"] = exp(mean(log(a / b) for a, b in ratios))
    if changes:
        out |= by_all_sign_flips(changes)
    return out


def by_all_sign_flips(changes: list[float]) -> dict[str, float]:
    """Signed-rank p by enumeration, the median of all pairs' means, and its interval where there is one."""
    n, sizes = len(changes), sorted(abs(change) for change in changes)
    ranks = [sizes.index(abs(c)) + (sizes.count(abs(c)) + 1) / 2 for c in changes]
    kept = [(rank, 1 if c > 0 else -1) for rank, c in zip(ranks, changes, strict=True) if c]
    flips = [abs(sum(s * r for s, (r, _) in zip(signs, kept, strict=True))) for signs in _signs(len(kept))]
    seen = abs(sum(rank * sign for rank, sign in kept))
    walsh = sorted((a + b) / 2 for a, b in combinations_with_replacement(changes, 2))
    out = {"estimate": median(walsh), "p": sum(flip >= seen for flip in flips) / len(flips)}
    if n < 6:
        return out
    sums = [sum(rank for rank, s in enumerate(signs, start=1) if s > 0) for signs in _signs(n)]
    levels = {k: 1 - 2 * sum(w < k for w in sums) / 2**n for k in range(1, n + 1)}
    k = max(k for k, level in levels.items() if level >= 0.95)
    return out | {"ci_lo": walsh[k - 1], "ci_hi": walsh[-k], "conf": levels[k]}


def _signs(n: int) -> list[tuple[int, ...]]:
    return list(product((1, -1), repeat=n))


def described(values: list[float]) -> dict[str, float]:
    if not values:
        return {"n": 0}
    ordered, n = sorted(values), len(values)
    quartile = {q: (ordered[-(-n * q // 4) - 1] + ordered[n * q // 4]) / 2 for q in (1, 3)}
    spread = {"sd": stdev(values)} if n > 1 else {}
    return spread | {
        "n": n,
        "mean": mean(values),
        "median": median(values),
        "q1": quartile[1],
        "q3": quartile[3],
        "min": ordered[0],
        "max": ordered[-1],
    }


def test_the_laws_are_tried_on_trials_in_which_something_happens() -> None:
    """The strategy above reaches every corner that the rules speak of.

    What hypothesis draws depends on which modules were imported before, so this looks at more of it.
    """
    seen: Counter[str] = Counter()

    @settings(LAW, max_examples=400)
    @given(trials(), cuts)
    def look(lines: str, cut: str | None) -> None:
        results = analysed(lines, cut=cut)
        seen.update(
            {word for row in results.analysis for word in (row.why_not, *row.flags, f"c{row.course}")}
        )
        seen.update({flag.split(":")[0] for row in results.by_visit for flag in row.flags})
        seen.update({word for row in results.by_subject for word in (row.status, row.reason)})
        seen.update({f"pairs{row.chg_n}" for row in results.by_visit})

    look()
    corners = {
        *("no_course", "after_cut", "outside_window", "before_window", "not_closest", "same_day_other"),
        *("day_conflict", "day_median", "same_day", "no_uln", "scale_differs", "cens", "retreated", "c2"),
        *("met", "not met", "value", "no_baseline", "no_value", "not_due", "base_zero", "no_findings"),
        *("no_response", "not_abnormal", "cannot_reach_05", "pairs2", "pairs6"),
    }
    assert corners - set(seen) == set()


def test_results_are_the_same_bytes_each_time() -> None:
    lines = "p1 MSCT d1 \n p1 CK d-5 3 \n p1 CK d183 1"
    first, second = analysed(lines), analysed(lines)
    assert isinstance(first, Results)
    assert csv_bytes(first.by_visit, VisitSummary) == csv_bytes(second.by_visit, VisitSummary)


def _tables(held: StudyRecords) -> dict[str, tuple[Any, ...]]:
    return {name: getattr(held, name) for name in StudyRecords.__struct_fields__}


def _date(cut: str | None) -> date | None:
    return date.fromisoformat(day(cut)) if cut else None


def _read(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode())))
