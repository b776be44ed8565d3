"""A pull after a complete one asks only for what is new, and proves the whole all the same."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_msct import plan as plans
from fhir_msct.archive.store import Archive
from fhir_msct.sandbox.faults import Faults
from fhir_msct.sandbox.server import Sandbox
from lib.fake_fhir import observation, patient, reply
from lib.sandbox_study import TYPES, Clock, Study, Through, people, stamped, value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as running:
        yield running


@pytest.fixture
def study(tmp_path: Path, server: Sandbox, clock: Clock) -> Study:
    one = Study(tmp_path / "study", server, clock)
    server.load(people())
    clock.later(hours=1)
    return one


def test_the_second_pull_brings_only_what_is_new(study: Study) -> None:
    first = study.pull()
    assert first.complete and first.since is None and first.received == 28
    study.clock.later(days=1)
    study.put(value("o3", "p1", "corrected"))
    study.put(value("new", "p2"))
    study.clock.later(hours=1)
    report = study.pull()
    assert report.complete, report.problems
    assert report.since is not None
    counts = {one.type: (one.received, one.stored_new, one.counted, one.held) for one in report.types}
    assert counts["Observation"][1:] == (2, 26, 26)
    said = ("_lastUpdated=ge", "_summary=count", "_elements=id")
    assert all(any(part in one for part in said) for one in study.requests[1:])
    assert study.bodies() == study.held()


def test_nothing_new_is_little_to_ask(study: Study) -> None:
    study.pull()
    study.clock.later(days=1)
    report = study.pull()
    assert report.complete and report.held == 28
    pages = [one for one in study.requests if "_summary" not in one]
    assert len(pages) == 1 + 3 + 2
    assert sum("_elements=id" in one for one in pages) == 2, (
        "whether one patient has the same by id and by address"
    )
    assert study.bodies() == study.held()


def test_what_is_shown_late_under_an_earlier_stamp_is_caught_up_with(study: Study) -> None:
    stamp = (study.clock.now - timedelta(seconds=90)).isoformat()
    late = json.dumps(observation("late", "p1") | {"meta": {"versionId": "1", "lastUpdated": stamp}})
    proved = set[str]()

    def commit(line: str) -> None:
        proved.add(line.partition(" of 3 ")[0])
        if proved >= set(TYPES) and "Observation/late" not in study.held():
            study.server.load([late.encode()])

    report = study.pull(say=commit)
    assert report.complete and report.received == 29 == report.counted
    assert study.bodies() == study.held()


def test_what_is_shown_after_the_pull_is_in_the_next_one_for_the_watermark_stays_behind(study: Study) -> None:
    stamp = (study.clock.now - timedelta(minutes=9)).isoformat()
    assert study.pull().complete
    late = observation("late", "p1") | {"meta": {"versionId": "1", "lastUpdated": stamp}}
    study.server.load([json.dumps(late).encode()])
    study.clock.later(days=2)
    assert study.pull().complete
    assert study.bodies() == study.held()


def test_what_has_gone_meanwhile_does_not_make_up_for_what_was_shown_late(study: Study) -> None:
    stamp = (study.clock.now - timedelta(minutes=9)).isoformat()
    study.put(value("newest", "p1"))
    assert study.pull().complete
    late = observation("late", "p1") | {"meta": {"versionId": "1", "lastUpdated": stamp}}
    study.server.load([json.dumps(late).encode()])
    study.delete("Observation", "o7")
    study.clock.later(days=2)
    assert study.pull().complete
    assert study.bodies() == study.held()


def test_a_deletion_is_noticed_and_its_history_says_so(study: Study) -> None:
    study.pull()
    study.clock.later(days=1)
    study.delete("Observation", "o7")
    study.put(value("new", "p1"))
    study.clock.later(hours=1)
    report = study.pull()
    assert report.complete
    assert {one.type: one.gone for one in report.types}["Observation"] == 1
    assert "Observation: 1 no longer listed (1 deleted, as their history says)" in study.said
    assert study.bodies() == study.held()
    with Archive.open(study.folder) as archive:
        row = archive.connection.execute("select state, version from resource where deleted = 1").fetchone()
        assert row == ("deleted", "2")


def test_each_patient_who_is_no_longer_listed_is_looked_for(study: Study) -> None:
    study.pull()
    study.clock.later(days=1)
    study.delete("Patient", "p3")

    def the_first_alone(request: httpx.Request) -> None:
        if "_id" in request.url.params:
            request.url = request.url.copy_set_param("_id", request.url.params["_id"].partition(",")[0])

    report = study.pull(transport=Through(the_first_alone))
    assert not report.complete
    assert report.problems == ("the server holds no Patient p3 of the cohort (1 in all)",)


def test_what_moved_to_somebody_else_is_noticed(study: Study) -> None:
    study.pull()
    study.clock.later(days=1)
    study.put(value("o7", "p9"))
    report = study.pull()
    assert report.complete
    assert "Observation: 1 no longer listed (0 deleted, as their history says)" in study.said
    assert study.bodies() == study.held()
    study.put(value("o7", "p1", "back"))
    assert study.pull().complete
    assert study.bodies() == study.held()


def test_what_was_restored_with_an_old_stamp_is_found_by_its_count(study: Study) -> None:
    study.pull()
    old = observation("old", "p1", meta=stamped(2))
    study.server.load([json.dumps(old).encode()])
    study.clock.later(days=1)
    report = study.pull()
    assert report.complete, "the ids were compared, and the window read again"
    assert study.bodies() == study.held()


def test_a_full_pull_asks_for_everything(study: Study) -> None:
    study.pull()
    study.clock.later(days=1)
    report = study.pull(full=True)
    assert report.complete and report.since is None and report.received == 28
    assert not [one for one in study.requests if "_lastUpdated" in one and "_summary" not in one]


def test_after_a_pull_that_was_not_complete_the_next_asks_for_everything(study: Study) -> None:
    study.pull()
    study.server.faults = Faults(where="Procedure", drop_total=True)
    assert not study.pull().complete
    study.server.faults = Faults()
    report = study.pull()
    assert report.complete and report.since is None


def test_another_cohort_is_asked_for_everything(study: Study, tmp_path: Path) -> None:
    study.pull()
    toml = (study.folder / "study.toml").read_text().replace('"p3"', '"p2"')
    (study.folder / "study.toml").write_text(toml)
    study.plan = plans.load(study.folder)
    study.wanted = plans.Wanted(types=TYPES, cohort=study.plan.cohort, page_size=10)
    report = study.pull()
    assert report.complete and report.since is None and report.patients == 2


def test_a_server_that_ignores_the_instant_costs_time_and_no_data(study: Study) -> None:
    study.pull()
    study.clock.later(days=1)
    study.put(value("o3", "p1", "corrected"))
    study.delete("Observation", "o4")
    study.server.faults = Faults(ignore=("_lastUpdated",))
    report = study.pull()
    assert report.complete, report.problems
    assert study.bodies() == study.held()


def test_a_server_that_finds_nothing_by_the_instant_is_found_out(study: Study) -> None:
    study.pull()
    study.clock.later(days=1)
    study.put(value("o3", "p1", "corrected"))

    def blind(request: httpx.Request) -> httpx.Response | None:
        if "_lastUpdated" in str(request.url):
            body = b'{"resourceType":"Bundle","type":"searchset","total":0}'
            return reply(200, body)
        return None

    report = study.pull(transport=Through(blind))
    assert report.complete, report.problems
    assert any("does not mind _lastUpdated" in line for line in study.said)
    assert study.bodies() == study.held()


def test_what_one_patient_has_is_parted_by_time_where_a_window_does_not_settle(study: Study) -> None:
    study.server.faults = Faults(drop_next=True)
    study.wanted = msgspec.structs.replace(study.wanted, page_size=4)
    report = study.pull()
    assert report.complete, report.problems
    assert (report.received, report.counted) == (28, 28)
    assert any("_lastUpdated=ge" in one and "_lastUpdated=lt" in one for one in map(unquote, study.requests))
    assert study.bodies() == study.held()


def test_a_server_whose_counts_never_settle_is_not_asked_for_ever(study: Study) -> None:
    study.server.faults = Faults(where="Observation", drop_entries=1)
    report = study.pull()
    assert not report.complete
    assert len(study.requests) < 100


def test_several_connections_bring_the_same_archive(study: Study, tmp_path: Path) -> None:
    many = (observation(f"x{n:04}", f"p{n % 40}", meta=stamped(n % 20)) for n in range(900))
    study.server.load(json.dumps(tree).encode() for tree in many)
    people = ", ".join(f'"p{n}"' for n in range(40))
    study.server.load(json.dumps(patient(f"p{n}")).encode() for n in (0, *range(4, 40)))
    kept = []
    for connections in (1, 4):
        more = f"[pull]\nconnections = {connections}\n"
        one = Study(
            tmp_path / f"s{connections}", study.server, study.clock, more, cohort=f"patients = [{people}]"
        )
        assert one.pull().complete
        kept.append(one.bodies())
    assert kept[0] == kept[1]
    assert len(kept[0]) == 40 + 925


@pytest.mark.parametrize("number", range(4))
def test_several_connections_killed_between_windows_go_on(study: Study, number: int) -> None:
    left = number

    def dying(line: str) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise Killed

    with pytest.raises(Killed):
        study.pull(say=dying)
    assert study.pull().complete
    assert study.bodies() == study.held()


class Killed(BaseException):
    """The process ends here."""


def test_killed_at_any_request_it_goes_on_to_the_same_archive(study: Study, tmp_path: Path) -> None:
    study.pull()
    study.clock.later(days=1)
    study.put(value("o3", "p1", "corrected"))
    study.put(value("new", "p2"))
    study.delete("Observation", "o7")
    number = 0
    while True:
        left = number

        def dying(request: httpx.Request) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise Killed

        try:
            report = study.pull(transport=Through(dying))
        except Killed:
            assert study.pull().complete
            assert study.bodies() == study.held()
            study.clock.later(days=1)
            study.put(value("new", "p2", str(number)))
            study.put(value(f"n{number}", "p3"))
            study.delete("Observation", f"n{number - 1}")
            number += 1
            continue
        break
    assert report.complete and number > 15
    assert study.bodies() == study.held()


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 9), st.integers(1, 4), st.integers(0, 99)),
        st.tuples(st.just("delete"), st.integers(0, 9), st.just(0), st.just(0)),
        st.tuples(st.just("pull"), st.just(0), st.just(0), st.just(0)),
    ),
    min_size=3,
    max_size=14,
)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=CHANGES)
def test_whatever_happens_between_pulls_the_archive_is_what_the_server_holds(
    tmp_path_factory: pytest.TempPathFactory, server: Sandbox, clock: Clock, changes: list[Any]
) -> None:
    server.clear()
    study = Study(tmp_path_factory.mktemp("any") / "study", server, clock)
    server.load(json.dumps(patient(f"p{n}")).encode() for n in (1, 2, 3))
    assert study.pull().complete
    for what, number, who, text in [*changes, ("pull", 0, 0, 0)]:
        clock.later(minutes=7)
        if what == "put":
            study.put(value(f"o{number}", f"p{who}", str(text)))
        elif what == "delete":
            study.delete("Observation", f"o{number}")
        else:
            report = study.pull()
            assert report.complete, report.problems
            assert study.bodies() == study.held()
