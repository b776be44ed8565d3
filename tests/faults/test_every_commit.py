"""A small pull, taken back to what the disk held at each of its commits in turn, and gone on with."""

from pathlib import Path

import pytest

from faults.bulk import Exports
from faults.searching import Schedule

MOST = 400


@pytest.mark.parametrize(("story", "since"), [(Schedule, False), (Exports, True)])
def test_a_pull_that_dies_at_any_commit_goes_on_and_misses_nothing(
    story: type[Schedule], since: bool, tmp_path: Path
) -> None:
    for number in range(MOST):
        folder = tmp_path / str(number)
        folder.mkdir()
        schedule = story(11, folder)
        schedule.server.say_able(schedule.hospital.types, since=since, history=False)
        schedule.until_torn = number
        if schedule.pull() is not None:
            break
        report = schedule.pull()
        assert report is not None and report.complete, f"at {number}: {schedule.outcomes}"
    assert 20 < number < MOST - 1, f"a pull of {number} beginnings and ends of transactions"
