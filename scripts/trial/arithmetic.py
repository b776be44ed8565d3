"""The few statistics that the truth states, the long way round: exact fractions, full enumeration."""

import itertools
import math
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

DIGITS = Context(prec=15, rounding=ROUND_HALF_EVEN)


def text(number: Fraction) -> str:
    """Decimal text: exact where the decimals end, else 15 significant digits."""
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return format(DIGITS.divide(Decimal(number.numerator), Decimal(number.denominator)), "f")
    exact = Context(prec=60).divide(Decimal(number.numerator), Decimal(number.denominator)).normalize()
    return format(exact, "f")


def mean(values: Sequence[Fraction]) -> Fraction:
    """The arithmetic mean."""
    return sum(values, Fraction(0)) / len(values)


def median(values: Sequence[Fraction]) -> Fraction:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def hodges_lehmann(changes: Sequence[Fraction]) -> Fraction:
    """The median of the averages of all pairs, each value with itself included."""
    return median([(a + b) / 2 for a, b in itertools.combinations_with_replacement(changes, 2)])


def signed_rank_p(changes: Sequence[Fraction]) -> Fraction:
    """The two-sided exact p of Wilcoxon's signed-rank test, over every way the signs could have fallen."""
    sizes = [abs(change) for change in changes]
    ranks = [
        Fraction(2 * sum(b < a for b in sizes) + sum(b == a for b in sizes) + 1, 2) if a else Fraction(0)
        for a in sizes
    ]
    half = sum(ranks, Fraction(0)) / 2
    seen = sum((rank for rank, change in zip(ranks, changes, strict=True) if change > 0), Fraction(0))
    signs = list(itertools.product((False, True), repeat=len(ranks)))
    sums = [sum((r for r, up in zip(ranks, way, strict=True) if up), Fraction(0)) for way in signs]
    return Fraction(sum(abs(total - half) >= abs(seen - half) for total in sums), len(sums))


def mean_ratio(pairs: Sequence[tuple[Fraction, Fraction]]) -> float:
    """The geometric mean of value over baseline."""
    logs = [math.log(value) - math.log(base) for base, value in pairs]
    return math.exp(math.fsum(logs) / len(logs))
