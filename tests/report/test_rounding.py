"""Rounding happens in one place, by one rule; the expected texts were worked out by hand."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_msct.report import rounding


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Fraction(1681), "1681"),
        (Fraction(-1506), "-1506"),
        (Fraction(2581, 2), "1291"),  # 1290.5: ties go away from zero
        (Fraction(-2581, 2), "-1291"),
        (Fraction(45), "45.0"),
        (Fraction(1225, 100), "12.3"),
        (Fraction(5), "5.00"),
        (Fraction(-465, 100), "-4.65"),
        (0.24459, "0.24"),
        (Fraction(9994, 1000), "9.99"),
        (Fraction(9995, 1000), "10.0"),
        (Fraction(9996, 100), "100"),
        (Fraction(0), "0.00"),
        (-0.0, "0.00"),
        (0.004, "<0.01"),
        (-0.004, ">-0.01"),
        (None, "-"),
    ],
)
def test_a_statistic_keeps_three_digits_or_the_whole_number(number: Any, text: str) -> None:
    assert rounding.statistic(number) == text


def test_a_measured_value_gets_no_zeros_that_nobody_measured() -> None:
    values = (Fraction(45), Fraction(54, 10), Fraction(100), Fraction(120), Fraction(0), Fraction(1, 3))
    assert [rounding.measured(value) for value in values] == ["45", "5.4", "100", "120", "0", "0.33"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Fraction(8, 10), "80"),
        (0.9975, "99.8"),
        (Fraction(951171875, 10**9), "95.1"),
        (Fraction(0), "0"),
        (Fraction(1), "100"),
        (0.99999, ">99.9"),
        (0.0001, "<0.1"),
    ],
)
def test_a_share_is_percent_and_never_rounds_to_none_or_all(share: Any, text: str) -> None:
    assert rounding.percent(share) == text


def test_a_p_value_has_four_decimals_and_is_never_zero() -> None:
    values = (0.001953125, 0.0000999, 0.04996, 1.0, None)
    assert [rounding.p_value(p) for p in values] == ["0.0020", "<0.0001", "0.0500", "1.0000", "-"]


def test_some_of_so_many_shows_both_counts_and_the_interval() -> None:
    assert rounding.share(8, 10, 0.4439, 0.9748) == "8/10 = 80 % (44.4 to 97.5)"
    assert rounding.share(0, 0) == "0/0"
    assert rounding.share(None, None) == "-"


@given(st.fractions(min_value=-(10**7), max_value=10**7, max_denominator=10**6))
def test_what_is_shown_is_never_further_off_than_half_its_last_digit(number: Fraction) -> None:
    text = rounding.statistic(number)
    if text[0] in "<>":
        assert 0 < abs(number) < Fraction(1, 200)
        return
    digits = len(text.partition(".")[2])
    assert abs(Fraction(Decimal(text)) - number) <= Fraction(1, 2 * 10**digits)
    assert digits == {True: 2}.get(abs(Decimal(text)) < 10, 1 if abs(Decimal(text)) < 100 else 0)
