"""Hodges-Lehmann estimate and Walsh interval against printed values and the inversion of the test itself."""

from fractions import Fraction
from itertools import pairwise
from random import Random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.outcomes.statistics import Interval, hodges_lehmann, signed_rank, walsh_interval
from oracle.enumeration import p_by_enumeration
from oracle.samples import DEPRESSION, PILOT_MMT, SYNTHETIC_CK, changes, exact

seeded = settings(derandomize=True, deadline=None, max_examples=100)
values = st.fractions(-50, 50, max_denominator=20)
samples = st.lists(values, min_size=6, max_size=15)


def interval(differences: list[Fraction], conf: float = 0.95, min_n: int = 6) -> Interval:
    found = walsh_interval(differences, conf=conf, min_n=min_n, exact_pairs=200)
    assert found is not None
    return found


def every_walsh_average(differences: list[Fraction]) -> list[Fraction]:
    n = len(differences)
    return sorted((differences[i] + differences[j]) / 2 for i in range(n) for j in range(i, n))


# Printed values


def test_muscle_strength_of_the_infliximab_pilot_rose_by_four_points() -> None:
    assert hodges_lehmann(changes(PILOT_MMT)) == 4
    found = interval(changes(PILOT_MMT))
    assert (found.lo, found.hi) == (Fraction(-1, 2), 7)
    assert found.conf == pytest.approx(0.961, abs=5e-4)


def test_creatine_kinase_of_ten_fell_by_995_and_the_interval_is_the_ninth_of_55_from_either_end() -> None:
    differences = changes(SYNTHETIC_CK)
    averages = every_walsh_average(differences)
    assert len(averages) == 55
    assert hodges_lehmann(differences) == averages[27] == -995
    found = interval(differences)
    assert (found.lo, found.hi) == (averages[8], averages[-9]) == (-1575, -420)
    assert found.conf == pytest.approx(0.9512, abs=5e-5)


def test_the_depression_scale_gives_what_r_prints() -> None:
    """wilcox.test(x, y, paired = TRUE, conf.int = TRUE): pseudomedian 0.46, interval 0.010 to 0.786."""
    fall = [-change for change in changes(DEPRESSION)]
    assert float(hodges_lehmann(fall) or 0) == pytest.approx(0.46, abs=5e-4)
    found = interval(fall)
    assert float(found.lo) == pytest.approx(0.010, abs=5e-4)
    assert float(found.hi) == pytest.approx(0.786, abs=5e-4)


def test_with_zeros_the_exact_p_and_the_interval_may_disagree() -> None:
    differences = exact([0, 0, 0, 0, 1, 1, 1, 2, 3, 4])
    assert signed_rank(differences, exact_pairs=200).p == pytest.approx(0.031, abs=5e-4)
    found = interval(differences)
    assert (found.lo, found.hi) == (0, 2)


def test_zeros_count_in_the_estimate() -> None:
    assert hodges_lehmann(exact([0, 0, 6])) == median([0, 0, 0, 3, 3, 6])


@pytest.mark.parametrize(
    ("n", "critical"), [(6, 0), (8, 3), (10, 8), (15, 25), (20, 52), (25, 89), (30, 137), (50, 434)]
)
def test_the_interval_is_one_walsh_average_inside_the_printed_critical_value(n: int, critical: int) -> None:
    """k = T + 1, where T is the two-sided 5 % point of Wilcoxon's T as tables print it."""
    powers = [Fraction(3) ** rank for rank in range(n)]
    averages = every_walsh_average(powers)
    found = interval(powers)
    assert (found.lo, found.hi) == (averages[critical], averages[-1 - critical])


# Inversion of the test


@seeded
@given(st.lists(values, min_size=4, max_size=9, unique=True), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_interval_holds_the_shifts_that_the_exact_test_does_not_reject(
    differences: list[Fraction], conf: float
) -> None:
    averages = sorted(set(every_walsh_average(differences)))
    between = [(a + b) / 2 for a, b in pairwise(averages)]
    shifts = [averages[0] - 1, *between, averages[-1] + 1]
    p = {shift: p_by_enumeration([d - shift for d in differences]) for shift in shifts}
    kept = [shift for shift in shifts if p[shift] > 1 - Fraction(str(conf))]
    found = walsh_interval(differences, conf=conf, min_n=1, exact_pairs=200)
    if len(kept) == len(shifts):
        assert found is None
        return
    assert found is not None
    assert kept == [shift for shift in shifts if found.lo < shift < found.hi]
    assert found.conf == float(1 - max(p[shift] for shift in shifts if shift not in kept))


@seeded
@given(st.integers(6, 60), st.sampled_from([0.8, 0.9, 0.95]))
def test_the_level_is_the_smallest_there_is_at_or_above_the_one_asked_for(n: int, conf: float) -> None:
    """Just outside the interval p is at most 1 - conf, just inside it is larger."""
    powers = [Fraction(3) ** rank for rank in range(n)]
    found, nearby = interval(powers, conf), Fraction(1, 1000)
    just_outside = signed_rank([d - (found.lo - nearby) for d in powers], exact_pairs=200).p
    just_inside = signed_rank([d - (found.lo + nearby) for d in powers], exact_pairs=200).p
    assert just_outside is not None and just_inside is not None
    assert just_outside <= 1 - conf < just_inside
    assert found.conf == pytest.approx(1 - just_outside, rel=1e-12)


# Boundaries


def test_without_pairs_there_is_neither_estimate_nor_interval() -> None:
    assert hodges_lehmann([]) is None
    assert walsh_interval([], conf=0.95, min_n=0, exact_pairs=200) is None


def test_one_pair_is_its_own_estimate_and_has_no_interval() -> None:
    assert hodges_lehmann([Fraction(7, 3)]) == Fraction(7, 3)
    assert walsh_interval([Fraction(7, 3)], conf=0.95, min_n=0, exact_pairs=200) is None


def test_five_pairs_reach_93_75_per_cent_at_best() -> None:
    five = exact([1, 2, 4, 8, 16])
    assert walsh_interval(five, conf=0.95, min_n=0, exact_pairs=200) is None
    assert walsh_interval(five, conf=0.9376, min_n=0, exact_pairs=200) is None
    assert walsh_interval(five, conf=0.9375, min_n=0, exact_pairs=200) == Interval(
        Fraction(1), Fraction(16), 0.9375
    )


def test_six_pairs_have_an_interval_from_the_smallest_to_the_largest() -> None:
    six = exact([1, 2, 4, 8, 16, 32])
    assert walsh_interval(six, conf=0.95, min_n=6, exact_pairs=200) == Interval(
        Fraction(1), Fraction(32), 1 - 2 / 2**6
    )


def test_below_the_plans_minimum_there_is_no_interval_even_where_a_level_could_be_reached() -> None:
    six = exact([1, 2, 4, 8, 16, 32])
    assert walsh_interval(six, conf=0.8, min_n=7, exact_pairs=200) is None
    assert walsh_interval(six, conf=0.8, min_n=6, exact_pairs=200) is not None
    assert walsh_interval(six, conf=0.99, min_n=6, exact_pairs=200) is None


def test_differences_that_are_all_equal_give_an_interval_without_width() -> None:
    found = interval([Fraction(5)] * 10)
    assert (found.lo, found.hi) == (5, 5)


# Beyond the number of pairs that is counted exactly


def test_beyond_exact_pairs_the_interval_is_that_of_the_printed_normal_quantile() -> None:
    """n = 50: 50 x 51 / 4 - 1.959964 sqrt(50 x 51 x 101 / 24) = 434.47, where exact counting gives 435."""
    powers = [Fraction(3) ** rank for rank in range(50)]
    averages = every_walsh_average(powers)
    found = walsh_interval(powers, conf=0.95, min_n=6, exact_pairs=49)
    assert found is not None
    assert (found.lo, found.hi) == (averages[433], averages[-434])
    assert "normal" in found.method
    assert interval(powers).method == ""


@pytest.mark.parametrize("n", [60, 150, 300])
@pytest.mark.parametrize("conf", [0.9, 0.95, 0.99])
def test_the_normal_interval_holds_the_exact_one_and_little_more(n: int, conf: float) -> None:
    random = Random(n)
    differences = [Fraction(random.randrange(-2000, 500), 10) for _ in range(n)]
    exactly = walsh_interval(differences, conf=conf, min_n=6, exact_pairs=n)
    nearly = walsh_interval(differences, conf=conf, min_n=6, exact_pairs=0)
    assert exactly is not None and nearly is not None
    assert nearly.lo <= exactly.lo <= exactly.hi <= nearly.hi
    assert conf <= nearly.conf == pytest.approx(exactly.conf, abs=2e-3)
    assert float(nearly.hi - nearly.lo) == pytest.approx(float(exactly.hi - exactly.lo), rel=0.03)


def test_a_thousand_pairs_have_the_estimate_and_interval_of_all_half_million_averages() -> None:
    random = Random(7)
    whole = [random.randrange(-20000, 5000) for _ in range(1000)]
    sums = sorted(whole[i] + whole[j] for i in range(1000) for j in range(i, 1000))
    differences = [Fraction(one, 10) for one in whole]
    found = walsh_interval(differences, conf=0.95, min_n=6, exact_pairs=200)
    assert found is not None
    k = 232344  # 1000 x 1001 / 4 - 1.959964 sqrt(1000 x 1001 x 2001 / 24) = 232344.6
    assert (found.lo, found.hi) == (Fraction(sums[k - 1], 20), Fraction(sums[-k], 20))
    assert hodges_lehmann(differences) == Fraction(sums[250_249] + sums[250_250], 40)  # the middle of 500,500


# Laws


@seeded
@given(samples)
def test_the_estimate_is_the_middle_of_all_walsh_averages_and_lies_in_the_interval(
    differences: list[Fraction],
) -> None:
    estimate = hodges_lehmann(differences)
    found = interval(differences)
    assert estimate == median(every_walsh_average(differences))
    assert found.lo <= estimate <= found.hi


@seeded
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_the_patients_does_not_matter(differences: list[Fraction], random: Random) -> None:
    shuffled = random.sample(differences, len(differences))
    assert hodges_lehmann(shuffled) == hodges_lehmann(differences)
    assert interval(shuffled) == interval(differences)


@seeded
@given(samples, st.fractions(Fraction(1, 60), 60, max_denominator=60), values)
def test_another_unit_or_origin_moves_estimate_and_interval_alike(
    differences: list[Fraction], factor: Fraction, shift: Fraction
) -> None:
    moved = [factor * d + shift for d in differences]
    estimate, found = hodges_lehmann(differences), interval(differences)
    assert estimate is not None
    assert hodges_lehmann(moved) == factor * estimate + shift
    assert interval(moved) == Interval(factor * found.lo + shift, factor * found.hi + shift, found.conf)


@seeded
@given(samples)
def test_turning_the_direction_turns_estimate_and_interval(differences: list[Fraction]) -> None:
    turned = [-d for d in differences]
    estimate, found = hodges_lehmann(differences), interval(differences)
    assert estimate is not None
    assert hodges_lehmann(turned) == -estimate
    assert interval(turned) == Interval(-found.hi, -found.lo, found.conf)
