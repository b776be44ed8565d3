"""What a value with a comparator can be (rule D9): an interval, and claims that hold for all of it.

`<5` is some value in [0, 5), not 5. A rule is met, or not met, only if every value says so; else it stays
open (None). Statistics use the limit itself; that is not decided here.
"""

from fractions import Fraction

from msgspec import Struct

from fhir_msct.plan import Parameter

BELOW = ("<", "<=")
ABOVE = (">", ">=")
OPEN = ("<", ">")
TURNED = str.maketrans("<>", "><")


class Span(Struct, frozen=True, kw_only=True):
    """All values that one result can stand for; None is an end without a bound."""

    low: Fraction | None
    high: Fraction | None
    low_open: bool = False
    """The lower end itself is not among the values."""
    high_open: bool = False

    def times(self, factor: Fraction) -> "Span":
        """Every value multiplied by a positive factor."""
        low = None if self.low is None else self.low * factor
        high = None if self.high is None else self.high * factor
        return Span(low=low, high=high, low_open=self.low_open, high_open=self.high_open)


def span(value: Fraction, comparator: str, parameter: Parameter) -> Span:
    """The values that a result can stand for, inside what is known of its parameter.

    An enzyme is never negative; a scale ends where `parameters.csv` says.
    """
    if comparator in BELOW:
        return Span(low=_floor(parameter), high=value, high_open=comparator in OPEN)
    if comparator in ABOVE:
        top = None if parameter.high is None else Fraction(parameter.high)
        return Span(low=value, high=top, low_open=comparator in OPEN)
    return Span(low=value, high=value)


def decided(*, yes: bool, no: bool) -> bool | None:
    """Met, not met, or None where some values say one thing and some the other."""
    return True if yes else False if no else None


def at_most(a: Span, b: Span) -> bool:
    """Whether every value of `a` is at most every value of `b`."""
    return a.high is not None and b.low is not None and a.high <= b.low


def below(a: Span, b: Span) -> bool:
    """Whether every value of `a` is less than every value of `b`."""
    if a.high is None or b.low is None:
        return False
    return a.high < b.low or (a.high == b.low and (a.high_open or b.low_open))


def of_difference(value: str, base: str) -> str | None:
    """The comparator of value - base, from those of the two; None where even the direction is unknown.

    `<0.3` after 10 is a change below -9.7; 8 after `<10` is one above -2; `<5` after `<10` can be either.
    """
    turned = base.translate(TURNED)
    if value and turned and value[0] != turned[0]:
        return None
    return min(filter(None, (value, turned)), key=len, default="")


def of_ratio(value: str, base: str, *, zero: bool) -> str | None:
    """The comparator of value / base, both positive; `zero`: the value is 0, and so is the ratio."""
    return "" if zero and not value else of_difference(value, base)


def _floor(parameter: Parameter) -> Fraction | None:
    if parameter.low is not None:
        return Fraction(parameter.low)
    return Fraction(0) if parameter.enzyme else None
