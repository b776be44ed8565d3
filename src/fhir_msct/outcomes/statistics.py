"""Numbers in, named results out: the statistics of a trial of ten patients.

Values arrive as exact fractions, and what has an exact answer keeps it: ranks, medians, quartiles and
every count of sign flips are whole numbers or fractions. Floats begin here, as late as they can, so that
no answer depends on the order of the patients, and no p on the unit that was measured in.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import erfc, exp, floor, fsum, lcm, log, sqrt
from statistics import NormalDist, stdev, variance

from msgspec import Struct

EXACT = "exact signed-rank, Pratt zeros"
NORMAL = "normal approximation to signed-rank, Pratt zeros, tie correction, no continuity correction"
NORMAL_INTERVAL = "interval by the normal quantile"


class SignedRank(Struct, frozen=True):
    """Wilcoxon's signed-rank test; without pairs `p` and `statistic` are None and `method` is empty."""

    p: float | None
    """Two-sided."""
    method: str
    n: int
    """All pairs, those without a change included."""
    n_zero: int
    statistic: Fraction | None
    """The smaller of the two rank sums, of the rises and of the falls."""


class Interval(Struct, frozen=True):
    """A confidence interval, and the level it attains: at least the one asked for."""

    lo: Fraction
    hi: Fraction
    conf: float
    method: str = ""
    """How the level was found; empty where it is exact."""


class Description(Struct, frozen=True):
    """What a table says of one variable; what `n` values cannot tell is None."""

    n: int
    mean: Fraction | None = None
    sd: float | None = None
    median: Fraction | None = None
    q1: Fraction | None = None
    q3: Fraction | None = None
    min: Fraction | None = None
    max: Fraction | None = None


def describe(values: Sequence[Fraction]) -> Description:
    """Mean, standard deviation (n - 1; None below two values), median, quartiles and range.

    Quartiles are SAS's default, QNTLDEF 5: the empirical distribution's, averaged where it is flat
    (definition 2 of Hyndman & Fan 1996, https://doi.org/10.1080/00031305.1996.10473566).
    """
    if not values:
        return Description(0)
    ordered = sorted(values)
    return Description(
        n=len(values),
        mean=_mean(values),
        sd=float(stdev(values)) if len(values) > 1 else None,
        median=_quantile(ordered, Fraction(1, 2)),
        q1=_quantile(ordered, Fraction(1, 4)),
        q3=_quantile(ordered, Fraction(3, 4)),
        min=ordered[0],
        max=ordered[-1],
    )


def signed_rank(differences: Sequence[Fraction], *, exact_pairs: int) -> SignedRank:
    """Wilcoxon's signed-rank test of paired differences, two-sided, right with ties and with zeros.

    Pairs without a change are ranked with the others, then give their rank to neither side (Pratt 1959,
    https://doi.org/10.1080/01621459.1959.10501526); ties share their mean rank. Given the ranks, p is the
    share of all sign flips that are at least as far from balance: counted exactly up to `exact_pairs` pairs,
    beyond that by the normal z = (W+ - W-) / sqrt(sum of squared ranks) (Cureton 1967,
    https://doi.org/10.1080/01621459.1967.10500917). When nothing changed at all, p = 1.
    """
    n, n_zero = len(differences), sum(not d for d in differences)
    if not differences:
        return SignedRank(None, "", n, n_zero, None)
    doubled = _doubled_midranks([abs(d) for d in differences])
    rises = [rank for rank, d in zip(doubled, differences, strict=True) if d > 0]
    falls = [rank for rank, d in zip(doubled, differences, strict=True) if d < 0]
    smaller = min(sum(rises), sum(falls))
    exact = n <= exact_pairs or n == n_zero
    p = _exact_p(rises + falls, smaller) if exact else _normal_p(rises, falls)
    return SignedRank(p, EXACT if exact else NORMAL, n, n_zero, Fraction(smaller, 2))


def hodges_lehmann(differences: Sequence[Fraction]) -> Fraction | None:
    """The signed-rank test's own estimate: the median of all Walsh averages; None without pairs.

    Hodges & Lehmann 1963, https://doi.org/10.1214/aoms/1177704172.
    """
    if not differences:
        return None
    averages = _Walsh(differences)
    count = averages.count
    return (averages.kth((count + 1) // 2) + averages.kth(count // 2 + 1)) / 2


def walsh_interval(
    differences: Sequence[Fraction], *, conf: float, min_n: int, exact_pairs: int
) -> Interval | None:
    """The signed-rank test's own interval: from the k-th smallest to the k-th largest Walsh average.

    k is the largest whose level is still at least `conf`; the level is that of a sample without ties,
    1 - 2 P(W+ < k) (Hollander & Wolfe, Nonparametric Statistical Methods, chapter 3), so with ties or zeros
    the interval and the exact p may disagree. It is counted exactly up to `exact_pairs` pairs; beyond that
    k is the normal quantile's, rounded down, and `method` says so. None below `min_n` pairs, or where no k
    reaches `conf`.
    """
    n = len(differences)
    exact = n <= exact_pairs
    k, attained = _walsh_rank(n, conf) if exact else _normal_walsh_rank(n, conf)
    if n < min_n or k < 1:
        return None
    averages = _Walsh(differences)
    lo, hi = averages.kth(k), averages.kth(averages.count + 1 - k)
    return Interval(lo, hi, attained, "" if exact else NORMAL_INTERVAL)


def paired_t(differences: Sequence[Fraction]) -> float | None:
    """Student's paired t-test, two-sided p: t^2 = n mean^2 / variance, n - 1 degrees of freedom.

    None below two pairs, and when all differences are equal: there is no spread to judge by.
    Student 1908, https://doi.org/10.1093/biomet/6.1.1.
    """
    if len(set(differences)) < 2:
        return None
    from scipy.special import stdtr

    n = len(differences)
    t_squared = n * _mean(differences) ** 2 / variance(differences)
    return float(2 * stdtr(n - 1, -sqrt(t_squared)))


def geometric_mean_ratio(
    pairs: Sequence[tuple[Fraction, Fraction]], conf: float
) -> tuple[float, float, float] | None:
    """The geometric mean of after / before over pairs (before, after), and its interval: (ratio, lo, hi).

    Student's t interval of the mean log ratio, taken back from the logarithm (Bland & Altman 1996,
    https://doi.org/10.1136/bmj.312.7038.1079). None below two pairs, and if any value is zero or negative;
    ratios that are all equal give an interval without width.
    """
    if len(pairs) < 2 or any(value <= 0 for pair in pairs for value in pair):
        return None
    from scipy.special import stdtrit

    n = len(pairs)
    logs = [log(after / before) for before, after in pairs]
    centre = fsum(logs) / n
    half = float(stdtrit(n - 1, (1 + conf) / 2)) * stdev(logs) / sqrt(n)
    return exp(centre), exp(centre - half), exp(centre + half)


def clopper_pearson(x: int, n: int, conf: float) -> tuple[float, float]:
    """The exact interval of a proportion, x of n: (lo, hi), by quantiles of beta distributions.

    0 of n starts at 0, n of n ends at 1, 0 of 0 excludes nothing. Raises ValueError unless 0 <= x <= n.
    Clopper & Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.
    """
    if not 0 <= x <= n:
        raise ValueError("a proportion needs 0 <= x <= n")
    from scipy.special import betainccinv, betaincinv

    level = (1 + conf) / 2
    lo = float(betainccinv(x, n - x + 1, level)) if x > 0 else 0.0
    hi = float(betaincinv(x + 1, n - x, level)) if x < n else 1.0
    return lo, hi


def _mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def _quantile(ordered: Sequence[Fraction], share: Fraction) -> Fraction:
    """The value where a share of the sample ends; half-way to the next one where it ends between two."""
    below, rest = divmod(len(ordered) * share, 1)
    return ordered[below] if rest else (ordered[below - 1] + ordered[below]) / 2


class _Walsh:
    """The Walsh averages of a sample, the mean of every two values and each with itself, in order.

    None of them is made before it is asked for, since a thousand values have half a million. Over one
    common denominator all are whole numbers, among which halving finds the k-th.
    """

    def __init__(self, differences: Sequence[Fraction]) -> None:
        self.unit = lcm(*(d.denominator for d in differences))
        self.ordered = sorted(int(d * self.unit) for d in differences)
        self.count = len(differences) * (len(differences) + 1) // 2

    def kth(self, k: int) -> Fraction:
        """The k-th smallest, counted from 1: the smallest that has k at or below it."""
        low, high = 2 * self.ordered[0], 2 * self.ordered[-1]
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._at_most(middle) >= k else (middle + 1, high)
        return Fraction(low, 2 * self.unit)

    def _at_most(self, total: int) -> int:
        """How many pairs, each value with itself too, add up to at most this."""
        pairs, last = 0, len(self.ordered) - 1
        for first, value in enumerate(self.ordered):
            while last >= first and value + self.ordered[last] > total:
                last -= 1
            if last < first:
                break
            pairs += last - first + 1
        return pairs


def _doubled_midranks(sizes: Sequence[Fraction]) -> list[int]:
    """Twice the mean rank of each: the first plus the last rank that its equals hold, a whole number."""
    ordered = sorted(sizes)
    return [bisect_left(ordered, size) + 1 + bisect_right(ordered, size) for size in sizes]


def _exact_p(ranks: Sequence[int], smaller: int) -> float:
    """Both tails are alike; they overlap only when the rank sums are in balance."""
    return float(min(Fraction(1), 2 * _null_distribution(ranks)(smaller)))


def _normal_p(rises: Sequence[int], falls: Sequence[int]) -> float:
    """2 Phi(-|z|) = erfc(|z| / sqrt 2); doubling every rank leaves z as it is."""
    squares = sum(rank * rank for rank in (*rises, *falls))
    return erfc(sqrt(Fraction((sum(rises) - sum(falls)) ** 2, 2 * squares)))


def _null_distribution(ranks: Sequence[int]) -> Callable[[int], Fraction]:
    """P(W+ <= w) when every rank falls to either side by a fair coin, exactly, for any whole ranks.

    How many sign flips give each sum are the coefficients of the product of all (1 + x^rank) (the shift
    algorithm, Streitberg & Röhmel 1986). With x a power of two that no count reaches, that polynomial is one
    long integer: to multiply is to shift and add, to stop at w is a mask, and the sum of the digits that
    remain is a remainder, as in casting out nines.
    """
    bits = len(ranks) + 2
    flips = 1
    for rank in sorted(ranks):
        flips += flips << rank * bits

    def at_most(w: int) -> Fraction:
        lower = flips & ((1 << (w + 1) * bits) - 1)
        return Fraction(lower % ((1 << bits) - 1), 1 << len(ranks))

    return at_most


@lru_cache(maxsize=256)
def _walsh_rank(n: int, conf: float) -> tuple[int, float]:
    """The largest k with 1 - 2 P(W+ < k) >= conf among n pairs without ties, and that level; else k = 0."""
    at_most = _null_distribution(range(1, n + 1))
    k = bisect_left(range(n * (n + 1) // 2 + 1), True, key=lambda w: 1 - 2 * at_most(w) < conf)
    return k, float(1 - 2 * at_most(k - 1))


def _normal_walsh_rank(n: int, conf: float) -> tuple[int, float]:
    """As `_walsh_rank`, by the normal quantile: rounded down, so that the level is not overstated."""
    centre = NormalDist(n * (n + 1) / 4, sqrt(n * (n + 1) * (2 * n + 1) / 24))
    k = floor(centre.inv_cdf((1 - conf) / 2))
    return k, 1 - 2 * centre.cdf(k)
