"""A hospital that changes and a study that is pulled again and again: the archive is what the server holds.

Hypothesis chooses what happens next and shortens what goes wrong to a story that can be read.
"""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from faults.chaos import KINDS
from faults.searching import Schedule, scratch

FAULTS = sorted(set(KINDS) - {"409", "no-next"})


class HospitalAndStudy(RuleBasedStateMachine):
    """The server model against the archive."""

    folder: Path | None = None

    @initialize(seed=st.integers(0, 50), since=st.booleans(), history=st.booleans())
    def begin(self, seed: int, since: bool, history: bool) -> None:
        self.folder = scratch()
        self.story = Schedule(seed, self.folder)
        self.story.server.say_able(self.story.hospital.types, since=since, history=history)
        self.hospital = self.story.hospital

    @rule()
    def created(self) -> None:
        self.hospital.create()
        self.hospital.remember()

    @rule()
    def corrected(self) -> None:
        self.hospital.change()
        self.hospital.remember()

    @rule()
    def deleted(self) -> None:
        self.hospital.delete()
        self.hospital.remember()

    @rule()
    def moved_in_or_out_of_the_cohort(self) -> None:
        self.hospital.move()
        self.hospital.remember()

    @rule()
    def written_again_after_it_was_deleted(self) -> None:
        self.hospital.revive()
        self.hospital.remember()

    @rule()
    def shown_late(self) -> None:
        self.hospital.create_late()

    @rule(seconds=st.sampled_from([1, 120, 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.story.server.wait(seconds)

    @rule(
        kinds=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4),
        killed=st.integers(0, 60),
        torn=st.integers(0, 60),
    )
    def pulled_on_a_bad_day(self, kinds: list[str], killed: int, torn: int) -> None:
        chaos = self.story.chaos
        chaos.kinds, chaos.rate, chaos.until_killed = tuple(kinds), 0.3, killed or None
        self.story.until_torn = torn or None
        self.story.pull()
        chaos.heal()

    @rule()
    def pulled_until_it_is_complete(self) -> None:
        self.story.server.wait(61)
        self.story.settled()

    @invariant()
    def no_token_strays(self) -> None:
        assert self.folder is None or self.story.chaos.leaks == []

    def teardown(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


TestHospitalAndStudy = HospitalAndStudy.TestCase
TestHospitalAndStudy.settings = settings(
    max_examples=140, stateful_step_count=25, deadline=None, derandomize=True
)


class HospitalAndStudyForLong(HospitalAndStudy):
    """The same, for many long stories."""


TestHospitalAndStudyForLong = pytest.mark.soak(HospitalAndStudyForLong.TestCase)
TestHospitalAndStudyForLong.settings = settings(
    max_examples=500, stateful_step_count=50, deadline=None, derandomize=True
)
