"""Numbers as a reader wants them: the only place where anything is rounded (rule D24).

A measured value or a statistic keeps two decimals below 10, one below 100 and none from 100 on, so
three significant digits or the whole number; ties go away from zero. Shares are percent with one
decimal, p-values have four.
"""

from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

from fhir_msct.results import Number

ABSENT = "-"
"""What stands where there is no number."""

_LARGE = Context(prec=60, rounding=ROUND_HALF_UP)


def statistic(number: Number) -> str:
    """A mean, a median, a change: "1681", "45.0", "-4.65"; a nonzero number never reads as zero."""
    if number is None:
        return ABSENT
    exact = Fraction(number)
    for places in (2, 1, 0):
        text = _fixed(exact, places)
        if places == 0 or abs(Decimal(text)) < 10 ** (3 - places):
            break
    if exact and not Decimal(text):
        return "<0.01" if exact > 0 else ">-0.01"
    return text


def measured(number: Number) -> str:
    """One value as it was measured: rounded like a statistic, without zeros that nobody measured."""
    text = statistic(number)
    return text.rstrip("0").rstrip(".") if "." in text and text[0] not in "<>" else text


def percent(share: Number) -> str:
    """A share as percent, "87.5" or "80"; never 100 for less than all, never 0 for more than none."""
    if share is None:
        return ABSENT
    exact = Fraction(share)
    text = _fixed(100 * exact, 1).removesuffix(".0")
    if text == "100" and exact < 1:
        return ">99.9"
    return "<0.1" if text == "0" and exact > 0 else text


def p_value(p: Number) -> str:
    """A p-value with four decimals, "<0.0001" below that."""
    if p is None:
        return ABSENT
    return "<0.0001" if Fraction(p) < Fraction(1, 10000) else _fixed(Fraction(p), 4)


def interval(low: Number, high: Number) -> str:
    """Both ends of an interval of a statistic; nothing where there is none."""
    return f"{statistic(low)} to {statistic(high)}" if low is not None and high is not None else ""


def share(x: int | None, n: int | None, low: Number = None, high: Number = None) -> str:
    """Some of so many: "8/10 = 80 % (44.4 to 97.5)"."""
    if x is None or not n:
        return ABSENT if n is None else f"{x or 0}/{n}"
    text = f"{x}/{n} = {percent(Fraction(x, n))} %"
    return text if low is None or high is None else f"{text} ({percent(low)} to {percent(high)})"


def _fixed(number: Fraction, places: int) -> str:
    """Decimal text with this many places; minus zero is zero."""
    scaled = _LARGE.divide(Decimal(number.numerator), Decimal(number.denominator))
    rounded = scaled.quantize(Decimal(1).scaleb(-places), context=_LARGE)
    return format(rounded if rounded else abs(rounded), "f")
