"""The request log of a pull: whole, however the pull ends, and nothing in it of an address."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.test_pull_server import PEOPLE, VALUES, Study
from fhir_msct.archive.store import Archive
from fhir_msct.errors import ServerFailed, Unreachable
from fhir_msct.tasks.verify import verify
from lib.fake_fhir import BASE, FakeFhir, status

PATTERNS = ["metadata", "/Patient", r"Observation\?.*_summary", r"Observation\?.*_count", "Procedure"]


@pytest.fixture
def server() -> FakeFhir:
    return FakeFhir([*PEOPLE, *VALUES])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study")


def logged(study: Study) -> list[tuple[Any, ...]]:
    """Every request in the log: its run, method, route, status, bytes and id."""
    with closing(sqlite3.connect(study.folder / "archive" / "archive.sqlite")) as db:
        log = db.execute("select run, method, route, status, bytes, request_id from event order by id")
        return log.fetchall()


def ids(server: FakeFhir) -> list[str]:
    """The id of every request, as the server got it."""
    return [one.headers["x-request-id"] for one in server.requests]


def silent(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("no answer", request=request)


def stopped(request: httpx.Request) -> httpx.Response:
    raise KeyboardInterrupt


def is_sound(study: Study) -> bool:
    return verify(study.folder, say=lambda line: None).damaged == ()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_a_pull_sent_in_vain_is_in_the_log(study: Study, server: FakeFhir, pattern: str) -> None:
    study.pull(server)
    server.bend(pattern, silent, times=99)
    with pytest.raises(Unreachable):
        study.pull(server)
    log = logged(study)
    assert [one[-1] for one in log] == ids(server)
    assert len([one for one in log if one[3] == 0]) == 6
    routes = {"metadata", *(f"{type_}{end}" for type_ in study.wanted.types for end in ("?", "? next page"))}
    routes |= {f"{type_}?_summary=count" for type_ in study.wanted.types}
    assert {one[2] for one in log} <= routes
    assert all(method == "GET" and size >= 0 for _, method, _, _, size, _ in log)
    assert not any(part in str(log) for part in ("p1", "p2", "_lastUpdated", BASE))
    assert is_sound(study)


def test_the_log_of_a_pull_that_was_interrupted_is_part_of_it_when_it_ends(
    study: Study, server: FakeFhir
) -> None:
    server.bend("_getpagesoffset=10", status(503), times=6)
    with pytest.raises(ServerFailed):
        study.pull(server)
    assert [one[-1] for one in logged(study)] == ids(server)
    server.heal()
    report = study.pull(server)
    assert report.complete
    assert report.requests == len(server.requests)
    assert [one[-1] for one in logged(study)] == ids(server)
    assert {one[0] for one in logged(study)} == {1}
    assert is_sound(study)


def test_what_a_pull_sent_before_its_run_began_is_part_of_no_run(study: Study, server: FakeFhir) -> None:
    study.pull(server)
    with Archive.open(study.folder) as archive:
        before = archive.last_pull()
    server.requests.clear()
    server.bend("metadata", status(500), times=99)
    with pytest.raises(ServerFailed):
        study.pull(server)
    of_none = [one for one in logged(study) if one[0] is None]
    assert [(*one[1:4], one[5]) for one in of_none] == [("GET", "metadata", 500, own) for own in ids(server)]
    with Archive.open(study.folder) as archive:
        assert archive.last_pull() == before
    assert is_sound(study)


def test_a_pull_that_somebody_stops_has_its_log_as_well(study: Study, server: FakeFhir) -> None:
    server.bend("Observation", stopped)
    with pytest.raises(KeyboardInterrupt):
        study.pull(server)
    assert [one[-1] for one in logged(study)] == ids(server)


def test_where_the_log_cannot_be_written_the_error_that_ended_the_pull_is_told(
    study: Study, server: FakeFhir
) -> None:
    study.pull(server)
    with closing(sqlite3.connect(study.folder / "archive" / "archive.sqlite")) as db:
        db.execute("drop table event")
    server.bend("metadata", silent, times=99)
    with pytest.raises(Unreachable):
        study.pull(server)
