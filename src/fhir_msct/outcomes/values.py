"""The value of one day (rules D7, D11): one result, or what a day with several results comes to."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from statistics import median

from msgspec import Struct

from fhir_msct.dates import instant
from fhir_msct.errors import InputError
from fhir_msct.records import Measurement

CARRIED = ("utc_date", "rounded", "no_side")
"""Flags of a record that still matter in the analysis."""

CORRECTIONS = ("corrected", "amended")
"""Statuses of a result that was changed after it was final (http://hl7.org/fhir/R4/valueset-observation-status.html)."""

EXPONENT = 150
"""Of ten: beyond its power, and below one over it, a ratio of two values may be no float any more."""

LARGEST = Fraction(10) ** EXPONENT
SMALLEST = 1 / LARGEST

_NEVER = datetime.min.replace(tzinfo=UTC)


class Value(Struct, frozen=True, kw_only=True):
    """What a parameter was on one day, in the study's unit, and the results it rests on."""

    day: date
    aval: Fraction
    """A comparator's limit counts as the value in statistics (D9)."""
    comparator: str = ""
    results: tuple[Measurement, ...]

    @property
    def paramcd(self) -> str:
        """The parameter that was measured."""
        return self.results[0].paramcd

    @property
    def moment(self) -> datetime | None:
        """The instant it was taken, when the result says so with time and offset."""
        return instant(self.results[0].adtc) if len(self.results) == 1 else None

    @property
    def uln(self) -> Fraction | None:
        """D11: the upper limit of normal of the same result; None where several fit, or none, or zero."""
        limits = {result.exact_high for result in self.results}
        only = limits.pop() if len(limits) == 1 else None
        return only if only else None

    @property
    def sides(self) -> frozenset[str]:
        """The sides of the body that are known; none where nothing says."""
        return frozenset(result.side for result in self.results if result.side)

    @property
    def scales(self) -> frozenset[str]:
        """The scales it was measured on, as far as they are known."""
        return frozenset(result.scale for result in self.results if result.scale)

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader should know about it."""
        seen = {flag for result in self.results for flag in result.flags}
        median_of_several = ("day_median",) if len(self.results) > 1 else ()
        return (*median_of_several, *(flag for flag in CARRIED if flag in seen))

    @property
    def sources(self) -> tuple[str, ...]:
        """Every resource version it rests on."""
        return tuple(sorted({result.source for result in self.results}))


class Resolved(Struct, frozen=True, kw_only=True):
    """What several results of one day come to: a value, or results that contradict each other."""

    value: Value | None
    conflict: tuple[Value, ...] = ()


def value_of(result: Measurement) -> Value | None:
    """A result as a value of its day; None without a full date (D1).

    Raises InputError for a record without a value or a unit factor, which no reader makes, and for a value
    of which no statistic could be written down.
    """
    if result.exact is None:
        raise InputError(f"{result.source}: a measurement without a value or without a unit factor")
    if result.exact and not SMALLEST < abs(result.exact) < LARGEST:
        raise InputError(f"{result.source}: {result.paramcd}: a number that nobody measures: ask who sent it")
    if result.adt is None:
        return None
    return Value(day=result.adt, aval=result.exact, comparator=result.comparator or "", results=(result,))


def of_one_day(values: Sequence[Value]) -> Resolved:
    """D7: the value of a day with several results.

    Same identifier: the newest; equal values: one; all with times: the latest; else the median of what
    is left. Values beyond a limit, or of different sides of the body, have no median: `day_conflict`.
    """
    left = _latest(_one_of_equals(_newest_of_each_result(values)))
    if len(left) == 1:
        return Resolved(value=left[0])
    sides = frozenset[str]().union(*(value.sides for value in left))
    if any(value.comparator for value in left) or len(sides) > 1:
        return Resolved(value=None, conflict=tuple(left))
    results = tuple(sorted((value.results[0] for value in left), key=lambda result: result.source))
    middle = median([value.aval for value in left])
    return Resolved(value=Value(day=left[0].day, aval=middle, results=results))


def _newest_of_each_result(values: Iterable[Value]) -> list[Value]:
    """One value for each business identifier: the same identifier is the same result, sent again."""
    kept: list[Value] = []
    known: set[str] = set()
    for value in sorted(values, key=_newness, reverse=True):
        identifiers = value.results[0].identifiers
        if known.isdisjoint(identifiers):
            kept.append(value)
        known.update(identifiers)
    return kept


def _one_of_equals(values: Iterable[Value]) -> list[Value]:
    """One of those with equal value, comparator and side: the latest taken, then the newest."""
    kept: dict[tuple[Fraction, str, frozenset[str]], Value] = {}
    for value in sorted(values, key=lambda value: (value.moment or _NEVER, _newness(value))):
        kept[value.aval, value.comparator, value.sides] = value
    return list(kept.values())


def _latest(values: Sequence[Value]) -> Sequence[Value]:
    """Those of the latest instant; all of them when any has no time, since they then have no order."""
    moments = [value.moment for value in values]
    known = [moment for moment in moments if moment is not None]
    if len(known) < len(values):
        return values
    return [value for value in values if value.moment == max(known)]


def _newness(value: Value) -> tuple[bool, datetime, str]:
    """A correction comes after what it corrects, however late a server touched that; then the last update."""
    result = value.results[0]
    return result.status in CORRECTIONS, instant(result.lastupdated) or _NEVER, result.source
