"""Descriptions against printed values, numpy's quantiles and their arithmetic."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.outcomes.statistics import Description, describe
from oracle.samples import SYNTHETIC_CK, exact

seeded = settings(derandomize=True, deadline=None, max_examples=100)
values = st.fractions(-5000, 5000, max_denominator=100)
samples = st.lists(values, min_size=1, max_size=40)


def test_the_second_creatine_kinase_series_has_sas_quartiles_and_not_numpys_default_ones() -> None:
    after = [value for _, value in SYNTHETIC_CK]
    found = describe(after)
    assert (found.q1, found.q3) == (175, 400)
    assert tuple(np.quantile([float(value) for value in after], [0.25, 0.75])) == (176.25, 375)
    assert (found.n, found.mean, found.median) == (10, Fraction(3365, 10), Fraction(200 + 210, 2))
    assert (found.min, found.max) == (150, 900)


@pytest.mark.parametrize(
    ("n", "q1", "median", "q3"),
    [
        (1, 1, 1, 1),
        (2, 1, "3/2", 2),
        (3, 1, 2, 3),
        (4, "3/2", "5/2", "7/2"),
        (5, 2, 3, 4),
        (6, 2, "7/2", 5),
        (7, 2, 4, 6),
        (8, "5/2", "9/2", "13/2"),
        (9, 3, 5, 7),
    ],
)
def test_quartiles_of_one_to_n_fall_on_a_value_or_half_way(
    n: int, q1: int | str, median: int | str, q3: int | str
) -> None:
    found = describe(exact(range(1, n + 1)))
    assert (found.q1, found.median, found.q3) == (Fraction(q1), Fraction(median), Fraction(q3))


@seeded
@given(samples)
def test_numpys_averaged_inverted_distribution_agrees(sample: list[Fraction]) -> None:
    found = describe(sample)
    theirs = np.quantile(
        [float(value) for value in sample], [0, 0.25, 0.5, 0.75, 1], method="averaged_inverted_cdf"
    )
    ours = [float(q) for q in (found.min, found.q1, found.median, found.q3, found.max) if q is not None]
    assert ours == pytest.approx(list(theirs), rel=1e-12, abs=1e-12)


@seeded
@given(st.lists(values, min_size=2, max_size=40))
def test_mean_and_standard_deviation_agree_with_numpy(sample: list[Fraction]) -> None:
    floats = [float(value) for value in sample]
    found = describe(sample)
    assert found.mean == sum(sample) / len(sample)
    assert found.sd == pytest.approx(np.std(floats, ddof=1), rel=1e-9, abs=1e-9)


def test_the_standard_deviation_divides_by_n_minus_one() -> None:
    """2, 4, 4, 4, 5, 5, 7, 9: mean 5, squares 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32."""
    assert describe(exact([2, 4, 4, 4, 5, 5, 7, 9])).sd == pytest.approx((32 / 7) ** 0.5, rel=1e-15)


def test_means_are_exact_where_floats_are_not() -> None:
    found = describe(exact(["0.1", "0.2", "0.3"]))
    assert found.mean == Fraction(1, 5) != Fraction((0.1 + 0.2 + 0.3) / 3)


def test_a_large_level_does_not_drown_a_small_spread() -> None:
    """Sums of squares in floats would say 0 here; the spread is that of -1, 0, 1."""
    assert describe(exact([10**12 - 1, 10**12, 10**12 + 1])).sd == 1.0


def test_nothing_is_described_as_nothing() -> None:
    assert describe([]) == Description(0, None, None, None, None, None, None, None)


def test_one_value_has_no_standard_deviation() -> None:
    seven = Fraction(7)
    assert describe([seven]) == Description(1, seven, None, seven, seven, seven, seven, seven)


@seeded
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_the_patients_does_not_matter(sample: list[Fraction], random: Random) -> None:
    assert describe(random.sample(sample, len(sample))) == describe(sample)


@seeded
@given(samples, st.fractions(Fraction(1, 60), 60, max_denominator=60), values)
def test_another_unit_or_origin_moves_every_number_alike(
    sample: list[Fraction], factor: Fraction, shift: Fraction
) -> None:
    found = describe(sample)
    moved = describe([factor * value + shift for value in sample])
    for name in ("mean", "median", "q1", "q3", "min", "max"):
        assert getattr(moved, name) == factor * getattr(found, name) + shift
    if found.sd is not None:
        assert moved.sd == pytest.approx(float(factor) * found.sd, rel=1e-14)
