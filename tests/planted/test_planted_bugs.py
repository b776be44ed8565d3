"""The bugs planted on purpose still fit the code, and the tests still catch them.

A part of them is planted here, the same part in every run; `make planted` plants all.
"""

import re

import pytest

from planted.planting import CONTROL, Bug, bugs, misfits, planted

ALL = [bug for bug in bugs() if bug.name != CONTROL]
PART, ROTATION = 8, 3
"""How many are planted here; raise the rotation now and then, and others take their place."""

SAMPLE = [bug for number, bug in enumerate(ALL) if number % (len(ALL) // PART) == ROTATION][:PART]


def test_there_are_enough_of_them() -> None:
    quirks_and_faults = [bug for bug in ALL if re.match(r"Q\d|2\.1|4\.1", bug.row)]
    assert len(quirks_and_faults) >= 40
    assert len(SAMPLE) == PART


def test_every_patch_still_applies() -> None:
    assert misfits() == {}


@pytest.mark.parametrize("bug", SAMPLE, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught_by_an_assertion_about_data(bug: Bug) -> None:
    fate = planted(bug)
    assert fate.caught, f"{bug.name} ({bug.row}) survives: {fate.said or 'every test passes'}"


def test_the_control_survives() -> None:
    [control] = [bug for bug in bugs() if bug.name == CONTROL]
    fate = planted(control, schedules=10)
    assert (fate.caught, fate.said) == (False, "")
