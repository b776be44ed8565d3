"""Slow, obvious reference implementations of the signed-rank test, to hold the fast one against."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np


@cache
def every_sign(n: int) -> Any:
    """One row for each of the 2**n ways to give n differences a sign."""
    return np.array(list(product((-1, 1), repeat=n)), dtype=np.int64).reshape(2**n, n)


def signed_weights(differences: Sequence[Fraction]) -> list[int]:
    """Twice each midrank, signed: a smaller one counts two, an equal one (itself too) one."""
    sizes = [abs(d) for d in differences]
    ranks = [2 * sum(s < size for s in sizes) + sizes.count(size) + 1 for size in sizes]
    return [rank * ((d > 0) - (d < 0)) for rank, d in zip(ranks, differences, strict=True)]


def p_by_enumeration(differences: Sequence[Fraction]) -> Fraction:
    """The share of all sign flips whose rank sums are at least as far from balance as those seen.

    The sign of a zero is flipped too; its weight is nothing.
    """
    weights = np.array(signed_weights(differences), dtype=np.int64)
    balances = every_sign(len(weights)) @ np.abs(weights)
    return Fraction(int(np.count_nonzero(abs(balances) >= abs(weights.sum()))), len(balances))


def p_by_floating_recursion(differences: Sequence[Fraction]) -> float:
    """The same share where there is too much to enumerate: a random walk, one pair at a time."""
    weights = signed_weights(differences)
    reach = sum(abs(weight) for weight in weights)
    walk = np.zeros(2 * reach + 1)
    walk[reach] = 1.0
    for weight in filter(None, weights):
        walk = (np.roll(walk, weight) + np.roll(walk, -weight)) / 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(sum(weights))
    return float(walk[far].sum())
