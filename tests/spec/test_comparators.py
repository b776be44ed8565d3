"""D9: what a value beyond a limit of detection can be, and what of it stays in answers and statistics."""

from fractions import Fraction

import pytest

from fhir_msct.outcomes.comparators import Span, span
from lib.people import PLAN, analysed, outcome, said, shown, table, trial, visit


@pytest.mark.parametrize(
    ("paramcd", "comparator", "expected"),
    [
        ("CK", "<", Span(low=Fraction(0), high=Fraction(5), high_open=True)),
        ("CK", "<=", Span(low=Fraction(0), high=Fraction(5))),
        ("CK", ">", Span(low=Fraction(5), high=None, low_open=True)),
        ("PTGVAS", ">=", Span(low=Fraction(5), high=Fraction(10))),
        ("CKMBCK", "<", Span(low=None, high=Fraction(5), high_open=True)),
        ("CK", "", Span(low=Fraction(5), high=Fraction(5))),
    ],
)
def test_d9_a_comparator_is_an_interval_within_what_is_known_of_the_parameter(
    paramcd: str, comparator: str, expected: Span
) -> None:
    assert span(Fraction(5), comparator, PLAN.parameters[paramcd]) == expected


@pytest.mark.parametrize(
    ("base", "m6", "answer"),
    [
        ("10", "<8", "met"),  # all of [0, 8) is at most 0.8 x 10
        ("10", "<=8", "met"),
        ("10", "<8.1", "cens"),
        ("10", ">8", "not met"),  # all of (8, ...) is above 0.8 x 10
        ("10", ">=8", "cens"),  # 8 itself would count
        ("10", ">12", "not met"),
        (">10", "8", "met"),  # 8 is at most 0.8 of anything above 10
        (">10", "8.1", "cens"),
        ("<10", "8", "not met"),  # 8 is above 0.8 of anything below 10
        ("<=10", "8", "cens"),
        ("<10", "<5", "cens"),
    ],
)
def test_d9_a_rule_is_met_or_not_only_if_every_value_of_both_intervals_says_so(
    base: str, m6: str, answer: str
) -> None:
    results = analysed(f"""
        p1 MSCT     d1
        p1 CKMBMASS d-5  {base}
        p1 CKMBMASS d183 {m6}
    """)
    assert said(results, "p1", "RESP20_CKMBMASS") == answer


@pytest.mark.parametrize(
    ("base", "m6", "answer"),
    [("50", ">=60", "met"), ("50", ">59", "cens"), ("50", "<60", "not met"), ("<50", "60", "met")],
)
def test_d9_where_higher_is_better_the_interval_is_read_the_other_way(
    base: str, m6: str, answer: str
) -> None:
    results = analysed(f"p1 MSCT d1 \n p1 MMT8 d-5 {base} \n p1 MMT8 d183 {m6}")
    assert said(results, "p1", "RESP20_MMT8") == answer  # 1.2 x 50 = 60


@pytest.mark.parametrize(
    ("base", "w1", "answer"),
    [("10", "<10", "met"), ("10", "<=10", "cens"), ("10", ">=10", "not met"), ("<10", "10", "not met")],
)
def test_d9_better_at_all_is_decided_by_the_ends_of_the_intervals(base: str, w1: str, answer: str) -> None:
    results = analysed(f"p1 MSCT d1 \n p1 CKMBMASS d-5 {base} \n p1 CKMBMASS d8 {w1}")
    assert said(results, "p1", "IMP_EVER_CKMBMASS") == answer


@pytest.mark.parametrize(
    ("base", "m6", "change", "percent"),
    [
        ("10", "0.3", "-9.7", "-97"),
        ("10", "<0.3", "<-9.7", "<-97"),  # below 0.3, so the fall is larger
        ("10", "<=0.3", "<=-9.7", "<=-97"),
        ("10", ">12", ">2", ">20"),
        (">10", "4", "<-6", "<-60"),  # from more than 10
        (">=10", "4", "<=-6", "<=-60"),
        (">=10", "<4", "<-6", "<-60"),
        ("<10", "12", ">2", ">20"),
        ("<10", ">=12", ">2", ">20"),
        (">10", "0", "<-10", "-100"),  # nothing left is all of it, of whatever it was
    ],
)
def test_d9_a_subjects_change_keeps_what_a_comparator_says_of_it(
    base: str, m6: str, change: str, percent: str
) -> None:
    results = analysed(f"p1 MSCT d1 \n p1 CKMBMASS d-5 {base} \n p1 CKMBMASS d183 {m6}")
    for endpoint, value in (("CHG", change), ("RESP20", percent)):
        row = outcome(results, "p1", f"{endpoint}_CKMBMASS")
        assert row.value_comparator + row.value == value
        assert (row.base_comparator + row.base, row.comparator + row.aval) == (base, m6)


def test_d9_a_baseline_at_the_limit_counts_at_each_visit_that_is_compared_with_it() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-5  >5000
        p1 CK   d183 <40
        p2 MSCT d1
        p2 CK   d-5  >5000     # no value at M6: nothing there rests on it
        p3 MSCT d1
        p3 CK   d183 100
    """)
    assert [visit(results, "CK", name).flags[0] for name in ("BASELINE", "M6")] == ["cens:2", "cens:1"]


@pytest.mark.parametrize(("base", "m6"), [("<10", "<5"), (">10", ">=5"), ("<=0.3", "<=0.3")])
def test_d9_a_change_of_which_not_even_the_direction_is_known_is_no_number(base: str, m6: str) -> None:
    results = analysed(f"p1 MSCT d1 \n p1 CKMBMASS d-5 {base} \n p1 CKMBMASS d183 {m6}")
    row = outcome(results, "p1", "CHG_CKMBMASS")
    assert (row.status, row.reason, row.value) == ("not evaluable", "cens", "")
    assert (row.base_comparator + row.base, row.comparator + row.aval) == (base, m6)
    assert (visit(results, "CKMBMASS", "M6").chg_n, trial(results, "CHG_CKMBMASS", "EVALUABLE").n) == (1, 1)


def test_d9_the_trials_change_says_how_many_of_its_pairs_were_taken_at_a_limit() -> None:
    results = analysed("""
        p1 MSCT     d1
        p1 CKMBMASS d-5  >10
        p1 CKMBMASS d183 0.5
        p2 MSCT     d1
        p2 CKMBMASS d-5  <0.3
        p2 CKMBMASS d183 <0.3
        p3 MSCT     d1
        p3 CKMBMASS d-5  10
        p3 CKMBMASS d183 0.5
        p4 MSCT     d1
        p4 CKMBMASS d183 <0.3     # no baseline, no pair
    """)
    row = trial(results, "CHG_CKMBMASS", "EVALUABLE")
    assert (row.n, row.reason.split()[0]) == (3, "cens:2")


def test_d18_a_normal_value_keeps_its_comparator() -> None:
    results = analysed("p1 MSCT d1 \n p1 CK d-5 1000 uln=200 \n p1 CK d183 <40 uln=200")
    assert shown([outcome(results, "p1", "CKNORM")], "status value_comparator value comparator") == table("""
        met < 40 <
    """)


def test_d9_statistics_use_the_limit_itself_and_say_how_many() -> None:
    results = analysed("""
        p1 MSCT     d1
        p1 CKMBMASS d-5  10
        p1 CKMBMASS d183 <0.3
        p2 MSCT     d1
        p2 CKMBMASS d-5  10
        p2 CKMBMASS d183 0.5
    """)
    row = visit(results, "CKMBMASS", "M6")
    assert (row.n, row.mean) == (2, (Fraction("0.3") + Fraction("0.5")) / 2)
    assert row.chg_mean == (Fraction("-9.7") + Fraction("-9.5")) / 2
    assert "cens:1" in row.flags


def test_d9_what_a_comparator_leaves_open_is_never_dropped_from_n() -> None:
    results = analysed("""
        p1 MSCT   d1
        p1 PTGVAS d-5  5
        p1 PTGVAS d183 <4.5       # 0.8 x 5 = 4: open
        p2 MSCT   d1
        p2 PTGVAS d-5  5
        p2 PTGVAS d183 4
        p3 MSCT   d1
        p3 PTGVAS d-5  5
        p3 PTGVAS d183 <4
    """)
    for population in ("INFUSED", "EVALUABLE"):
        row = trial(results, "RESP20_PTGVAS", population)
        assert (row.x, row.n, row.reason) == (2, 3, "cens:1")
