"""Which planned value counts for which visit, and what follows: summaries by visit, answers of the trial."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from trial.arithmetic import hodges_lehmann, mean, mean_ratio, median, signed_rank_p, text
from trial.plan import DATA_CUT, PEOPLE, VISITS, WINDOWS
from trial.rows import FACTORS, Row, course_day, on_day

LOWER = ("CK", "CKMBMASS", "CKMBACT", "PTGVAS", "PTGNRS")
HIGHER = ("MMT8", "MMT8BI")
ENZYMES = ("CK", "CKMBMASS", "CKMBACT")


class Value(NamedTuple):
    """The value of one patient at one visit, and every row it rests on."""

    exact: Fraction
    rows: tuple[Row, ...]

    @property
    def side(self) -> str:
        return self.rows[0].marks.get("side", "")


class Trial:
    """The planned values by (paramcd, course, visit) and patient."""

    def __init__(self, rows: Iterable[Row]) -> None:
        groups: dict[tuple[str, int, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            for course, visit in row.uses:
                groups[row.paramcd, course, visit][row.patient].append(row)
        self.values = {
            key: {who: Value(median([r.exact for r in found]), tuple(found)) for who, found in people.items()}
            for key, people in groups.items()
        }

    def at(self, paramcd: str, course: int, visit: str) -> dict[str, Value]:
        """The value of each patient who has one."""
        return self.values.get((paramcd, course, visit), {})

    def pairs(self, paramcd: str, course: int, visit: str) -> dict[str, tuple[Value, Value]]:
        """Baseline and value of each patient who has both, measured on one side."""
        base = self.at(paramcd, course, "BASELINE")
        values = self.at(paramcd, course, visit)
        both = {who: (base[who], value) for who, value in values.items() if who in base}
        return {who: pair for who, pair in both.items() if pair[0].side == pair[1].side}

    def summary(self, paramcd: str, course: int, visit: str) -> dict[str, Any]:
        """One row of the table by visit, as far as the plan states it."""
        values = self.at(paramcd, course, visit)
        people = infused(course)
        without = [who for who in people if who not in values]
        late = [who for who in without if not_due(who, course, visit)]
        again = [who for who in without if retreated_before(who, course, visit)]
        row: dict[str, Any] = {"paramcd": paramcd, "course": course, "avisit": visit, "n": len(values)}
        row |= {"n_infused": len(people), "not_due": len(late), "retreated": len(again)}
        row["missing"] = len(without) - len(late) - len(again)
        numbers = [value.exact for value in values.values()]
        row |= {"mean": text(mean(numbers)), "median": text(median(numbers))}
        row |= {"min": text(min(numbers)), "max": text(max(numbers))}
        if visit != "BASELINE":
            row |= self._changes(paramcd, course, visit)
        row["flags"] = _flags(values, again)
        return row

    def _changes(self, paramcd: str, course: int, visit: str) -> dict[str, Any]:
        pairs = [(b.exact, v.exact) for b, v in self.pairs(paramcd, course, visit).values()]
        if not pairs:
            return {"chg_n": 0}
        changes = [value - base for base, value in pairs]
        if 0 in changes:
            raise ValueError(
                f"{paramcd} {visit}: the plan has a change of zero, which this truth does not rank"
            )
        row = {"chg_n": len(pairs), "chg_mean": text(mean(changes)), "chg_median": text(median(changes))}
        row["pchg_median"] = text(median([100 * (v - b) / b for b, v in pairs]))
        row |= {"estimate": text(hodges_lehmann(changes)), "p": text(signed_rank_p(changes))}
        if paramcd in ENZYMES and len(pairs) > 1:
            row["gmr"] = f"{mean_ratio(pairs):.12g}"
        return row

    def by_visit(self) -> list[dict[str, Any]]:
        """Every visit of every parameter and course that has a value."""
        order = {visit: n for n, visit in enumerate(VISITS)}
        keys = sorted(self.values, key=lambda key: (key[0], key[1], order[key[2]]))
        return [self.summary(*key) for key in keys]

    def better(self, paramcd: str, course: int, visit: str, percent: int) -> dict[str, bool]:
        """Of each patient with baseline and value: better by at least so many percent (0: better at all)."""
        found = {}
        for who, (base, value) in self.pairs(paramcd, course, visit).items():
            gain = base.exact - value.exact if paramcd in LOWER else value.exact - base.exact
            found[who] = 100 * gain >= percent * base.exact and gain > 0
            if any(row.comparator for row in value.rows) and not found[who]:
                raise ValueError(
                    f"{who} {paramcd} {visit}: a comparator leaves the answer open; plan it otherwise"
                )
        return found

    def abnormal(self, paramcd: str, course: int) -> list[str]:
        """The infused whose baseline is above its own upper limit of normal."""
        base = self.at(paramcd, course, "BASELINE")
        return [who for who, value in base.items() if _above(value)]

    def normal(self, visit: str) -> dict[str, bool]:
        """Creatine kinase at or below its own upper limit, of those with an abnormal baseline and a value."""
        values = self.at("CK", 1, visit)
        return {who: not _above(values[who]) for who in self.abnormal("CK", 1) if who in values}


def _above(value: Value) -> bool:
    row = value.rows[0]
    if not row.high:
        raise ValueError(f"{row.id}: no upper limit where a rule needs one; plan it otherwise")
    return value.exact > Fraction(row.high) * FACTORS[row.unit_name]


def infused(course: int) -> list[str]:
    """Who was infused in this course."""
    return [who for who, person in PEOPLE.items() if (person.infusions if course == 1 else person.second)]


def not_due(who: str, course: int, visit: str) -> bool:
    """Whether the visit's window ends after the data cut."""
    last = WINDOWS[visit][1]
    return on_day(who, course, 1) + timedelta(days=last - 1) > DATA_CUT


def retreated_before(who: str, course: int, visit: str) -> bool:
    """Whether course 2 began before the visit; the plan lets none begin inside a window."""
    second = PEOPLE[who].second
    if course == 2 or second is None or visit == "BASELINE":
        return False
    day, (low, high) = course_day(who, 1, second), WINDOWS[visit]
    if low <= day <= high:
        raise ValueError(f"{who}: course 2 begins inside the window of {visit}; plan it otherwise")
    return day < low


def _flags(values: dict[str, Value], again: list[str]) -> list[str]:
    censored = sum(any(row.comparator for row in value.rows) for value in values.values())
    counts = {"cens": censored, "retreated": len(again)}
    return [f"{name}:{count}" for name, count in counts.items() if count]
