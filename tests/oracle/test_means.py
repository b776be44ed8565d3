"""Paired t-test and geometric mean ratio against printed values and scipy."""

from fractions import Fraction
from math import exp, log
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from fhir_msct.outcomes.statistics import geometric_mean_ratio, paired_t
from oracle.samples import PILOT_CK, PILOT_MMT, STUDENT_SLEEP, SYNTHETIC_CK, Pairs, changes, exact

seeded = settings(derandomize=True, deadline=None, max_examples=100)
values = st.fractions(-50, 50, max_denominator=20)
levels = st.fractions(Fraction(1, 10), 3000, max_denominator=10)
pairs_of_levels = st.lists(st.tuples(levels, levels), min_size=2, max_size=15)
factors = st.fractions(Fraction(1, 60), 60, max_denominator=60)


def t_p(differences: list[Fraction]) -> float:
    found = paired_t(differences)
    assert found is not None
    return found


def ratio(pairs: Pairs, conf: float = 0.95) -> tuple[float, float, float]:
    found = geometric_mean_ratio(pairs, conf)
    assert found is not None
    return found


# Paired t


def test_students_own_sleepers_have_the_p_that_r_prints() -> None:
    """t.test(sleep$extra[1:10], sleep$extra[11:20], paired = TRUE): t = -4.0621, df = 9, p = 0.002833."""
    assert t_p(STUDENT_SLEEP) == pytest.approx(0.002833, abs=5e-7)


def test_muscle_strength_of_the_infliximab_pilot_has_the_opposite_verdict_to_its_exact_rank_test() -> None:
    assert t_p(changes(PILOT_MMT)) == pytest.approx(0.04328, abs=5e-6)


def test_creatine_kinase_of_ten_has_a_t_of_minus_4_21931() -> None:
    assert t_p(changes(SYNTHETIC_CK)) == pytest.approx(0.00224172, abs=5e-9)
    assert t_p(changes(SYNTHETIC_CK)) == pytest.approx(2 * student.sf(4.21931, 9), rel=1e-5)


def test_logarithms_of_the_pilots_creatine_kinase_have_the_printed_p() -> None:
    logs = [Fraction(log(after) - log(before)) for before, after in PILOT_CK]
    assert t_p(logs) == pytest.approx(0.2151, abs=5e-5)


@seeded
@given(st.lists(values, min_size=2, max_size=30))
def test_scipys_t_test_agrees(differences: list[Fraction]) -> None:
    assume(max(differences) - min(differences) > 1)
    theirs = ttest_1samp([float(d) for d in differences], 0)
    assert t_p(differences) == pytest.approx(theirs.pvalue, rel=1e-9)


def test_below_two_pairs_or_without_spread_there_is_no_t_test() -> None:
    assert paired_t([]) is None
    assert paired_t([Fraction(3)]) is None
    assert paired_t([Fraction(0), Fraction(0)]) is None
    assert paired_t([Fraction(-3)] * 10) is None


def test_two_pairs_have_the_arctangent_for_a_distribution() -> None:
    """With one degree of freedom t is Cauchy: differences 1 and 3 give t = 2, p = 1 - 2 atan(2) / pi."""
    assert t_p(exact([1, 3])) == pytest.approx(0.295167235300866, rel=1e-12)


def test_differences_in_balance_have_a_p_of_one() -> None:
    assert t_p(exact([-2, 2, 5, -5])) == 1.0


@seeded
@given(
    st.lists(values, min_size=2, max_size=15),
    factors,
    st.sampled_from([-1, 1]),
    st.randoms(use_true_random=False),
)
def test_neither_order_nor_unit_nor_direction_matters(
    differences: list[Fraction], factor: Fraction, sign: int, random: Random
) -> None:
    shuffled = random.sample(differences, len(differences))
    assert paired_t([sign * factor * d for d in shuffled]) == paired_t(differences)


# Geometric mean ratio


def test_creatine_kinase_of_the_infliximab_pilot_has_the_printed_ratio() -> None:
    assert ratio(PILOT_CK) == pytest.approx((1.2974, 0.8306, 2.0267), abs=5e-5)


def test_creatine_kinase_of_ten_fell_to_a_quarter() -> None:
    assert ratio(SYNTHETIC_CK) == pytest.approx((0.24459, 0.14543, 0.41134), abs=6e-6)


@seeded
@given(pairs_of_levels, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_scipys_interval_of_the_mean_logarithm_agrees(pairs: Pairs, conf: float) -> None:
    logs = [log(after / before) for before, after in pairs]
    assume(max(logs) - min(logs) > 0.001)
    theirs = ttest_1samp(logs, 0).confidence_interval(conf)
    expected = (exp(sum(logs) / len(logs)), exp(theirs.low), exp(theirs.high))
    assert ratio(pairs, conf) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_value_without_a_logarithm_leaves_no_ratio(value: int, side: str) -> None:
    odd = (Fraction(value), Fraction(5)) if side == "before" else (Fraction(5), Fraction(value))
    assert geometric_mean_ratio([*SYNTHETIC_CK, odd], 0.95) is None


def test_below_two_pairs_there_is_no_ratio() -> None:
    assert geometric_mean_ratio([], 0.95) is None
    assert geometric_mean_ratio(SYNTHETIC_CK[:1], 0.95) is None


def test_ratios_that_are_all_equal_give_an_interval_without_width() -> None:
    assert ratio([(Fraction(n), Fraction(n, 2)) for n in range(1, 11)]) == pytest.approx(
        (0.5, 0.5, 0.5), rel=1e-14
    )


@seeded
@given(pairs_of_levels, factors, st.randoms(use_true_random=False))
def test_neither_the_order_of_the_patients_nor_the_unit_changes_a_ratio(
    pairs: Pairs, factor: Fraction, random: Random
) -> None:
    shuffled = random.sample(pairs, len(pairs))
    assert ratio([(factor * before, factor * after) for before, after in shuffled]) == ratio(pairs)


@seeded
@given(pairs_of_levels)
def test_the_ratio_backwards_is_the_reciprocal(pairs: Pairs) -> None:
    forth, lo, hi = ratio(pairs)
    assert ratio([(after, before) for before, after in pairs]) == pytest.approx((1 / forth, 1 / hi, 1 / lo))
