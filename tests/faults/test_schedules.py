"""Thousands of bad days: nothing lost, nothing twice, nothing stale, no token astray.

Each is a pure function of its seed; one that fails is printed with the command that plays it again.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from faults.bulk import EXPORTED, Exports, exported
from faults.chaos import KINDS
from faults.pushing import Pushes, pushed
from faults.searching import Schedule, searched

SEARCHES, EXPORTS, PUSHES = 1000, 500, 500
MORE = 10
"""So many times as many in the long runs."""

CHUNK = 50
"""Schedules of one test: small enough to share out, large enough to see every fault."""

Play = Callable[[int], Schedule | Pushes]


def played(name: str, play: Play, seeds: range, used: Counter[str] | None = None) -> Counter[str]:
    """What struck in these schedules; the first seed that breaks a promise is named."""
    struck: Counter[str] = Counter()
    for seed in seeds:
        try:
            schedule = play(seed)
            struck += schedule.chaos.struck
            if used is not None and isinstance(schedule, Exports):
                used += schedule.used
        except AssertionError as error:
            again = f"python scripts/simulate.py {name} {seed}"
            raise AssertionError(f"{name} schedule, seed {seed}: {error}\nsee it again: {again}") from error
    return struck


def chunks(first: int, number: int) -> list[range]:
    """So many seeds, in parts."""
    return [range(start, min(start + CHUNK, first + number)) for start in range(first, first + number, CHUNK)]


@pytest.mark.parametrize("seeds", chunks(0, SEARCHES), ids=str)
def test_whatever_happens_a_pull_is_complete_or_says_so(seeds: range) -> None:
    struck = played("search", searched, seeds)
    assert len(set(KINDS) & struck.keys()) >= 12


@pytest.mark.parametrize("seeds", chunks(0, EXPORTS), ids=str)
def test_whatever_happens_an_export_is_complete_or_is_searched_for(seeds: range) -> None:
    used: Counter[str] = Counter()
    struck = played("bulk", exported, seeds, used)
    assert len(set(EXPORTED) & struck.keys()) >= 10
    assert min(used["export"], used["export and search"]) >= 20, "both ends are seen"


def test_with_four_connections_the_promises_are_the_same() -> None:
    played("search", lambda seed: searched(seed, connections=4), range(40))


@pytest.mark.parametrize("seeds", chunks(0, PUSHES), ids=str)
def test_whatever_happens_each_result_is_written_once(seeds: range) -> None:
    struck = played("push", pushed, seeds)
    assert len(set(KINDS) & struck.keys()) >= 12


@pytest.mark.soak
@pytest.mark.parametrize("seeds", chunks(0, MORE * SEARCHES), ids=str)
def test_ten_times_as_many_pulls(seeds: range) -> None:
    played("search", searched, seeds)


@pytest.mark.soak
@pytest.mark.parametrize("seeds", chunks(0, MORE * EXPORTS), ids=str)
def test_ten_times_as_many_exports(seeds: range) -> None:
    played("bulk", exported, seeds)


@pytest.mark.soak
@pytest.mark.parametrize("seeds", chunks(0, MORE * PUSHES), ids=str)
def test_ten_times_as_many_pushes(seeds: range) -> None:
    played("push", pushed, seeds)


def test_nearly_every_kind_of_fault_strikes_in_a_few_schedules() -> None:
    struck = played("search", searched, range(30)) + played("push", pushed, range(30))
    assert len(set(KINDS) - struck.keys()) <= 3
    assert struck["kill"] and struck["kill at a commit"] and struck["other"]


@pytest.mark.parametrize("play", [searched, exported, pushed])
def test_a_schedule_is_a_pure_function_of_its_seed(play: Play) -> None:
    first, again = play(7), play(7)
    assert (first.outcomes, first.chaos.struck) == (again.outcomes, again.chaos.struck)
    assert first.server.history.keys() == again.server.history.keys()
