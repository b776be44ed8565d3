"""Which version is the current one: the server's word decides, never the order of arrival, never a guess."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.archive.versions import Choice, Version, choose

seeded = settings(derandomize=True, deadline=None)

JAN, FEB = "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"

versions = st.builds(
    Version,
    row=st.just(0),
    version=st.sampled_from([None, "1", "2", "9", "10", "a"]),
    lastupdated=st.sampled_from([None, JAN, FEB, "2024-01-01T01:00:00+01:00", "2024-02-01"]),
    deleted=st.booleans(),
    kind=st.sampled_from(["server", "folder", "load"]),
    brought=st.integers(1, 3),
    seen=st.integers(1, 3),
    gone=st.none() | st.integers(1, 4),
    file=st.sampled_from(["", "a", "b"]),
)


def numbered(found: list[Version]) -> list[Version]:
    return [
        Version(**{name: getattr(one, name) for name in Version.__struct_fields__} | {"row": row})
        for row, one in enumerate(found)
    ]


def states(*found: Version) -> list[str]:
    choices = choose(numbered(list(found)))
    return [choices[row].state + (" same id" if choices[row].same_id else "") for row in range(len(found))]


@seeded
@given(st.lists(versions, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_arrival(
    found: list[Version], chance: random.Random
) -> None:
    rows = numbered(found)
    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert choose(rows) == choose(shuffled)


@seeded
@given(st.lists(versions, min_size=1, max_size=6))
def test_something_is_always_left_and_several_are_never_called_one(found: list[Version]) -> None:
    choices = choose(numbered(found))
    left = [choice for choice in choices.values() if choice.state != "superseded"]
    assert left
    assert all(choice.same_id for choice in left if choice.state == "current") or len(left) == 1


@seeded
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True))
def test_with_a_time_on_each_the_last_is_current(days: list[int]) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    found = [Version(row=0, lastupdated=(start + timedelta(days=day)).isoformat()) for day in days]
    assert states(*found) == ["current" if day == max(days) else "superseded" for day in days]


def test_versions_are_numbers_where_they_are_numbers() -> None:
    assert states(Version(row=0, version="9"), Version(row=0, version="10")) == ["superseded", "current"]


def test_the_time_counts_before_the_number() -> None:
    older, newer = Version(row=0, version="5", lastupdated=JAN), Version(row=0, version="1", lastupdated=FEB)
    assert states(older, newer) == ["superseded", "current"]


def test_the_same_moment_in_two_offsets_is_the_same_moment() -> None:
    one = Version(row=0, version="1", lastupdated=JAN)
    other = Version(row=0, version="2", lastupdated="2024-01-01T01:00:00+01:00")
    assert states(one, other) == ["superseded", "current"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"version": "1"}, {"version": "1"}),
        ({"version": "a"}, {"version": "b"}),
        ({"version": "2"}, {}),
        ({"lastupdated": FEB}, {}),
        ({"lastupdated": FEB}, {"lastupdated": "2024-03"}),
    ],
)
def test_where_nothing_tells_both_are_current_and_say_so(one: dict[str, str], other: dict[str, str]) -> None:
    found = [Version(row=0, kind="folder", file=file, **said) for file, said in (("a", one), ("b", other))]
    assert states(*found) == ["current same id", "current same id"]


def test_a_later_pull_from_a_server_tells() -> None:
    assert states(Version(row=0, seen=1), Version(row=0, seen=2)) == ["superseded", "current"]
    assert states(Version(row=0, seen=2), Version(row=0, seen=2)) == ["current same id"] * 2


def test_a_later_reading_of_the_same_file_tells_and_of_another_file_does_not() -> None:
    one = Version(row=0, kind="folder", file="a", seen=1)
    assert states(one, Version(row=0, kind="folder", file="a", seen=2)) == ["superseded", "current"]
    assert states(one, Version(row=0, kind="folder", file="b", seen=2)) == ["current same id"] * 2


def test_what_was_entered_by_hand_gives_way_to_its_own_copy_from_the_server() -> None:
    entered = Version(row=0, kind="load", brought=2, seen=2)
    assert states(entered, Version(row=0, kind="server", brought=3, seen=3)) == ["superseded", "current"]
    assert states(entered, Version(row=0, kind="load", brought=4, seen=4)) == ["superseded", "current"]


def test_a_correction_by_hand_holds_until_the_server_brings_another_version() -> None:
    copy = Version(row=0, kind="server", brought=3, seen=9)
    correction = Version(row=0, kind="load", brought=5, seen=5)
    assert states(copy, correction) == ["superseded", "current"]
    assert states(correction, Version(row=0, kind="server", brought=6, seen=6)) == ["superseded", "current"]


def test_a_deletion_ends_what_was_there_and_a_later_pull_revives_it() -> None:
    body, deletion = (
        Version(row=0, kind="folder", seen=1),
        Version(row=0, kind="folder", seen=1, deleted=True),
    )
    assert states(body, deletion) == ["superseded", "deleted"]
    assert states(Version(row=0, kind="folder", seen=2), deletion) == ["current", "superseded"]


def test_a_deletion_with_a_time_is_ordered_by_it() -> None:
    deletion = Version(row=0, deleted=True, lastupdated=JAN)
    assert states(Version(row=0, lastupdated=FEB), deletion) == ["current", "superseded"]


def test_what_a_complete_pull_no_longer_finds_is_deleted_until_it_is_found_again() -> None:
    assert choose([Version(row=7, seen=1, gone=2)]) == {7: Choice("deleted")}
    assert choose([Version(row=7, seen=3, gone=2)]) == {7: Choice("current")}
