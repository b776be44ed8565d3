"""Samples whose answers others have printed, as exact fractions."""

from collections.abc import Iterable
from fractions import Fraction

Pairs = list[tuple[Fraction, Fraction]]


def exact(values: Iterable[int | str]) -> list[Fraction]:
    """Whole numbers or decimal text, as fractions: no digit is lost."""
    return [Fraction(value) for value in values]


def paired(before: Iterable[int | str], after: Iterable[int | str]) -> Pairs:
    """(before, after) of each subject."""
    return list(zip(exact(before), exact(after), strict=True))


def changes(pairs: Pairs) -> list[Fraction]:
    """after - before of each subject."""
    return [after - before for before, after in pairs]


# Infliximab pilot in refractory myositis (Ann Rheum Dis, table of individual outcomes), patients 1, 2, 3, 4,
# 6, 10, 11, 12 and 13: manual muscle test of 8 muscles (0-80) and creatine kinase (ukat/L).
PILOT_MMT = paired([57, 66, 76, 65, 48, 61, 49, 59, 57], [61, 73, 77, 64, 56, 56, 57, 65, 61])
PILOT_CK = paired(
    ["1.8", "1.9", "4", "4.4", "1.8", "3.3", "2.5", "4.6", "3.9"],
    ["1.3", "3.9", "16.8", "8.1", "2.7", "2.7", "2.3", "3.8", "3.8"],
)

# Made up: ten patients whose creatine kinase (U/L) falls as in Tang 2011.
SYNTHETIC_CK = paired(
    [1681, 900, 2500, 600, 1200, 3000, 450, 800, 1500, 700],
    [175, 200, 400, 180, 150, 900, 300, 160, 210, 690],
)

# Darwin's maize, cross-fertilised minus self-fertilised, in eighths of an inch: the example of Wilcoxon 1945,
# https://doi.org/10.2307/3001968. No ties, no zeros.
DARWIN_MAIZE = exact([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75])

# Hamilton's depression scale factor IV before and after a tranquilliser: Hollander & Wolfe 1973, table 3.1,
# and the example of R's wilcox.test. No ties, no zeros.
DEPRESSION = paired(
    ["1.83", "0.50", "1.62", "2.48", "1.68", "1.88", "1.55", "3.06", "1.30"],
    ["0.878", "0.647", "0.598", "2.05", "1.06", "1.29", "1.06", "3.14", "1.29"],
)

# Hours of sleep gained, drug 2 minus drug 1: Student 1908, and R's data set `sleep`. One zero, one tie.
STUDENT_SLEEP = exact(["1.2", "2.4", "1.3", "1.3", "0", "1.0", "1.8", "0.8", "4.6", "1.4"])
