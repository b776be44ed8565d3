"""Exact numbers as text: fractions in, decimal digits out, and a word when digits were lost."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

SIGNIFICANT = 15
"""Digits kept of a number whose decimals never end (analysis rule D10)."""

_ROUNDING = Context(prec=SIGNIFICANT, rounding=ROUND_HALF_EVEN)


def terminates(number: Fraction) -> bool:
    """Whether a fraction can be written with finitely many decimals."""
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def decimal_text(number: Fraction | Decimal | None) -> str:
    """Plain decimal text: exact where decimals end, else 15 significant digits, half-even.

    A `Decimal` keeps its trailing zeros ("5.40"); a missing number is the empty text.
    """
    if number is None:
        return ""
    if isinstance(number, Decimal):
        return format(number, "f")
    if not terminates(number):
        return format(_ROUNDING.divide(Decimal(number.numerator), Decimal(number.denominator)), "f")
    places = 0
    while (number * 10**places).denominator != 1:
        places += 1
    digits = str(abs(int(number * 10**places))).rjust(places + 1, "0")
    whole, decimals = digits[: len(digits) - places], digits[len(digits) - places :]
    return ("-" if number < 0 else "") + whole + ("." + decimals if decimals else "")


def scaled(value: Decimal, factor: Fraction) -> Decimal:
    """A measured value in the study's unit: `value * factor`, as `decimal_text` would print it.

    A factor of one keeps the value's own digits.
    """
    return value if factor == 1 else Decimal(decimal_text(Fraction(value) * factor))


def float_text(number: float) -> str:
    """A statistic with 15 significant digits: the same text on every machine."""
    return format(number, ".15g")
