"""Clopper-Pearson intervals against printed values, R, scipy and the definition itself."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fhir_msct.outcomes.statistics import clopper_pearson

seeded = settings(derandomize=True, deadline=None, max_examples=100)
counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confs = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@pytest.mark.parametrize(
    ("x", "printed"),
    [
        (10, (0.6915, 1)),
        (9, (0.5550, 0.9975)),
        (8, (0.4439, 0.9748)),
        (7, (0.3475, 0.9333)),
        (5, (0.1871, 0.8129)),
        (1, (0.0025, 0.4450)),
        (0, (0, 0.3085)),
    ],
)
def test_ten_patients_have_the_printed_intervals(x: int, printed: tuple[float, float]) -> None:
    assert clopper_pearson(x, 10, 0.95) == pytest.approx(printed, abs=5.1e-5)


def test_completers_alone_look_better_than_all_who_were_infused() -> None:
    assert clopper_pearson(6, 6, 0.95) == pytest.approx((0.54, 1), abs=5e-3)
    assert clopper_pearson(6, 10, 0.95) == pytest.approx((0.26, 0.88), abs=5e-3)


def test_no_event_in_ten_leaves_a_one_sided_upper_limit_of_a_quarter() -> None:
    """The one-sided 95 % limit is the upper end of the two-sided 90 % interval: 1 - 0.05^(1/10)."""
    assert clopper_pearson(0, 10, 0.90)[1] == pytest.approx(0.2589, abs=5e-5)
    assert clopper_pearson(0, 10, 0.90)[1] == pytest.approx(1 - 0.05**0.1, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "n", "conf", "printed"),
    [
        (9, 24, 0.95, (0.1879929, 0.5940636)),
        (1, 1497, 0.90, (3.426347e-05, 3.164954e-03)),
    ],
)
def test_r_prints_the_same(x: int, n: int, conf: float, printed: tuple[float, float]) -> None:
    """binom.test(9, 24) and binom.test(1, 1497, conf.level = 0.9)."""
    assert clopper_pearson(x, n, conf) == pytest.approx(printed, rel=5e-7)


@seeded
@given(counts, confs)
def test_scipys_exact_interval_agrees(count: tuple[int, int], conf: float) -> None:
    theirs = binomtest(*count).proportion_ci(conf, method="exact")
    assert clopper_pearson(*count, conf) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


@seeded
@given(counts, confs)
def test_at_each_end_the_count_seen_or_more_is_just_as_rare_as_the_level_allows(
    count: tuple[int, int], conf: float
) -> None:
    x, n = count
    lo, hi = clopper_pearson(x, n, conf)
    tail = (1 - conf) / 2
    assert lo == 0 if x == 0 else float(_at_least(x, n, lo)) == pytest.approx(tail, rel=1e-9)
    assert hi == 1 if x == n else float(1 - _at_least(x + 1, n, hi)) == pytest.approx(tail, rel=1e-9)


def _at_least(x: int, n: int, share: float) -> Fraction:
    """The binomial probability of x or more of n, by its sum."""
    p = Fraction(share)
    return sum((comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(x, n + 1)), Fraction(0))


@seeded
@given(counts, confs)
def test_those_who_did_not_respond_mirror_those_who_did(count: tuple[int, int], conf: float) -> None:
    x, n = count
    lo, hi = clopper_pearson(x, n, conf)
    assert clopper_pearson(n - x, n, conf) == pytest.approx((1 - hi, 1 - lo), abs=1e-12)


def test_none_of_none_excludes_nothing() -> None:
    assert clopper_pearson(0, 0, 0.95) == (0.0, 1.0)


@pytest.mark.parametrize(("x", "n"), [(-1, 10), (11, 10), (1, 0)])
def test_more_than_all_or_less_than_none_is_refused(x: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= x <= n"):
        clopper_pearson(x, n, 0.95)
