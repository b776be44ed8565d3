"""Wilcoxon's signed-rank test against printed values, full enumeration and, where it is right, scipy."""

from fractions import Fraction
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from fhir_msct.outcomes.statistics import SignedRank, signed_rank
from oracle.enumeration import p_by_enumeration, p_by_floating_recursion
from oracle.samples import (
    DARWIN_MAIZE,
    DEPRESSION,
    PILOT_CK,
    PILOT_MMT,
    STUDENT_SLEEP,
    SYNTHETIC_CK,
    changes,
    exact,
)

seeded = settings(derandomize=True, deadline=None, max_examples=100)
tied = st.integers(-6, 6).map(lambda number: Fraction(number, 2))
"""Thirteen possible values: samples of them are full of ties and zeros."""
EXACT = "exact signed-rank, Pratt zeros"


def p(differences: list[Fraction], exact_pairs: int = 200) -> float:
    found = signed_rank(differences, exact_pairs=exact_pairs).p
    assert found is not None
    return found


def large(n: int, *, seed: int, zeros: int = 0, step: int = 1) -> list[Fraction]:
    """A seeded sample with a drift; `step` rounds it, so that ties arise."""
    random = Random(seed)
    values = [Fraction(round(random.gauss(20, 100)) // step * step or step, 4) for _ in range(n - zeros)]
    return values + [Fraction(0)] * zeros


# Printed values


@pytest.mark.parametrize(
    ("n", "printed"), [(10, 0.001953125), (9, 0.00390625), (8, 0.0078125), (6, 0.03125), (5, 0.0625)]
)
def test_when_all_change_alike_only_two_sign_flips_are_as_far(n: int, printed: float) -> None:
    assert p(exact(range(1, n + 1))) == printed == 2 / 2**n
    assert p(exact(range(-n, 0))) == printed


def test_five_pairs_can_never_reach_a_p_of_0_05() -> None:
    patterns = product(range(-2, 3), repeat=5)
    signs = product((-1, 1), repeat=5)
    assert min(p(exact(five)) for five in patterns) == 0.0625
    assert min(p([Fraction(sign * 2**n) for n, sign in enumerate(five)]) for five in signs) == 0.0625


def test_darwins_maize_gives_the_rank_sum_of_wilcoxon_1945_and_scipys_documented_p() -> None:
    found = signed_rank(DARWIN_MAIZE, exact_pairs=200)
    assert found == SignedRank(0.041259765625, EXACT, 15, 0, Fraction(24))


def test_the_depression_scale_gives_what_r_prints() -> None:
    """wilcox.test(x, y, paired = TRUE): V = 40 of 45, p-value = 0.03906."""
    found = signed_rank(changes(DEPRESSION), exact_pairs=200)
    assert found.p == pytest.approx(0.03906, abs=5e-6)
    assert found.statistic == 45 - 40


def test_muscle_strength_of_the_infliximab_pilot_has_ties_and_an_exact_p_of_0_0625() -> None:
    assert changes(PILOT_MMT) == [4, 7, 1, -1, 8, -5, 8, 6, 4]
    found = signed_rank(changes(PILOT_MMT), exact_pairs=200)
    assert found == SignedRank(0.0625, EXACT, 9, 0, Fraction(13, 2))
    assert p(changes(PILOT_MMT), exact_pairs=0) == pytest.approx(0.05736, abs=5e-6)


def test_creatine_kinase_of_the_infliximab_pilot_did_not_change_detectably() -> None:
    assert p(changes(PILOT_CK)) == pytest.approx(0.4258, abs=5e-5)


def test_creatine_kinase_that_falls_in_all_ten_leaves_no_rank_to_the_rises() -> None:
    found = signed_rank(changes(SYNTHETIC_CK), exact_pairs=200)
    assert found == SignedRank(0.001953125, EXACT, 10, 0, Fraction(0))


@pytest.mark.parametrize(
    ("differences", "printed"),
    [
        ([0, 0, 0, 0, 2, 3, 4, 5, 6, -1], 0.0625),
        ([-3, -1, 0, 0, 3, 4, 4, 4, 4, 5], 0.078125),
        ([0, 0, 0, 0, 1, 1, 1, 2, 3, 4], 0.03125),
    ],
)
def test_zeros_are_ranked_and_then_left_out_as_pratt_says(differences: list[int], printed: float) -> None:
    assert p(exact(differences)) == printed == float(p_by_enumeration(exact(differences)))


def test_dropping_zeros_before_ranking_would_have_given_another_verdict() -> None:
    differences = exact([-3, -1, 0, 0, 3, 4, 4, 4, 4, 5])
    assert p([d for d in differences if d]) == pytest.approx(0.047, abs=5e-4)
    assert p(differences) == pytest.approx(0.078, abs=5e-4)


def test_students_sleepers_gained_in_nine_of_ten_and_the_tenth_did_not_change() -> None:
    found = signed_rank(STUDENT_SLEEP, exact_pairs=200)
    assert found == SignedRank(2 / 2**9, EXACT, 10, 1, Fraction(0))


@pytest.mark.parametrize(
    ("n", "critical"),
    [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (12, 13), (15, 25), (20, 52), (25, 89), (30, 137), (50, 434)],
)
def test_rank_sums_cross_0_05_where_the_printed_tables_of_wilcoxons_t_say(n: int, critical: int) -> None:
    assert p(_with_rank_sum(n, critical)) <= 0.05 < p(_with_rank_sum(n, critical + 1))


def _with_rank_sum(n: int, wanted: int) -> list[Fraction]:
    """The differences 1 to n, with just those negative whose ranks add up to the sum wanted."""
    differences = []
    for rank in range(n, 0, -1):
        falls = rank <= wanted
        wanted -= rank if falls else 0
        differences.append(Fraction(-rank if falls else rank))
    return differences


# Full enumeration


@seeded
@given(st.lists(tied, min_size=1, max_size=12))
def test_p_is_the_share_of_sign_flips_at_least_as_far_from_balance(differences: list[Fraction]) -> None:
    assert Fraction(p(differences)) == p_by_enumeration(differences)


@seeded
@given(st.lists(st.fractions(-100, 100, max_denominator=1000), min_size=1, max_size=12))
def test_p_is_that_share_for_values_of_any_fineness(differences: list[Fraction]) -> None:
    assert Fraction(p(differences)) == p_by_enumeration(differences)


@pytest.mark.parametrize(("zeros", "step"), [(0, 1), (0, 40), (50, 40)])
def test_two_hundred_pairs_agree_with_a_recursion_in_floats(zeros: int, step: int) -> None:
    differences = large(200, seed=3, zeros=zeros, step=step)
    assert p(differences) == pytest.approx(p_by_floating_recursion(differences), rel=1e-10)


# scipy, where it is right


@seeded
@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=50, unique=True), st.randoms(use_true_random=False)
)
def test_without_ties_and_zeros_scipys_exact_test_agrees(sizes: list[int], random: Random) -> None:
    differences = exact(random.choice((-1, 1)) * size for size in sizes)
    theirs = wilcoxon([float(d) for d in differences], method="exact")
    found = signed_rank(differences, exact_pairs=200)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert found.statistic == theirs.statistic


@pytest.mark.parametrize(("zeros", "step"), [(0, 1), (0, 40), (60, 1), (60, 40)])
def test_beyond_the_limit_p_is_scipys_normal_approximation_with_pratt_zeros(zeros: int, step: int) -> None:
    differences = large(400, seed=5, zeros=zeros, step=step)
    theirs = wilcoxon(
        [float(d) for d in differences], zero_method="pratt", correction=False, method="asymptotic"
    )
    found = signed_rank(differences, exact_pairs=200)
    assert 0.0001 < theirs.pvalue < 0.9
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert (found.n_zero, found.statistic) == (zeros, theirs.statistic)


# Boundaries


def test_two_hundred_pairs_are_exact_and_two_hundred_and_one_are_not() -> None:
    differences = large(201, seed=7, zeros=20, step=10)
    last_exact = signed_rank(differences[1:], exact_pairs=200)
    first_normal = signed_rank(differences, exact_pairs=200)
    raised = signed_rank(differences, exact_pairs=201)
    assert (last_exact.n, last_exact.method) == (200, EXACT)
    assert (first_normal.n, raised.method) == (201, EXACT)
    assert first_normal.method.startswith("normal approximation") and "tie correction" in first_normal.method
    assert first_normal.p != raised.p
    assert first_normal.p == pytest.approx(raised.p, rel=0.05)


def test_the_normal_approximation_comes_close_to_the_exact_p_from_twenty_pairs_on() -> None:
    differences = large(20, seed=11, zeros=3, step=20)
    assert p(differences, exact_pairs=19) == pytest.approx(p(differences), rel=0.1)


def test_without_pairs_there_is_no_test() -> None:
    assert signed_rank([], exact_pairs=200) == SignedRank(None, "", 0, 0, None)


@pytest.mark.parametrize("n", [1, 10, 201])
def test_when_nothing_changed_p_is_one_whatever_the_number_of_pairs(n: int) -> None:
    found = signed_rank([Fraction(0)] * n, exact_pairs=200)
    assert found == SignedRank(1.0, EXACT, n, n, Fraction(0))


def test_one_pair_says_nothing() -> None:
    assert signed_rank([Fraction(-3)], exact_pairs=200) == SignedRank(1.0, EXACT, 1, 0, Fraction(0))


def test_rank_sums_in_balance_have_a_p_of_exactly_one() -> None:
    assert p(exact([1, -1])) == 1.0
    assert p(exact([1, 2, -3])) == 1.0
    assert p(exact([1, 2, -3]), exact_pairs=0) == 1.0


# Laws


@seeded
@given(st.lists(tied, min_size=1, max_size=15), st.randoms(use_true_random=False), st.sampled_from([0, 200]))
def test_the_order_of_the_patients_does_not_matter(
    differences: list[Fraction], random: Random, exact_pairs: int
) -> None:
    shuffled = random.sample(differences, len(differences))
    assert signed_rank(shuffled, exact_pairs=exact_pairs) == signed_rank(differences, exact_pairs=exact_pairs)


@seeded
@given(
    st.lists(tied, min_size=1, max_size=15),
    st.fractions(Fraction(1, 60), 1000, max_denominator=60),
    st.sampled_from([-1, 1]),
    st.sampled_from([0, 200]),
)
def test_neither_the_unit_nor_the_direction_matters(
    differences: list[Fraction], factor: Fraction, sign: int, exact_pairs: int
) -> None:
    converted = [sign * factor * d for d in differences]
    assert signed_rank(converted, exact_pairs=exact_pairs) == signed_rank(
        differences, exact_pairs=exact_pairs
    )
