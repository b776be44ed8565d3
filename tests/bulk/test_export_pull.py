"""A pull by `$export` from a sandbox: as complete as one by search, whatever goes wrong on the way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_msct.archive.store import Archive
from fhir_msct.sandbox.faults import Faults
from fhir_msct.sandbox.server import Sandbox
from lib.fake_fhir import observation, patient
from lib.sandbox_study import Clock, Study, Through, people, value

GROUP = {
    "resourceType": "Group",
    "id": "g",
    "member": [{"entity": {"reference": f"Patient/{id_}"}} for id_ in ("p1", "p2", "p3")],
}
MORE = '\n[pull]\nhow = "export"\n'
CONTENT = (
    "select type, key, version, lastupdated, sha256, body, deleted, state, same_id from resource "
    "order by 1, 2, 5"
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as running:
        yield running


@pytest.fixture
def study(tmp_path: Path, server: Sandbox, clock: Clock) -> Study:
    one = exporting(tmp_path / "study", server, clock)
    elsewhere = [patient("p9"), observation("o99", "p9")]
    server.load([*people(), *(json.dumps(tree).encode() for tree in [GROUP, *elsewhere])])
    clock.later(hours=1)
    return one


def exporting(folder: Path, server: Sandbox, clock: Clock, more: str = MORE) -> Study:
    return Study(folder, server, clock, more, cohort='group = "g"')


def content(study: Study) -> list[Any]:
    with Archive.open(study.folder) as archive:
        return archive.connection.execute(CONTENT).fetchall()


def searched(study: Study) -> set[str]:
    """The types whose resources were searched for, not only counted or listed."""
    pages = [
        one for one in study.requests if "_count=" in one and "_summary" not in one and "_elements" not in one
    ]
    return {one.removeprefix("GET /fhir/").partition("?")[0] for one in pages if "_getpages" not in one}


def test_an_export_brings_what_a_search_brings_byte_for_byte(
    study: Study, server: Sandbox, clock: Clock, tmp_path: Path
) -> None:
    report = study.pull()
    assert report.complete, report.problems
    assert (report.received, report.counted, report.patients) == (28, 28, 3)
    assert study.bodies() == study.held()
    assert searched(study) == {"Procedure"}, "of which no file came"
    search = exporting(tmp_path / "search", server, clock, "")
    assert search.pull().complete
    assert content(study) == content(search)


def test_the_job_is_kicked_off_with_one_comma_list_and_deleted_at_the_end(study: Study) -> None:
    study.pull()
    kicked = [one for one in study.requests if "$export?" in one]
    assert kicked == ["GET /fhir/Group/g/$export?_type=Patient,Observation,Procedure"]
    assert [one.partition("$export-status")[0] for one in study.requests if "DELETE" in one] == [
        "DELETE /fhir/"
    ]
    asked = [one for one in study.server.seen if "$export-file" in one.target]
    assert {one.headers["accept"] for one in asked} == {"application/fhir+ndjson"}
    assert not list((study.folder / "archive" / "bulk").iterdir())
    with Archive.open(study.folder) as archive:
        rows = archive.connection.execute("select url, state, length(sha256) from bulk_file").fetchall()
        assert set(rows) == {("", "kept", 64)}, "addresses of files are secrets: they are forgotten"


def test_where_it_is_not_wanted_nothing_is_exported(study: Study, server: Sandbox, clock: Clock) -> None:
    search = exporting(study.folder, server, clock, '\n[pull]\nhow = "search"\n')
    assert search.pull().complete
    assert not [one for one in search.requests if "$export" in one]


def test_without_a_group_a_hospital_is_not_asked_for_everybody(
    server: Sandbox, clock: Clock, tmp_path: Path, study: Study
) -> None:
    listed = Study(tmp_path / "listed", server, clock, MORE)
    report = listed.pull()
    assert report.complete
    assert report.notes[0].startswith("pulled by search: an export without a Group brings everybody's data")
    assert not [one for one in listed.requests if "$export" in one]


def test_on_a_research_server_others_are_counted_and_not_kept(
    server: Sandbox, clock: Clock, tmp_path: Path, study: Study
) -> None:
    listed = Study(tmp_path / "listed", server, clock, MORE, server_more='kind = "research"\n')
    report = listed.pull()
    assert report.complete, report.problems
    assert [one for one in listed.requests if "/Patient/$export" in one]
    assert listed.bodies() == listed.held()
    assert (
        "Observation: the export brought 1 that were not asked for (outside-cohort): counted and hashed"
        in (report.notes)
    )


@pytest.mark.parametrize(
    "faults",
    [
        Faults(export_transient=True, times=2),
        Faults(export_parts=True),
        Faults(export_post_only=True),
        Faults(export_binary=True),
        Faults(export_expired=True, times=1),
        Faults(export_polls=5, export_retry_after="1"),
        Faults(export_polls=2, export_retry_after="1795414864"),
        Faults(export_polls=2, export_retry_after="soon"),
        Faults(where="export-file", cut_body="loud", times=1),
    ],
    ids=["transient", "parts", "STU4", "binary", "expired", "slow", "epoch", "garbage", "cut"],
)
def test_what_passes_is_survived_without_a_search(study: Study, faults: Faults) -> None:
    study.server.faults = faults
    report = study.pull()
    assert report.complete, report.problems
    assert searched(study) == {"Procedure"}
    assert study.bodies() == study.held()


ALL = {"Patient", "Observation", "Procedure"}

STALLED_AMID_FAILURES = Faults(export_stalled=True, export_transient=True, export_polls=2000, chance=0.5)
"""Every other poll says nothing of the progress: that the next one does is no progress."""


@pytest.mark.parametrize(
    ("faults", "words", "types"),
    [
        (Faults(export_lost_type="Observation"), "no file of Observation", {"Observation", "Procedure"}),
        (Faults(export_wrong_count=True), "lines were announced", ALL),
        (Faults(export_expired=True), "410", ALL),
        (Faults(export_errors=3), "reported 3 errors", ALL),
        (Faults(export_stalled=True), "no progress for 360 minutes", ALL),
        (STALLED_AMID_FAILURES, "no progress for 360 minutes", ALL),
        (Faults(where="export-file", cut_body="quiet"), "Observation was searched for", ALL),
        (Faults(status_once={r"\$export\?": (500,)}), "500", ALL),
    ],
    ids=[
        "lost type",
        "wrong count",
        "expired",
        "errors",
        "stalled",
        "stalled to and fro",
        "cut quietly",
        "refused",
    ],
)
def test_what_an_export_lacks_is_searched_for_and_told(
    study: Study, faults: Faults, words: str, types: set[str]
) -> None:
    study.server.faults = faults
    report = study.pull()
    assert report.complete, report.problems
    assert any(words in note for note in report.notes), report.notes
    assert searched(study) == types
    assert study.bodies() == study.held()


def test_a_type_that_neither_way_brings_leaves_the_pull_incomplete(study: Study) -> None:
    study.server.faults = Faults(export_lost_type="Observation", where="Observation", drop_entries=2)
    report = study.pull()
    assert not report.complete
    assert all("Observation" in problem for problem in report.problems)


def test_the_next_export_brings_only_what_is_new_and_its_deletions(study: Study) -> None:
    assert study.pull().complete
    study.clock.later(days=1)
    study.put(value("o3", "p1", "corrected"))
    study.put(value("new", "p2"))
    study.delete("Observation", "o7")
    study.put(value("o8", "p9", "moved"))
    study.clock.later(hours=1)
    report = study.pull()
    assert report.complete, report.problems
    assert any("$export?_type=Patient,Observation,Procedure&_since=" in one for one in study.requests)
    assert report.since is not None
    assert study.bodies() == study.held()


def test_what_an_export_says_is_deleted_needs_no_list_of_ids(study: Study) -> None:
    assert study.pull().complete
    study.clock.later(days=1)
    study.delete("Observation", "o7")
    study.clock.later(hours=1)
    before = len(study.requests)
    assert study.pull().complete
    assert [one for one in study.requests[before:] if "_elements" in one] == []
    assert study.bodies() == study.held()


def test_the_token_goes_to_its_own_server_and_only_where_it_is_wanted(tmp_path: Path, clock: Clock) -> None:
    secret = tmp_path / "token"
    secret.write_text("canary-token")
    secret.chmod(0o600)
    with Sandbox(clock=clock, token=secret.read_text()) as server:
        server.load([*people(), json.dumps(GROUP).encode()])
        auth = f'auth = "bearer"\ntoken_file = "{secret}"\n'
        study = Study(tmp_path / "study", server, clock, MORE, cohort='group = "g"', server_more=auth)
        assert study.pull().complete
        seen = [one for one in server.seen if "$export-file" in one.target]
        assert seen and {one.headers.get("authorization") for one in seen} == {"Bearer canary-token"}


class Killed(BaseException):
    """The process ends here."""


def test_killed_at_any_request_the_same_job_goes_on(
    study: Study, server: Sandbox, clock: Clock, tmp_path: Path
) -> None:
    study.pull()
    whole, requests = content(study), len(study.requests)
    for number in range(2, requests, 2):
        killed = exporting(tmp_path / f"killed{number}", server, clock)
        left = number

        def dying(request: httpx.Request) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise Killed

        with pytest.raises(Killed):
            killed.pull(transport=Through(dying))
        begun = [one for one in killed.requests if "$export?" in one]
        report = killed.pull()
        assert report.complete, report.problems
        again = [one for one in killed.requests if "$export?" in one]
        assert not (begun and number > 4 and again), "the job that was accepted went on"
        assert content(killed) == whole


def test_a_job_that_takes_days_is_the_same_job_on_another_day(study: Study) -> None:
    study.server.faults = Faults(export_polls=3)
    left = 9

    def dying(request: httpx.Request) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    with pytest.raises(Killed):
        study.pull(transport=Through(dying))
    assert any("$export-status" in one for one in study.requests)
    study.clock.later(days=9)
    study.put(value("meanwhile", "p1"))
    report = study.pull()
    assert report.complete, report.problems
    assert not [one for one in study.requests if "$export?" in one]
    assert study.bodies() == study.held()
