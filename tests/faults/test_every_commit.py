"""A small pull, taken back to what the disk held at each of its commits in turn, and gone on with."""

import shutil

import pytest

from faults.bulk import Exports
from faults.searching import Schedule, scratch

MOST = 400

STORIES = {
    "by search": (Schedule, 11, False),
    "by export": (Exports, 22, True),
    "by export, and what it lacked by search": (Exports, 18, True),
}


@pytest.mark.parametrize(("story", "seed", "since"), STORIES.values(), ids=STORIES)
def test_a_pull_that_dies_at_any_commit_goes_on_and_misses_nothing(
    story: type[Schedule], seed: int, since: bool
) -> None:
    for number in range(MOST):
        folder = scratch()
        try:
            schedule = story(seed, folder)
            schedule.server.say_able(schedule.hospital.types, since=since, history=False)
            schedule.until_torn = number
            if schedule.pull() is not None:
                break
            report = schedule.pull()
            assert report is not None and report.complete, f"at {number}: {schedule.outcomes}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    assert 20 < number < MOST - 1, f"a pull of {number} beginnings and ends of transactions"
