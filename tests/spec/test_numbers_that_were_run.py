"""The numbers that the rules were chosen by: each alternative gives another trial."""

from datetime import date, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from fhir_msct.dates import calendar_date
from fhir_msct.exact import decimal_text
from fhir_msct.outcomes.statistics import clopper_pearson, describe, signed_rank
from lib.people import analysed, pairs, records, shown, trial, visit


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ((0, 0, 0, 0, 2, 3, 4, 5, 6, -1), 0.0625),
        ((-3, -1, 0, 0, 3, 4, 4, 4, 4, 5), 0.078125),  # zeros dropped: 0.047
        ((0, 0, 0, 0, 1, 1, 1, 2, 3, 4), 0.03125),
    ],
)
def test_zeros_are_kept_as_pratt_says(differences: tuple[int, ...], p: float) -> None:
    row = visit(pairs((50,) * 10, tuple(50 + d for d in differences), "MMT8"), "MMT8", "M6")
    assert row.p == pytest.approx(p, abs=5e-4)


def test_p_and_interval_may_disagree_where_there_are_ties() -> None:
    differences = (0, 0, 0, 0, 1, 1, 1, 2, 3, 4)
    row = visit(pairs((50,) * 10, tuple(50 + d for d in differences), "MMT8"), "MMT8", "M6")
    assert row.p == pytest.approx(0.031, abs=5e-4)
    assert (row.ci_lo, row.ci_hi) == (0, 2)


def test_five_pairs_reach_a_level_of_93_75_percent_at_best() -> None:
    assert 1 - 2 / 2**5 == 0.9375
    assert visit(pairs((9,) * 5, (1, 2, 3, 4, 5), "PTGVAS"), "PTGVAS", "M6").conf is None


def test_dropping_values_below_the_limit_of_detection_would_remove_the_best_responders() -> None:
    measured = (1.1, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2)
    kept = visit(pairs((20,) * 10, (*measured, *("<0.3",) * 3), "CKMBMASS"), "CKMBMASS", "M6")
    dropped = visit(pairs((20,) * 7, measured, "CKMBMASS"), "CKMBMASS", "M6")
    assert (dropped.n, round(dropped.p or 0, 3), round(float(dropped.mean or 0), 2)) == (7, 0.016, 1.64)
    assert (kept.n, round(kept.p or 0, 3), round(float(kept.mean or 0), 2)) == (10, 0.002, 1.24)
    assert kept.flags == ("cens:3",)


def test_completers_say_6_of_6_where_all_infused_say_6_of_10() -> None:
    """Four were treated again before the visit."""
    lines = [
        f"p{n} MSCT d1 \n p{n} PTGVAS d-5 8 \n" + (f"p{n} MSCT d100" if n < 4 else f"p{n} PTGVAS d183 4")
        for n in range(10)
    ]
    results = analysed("\n".join(lines))
    completers = trial(results, "RESP20_PTGVAS", "EVALUABLE")
    everybody = trial(results, "RESP20_PTGVAS", "INFUSED")
    assert (completers.x, completers.n, everybody.x, everybody.n) == (6, 6, 6, 10)
    assert (completers.ci_lo, completers.ci_hi) == pytest.approx((0.54, 1), abs=5e-3)
    assert (everybody.ci_lo, everybody.ci_hi) == pytest.approx((0.26, 0.88), abs=5e-3)
    assert clopper_pearson(6, 10, 0.95) == (everybody.ci_lo, everybody.ci_hi)


def test_half_past_seven_in_the_evening_at_utc_minus_5_is_the_next_day_in_utc() -> None:
    text = "2024-01-08T19:30:00-05:00"
    assert calendar_date(text) == date(2024, 1, 8)
    assert datetime.fromisoformat(text).astimezone(ZoneInfo("UTC")).date() == date(2024, 1, 9)


def test_two_transplants_19_days_apart_open_no_second_course() -> None:
    assert shown(records("p1 MSCT d1 \n p1 MSCT d20").subjects, "courses") == [["1"]]


def test_quartiles_of_the_second_ck_series_are_175_and_400() -> None:
    """Another common definition gives 176 and 375."""
    described = describe([Fraction(x) for x in (175, 200, 400, 180, 150, 900, 300, 160, 210, 690)])
    assert (described.q1, described.q3) == (175, 400)


def test_1681_u_per_l_has_no_end_in_ukat_per_l() -> None:
    assert decimal_text(Fraction(1681, 60)) == "28.0166666666667"


def test_ever_improved_holds_for_those_who_relapse_and_a_fixed_visit_does_not() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40
        p1 MMT8 d92  60
        p1 MMT8 d183 41
        p1 DX   d170 DM state=relapse
    """)
    found = {row.endpoint: row.status for row in results.by_subject if row.paramcd in ("", "MMT8")}
    assert (found["IMP_EVER_MMT8"], found["RESP20_MMT8"], found["RECUR"]) == ("met", "not met", "met")


def test_twenty_pairs_with_ties_and_zeros_are_still_exact() -> None:
    """Where a library turns asymptotic without a word: 0.0324 for 0.0314 in one such sample."""
    assert "exact" in signed_rank([Fraction(n % 5 - 1) for n in range(20)], exact_pairs=200).method
