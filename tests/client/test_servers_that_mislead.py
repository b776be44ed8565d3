"""Servers whose time, counts, spelling or capability statement mislead: what is called complete is whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from client.test_pull_server import TYPES, Study
from fhir_msct.archive.store import Archive
from fhir_msct.client.failures import Declined
from fhir_msct.dates import instant
from fhir_msct.errors import ServerUnfit
from fhir_msct.tasks.pull import pull
from fhir_msct.tasks.verify import verify
from lib.fake_fhir import FakeFhir, bundle, observation, patient, reply, status

PEOPLE = [patient("p1"), patient("p2"), patient("p3")]
ONE = '[server]\nurl = "{base}"\n[cohort]\npatients = ["p1"]\n'
EXPORT = '[server]\nurl = "{base}"\n[cohort]\ngroup = "g"\n[pull]\nhow = "export"\n'


class Timed(FakeFhir):
    """A server that says and knows `_lastUpdated`; what has no time is in no range of times."""

    def __init__(self, *held: dict[str, Any], mind: bool = True) -> None:
        super().__init__([*PEOPLE, *held])
        self.mind, self.date = mind, ""
        listed = [{"type": type_} for type_ in TYPES]
        known = [{"name": "_lastUpdated", "type": "date"}]
        self.metadata["rest"] = [{"mode": "server", "searchParam": known, "resource": listed}]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = super().__call__(request)
        if self.date:
            answer.headers["Date"] = self.date
        return answer

    def answer(self, request: httpx.Request) -> httpx.Response:
        query = parse_qsl(request.url.query.decode())
        bounds = [value for name, value in query if name == "_lastUpdated" and self.mind]
        whole = self.held
        self.held = {key: body for key, body in whole.items() if _within(body, bounds)}
        try:
            return super().answer(request)
        finally:
            self.held = whole


def _within(body: bytes, bounds: list[str]) -> bool:
    at = instant(json.loads(body).get("meta", {}).get("lastUpdated"))
    limits = [(bound[:2], instant(bound[2:])) for bound in bounds]
    return all(at and limit and (at >= limit if what == "ge" else at < limit) for what, limit in limits)


def stamped(id_: str, stamp: str, value: str = "5.40", version: int = 1) -> dict[str, Any]:
    return observation(id_, "p1", value) | {"meta": {"versionId": str(version), "lastUpdated": stamp}}


def unstamped(id_: str, value: str = "5.40", version: int = 1) -> dict[str, Any]:
    return observation(id_, "p1", value) | {"meta": {"versionId": str(version)}}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study")


# --- the time ---------------------------------------------------------------------------------------------


def test_where_some_have_no_time_every_pull_asks_for_everything(study: Study) -> None:
    server = Timed(stamped("o1", "2024-06-01T00:00:00Z"), unstamped("o2"), unstamped("o3"))
    assert study.pull(server).complete
    server.hold(unstamped("o2", "6.40", 2))
    server.hold(unstamped("o4"))
    server.drop("Observation", "o3")
    assert study.pull(server).complete
    assert {key for key in study.bodies() if key[0] == "O"} == {f"Observation/o{n}" for n in (1, 2, 4)}
    assert b"6.40" in study.bodies()["Observation/o2"]


def test_a_server_that_says_it_minds_the_time_and_does_not_is_found_out(study: Study) -> None:
    held = [stamped("o1", "2024-06-01T00:00:00Z"), stamped("o2", "2024-06-02T00:00:00Z")]
    server = Timed(*held, mind=False)
    assert study.pull(server).complete
    server.drop("Observation", "o1")
    assert study.pull(server).complete
    assert "Observation/o1" not in study.bodies(), "what is deleted is gone though the newest came again"


def test_a_server_that_tells_no_time_is_asked_for_everything_and_the_report_says_so(study: Study) -> None:
    class Timeless(Timed):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            answer = super().__call__(request)
            del answer.headers["Date"]
            return answer

    server = Timeless(stamped("o1", "2024-06-01T00:00:00Z"))
    for _ in range(2):
        report = study.pull(server)
        assert (report.complete, report.since) == (True, None)
        assert any("does not tell the time" in note for note in report.notes)
    assert not any(
        "does not tell the time" in note
        for note in study.pull(Timed(stamped("o1", "2024-06-01T00:00:00Z"))).notes
    )


def test_what_is_shown_late_is_caught_up_with_though_the_servers_clock_is_ahead(study: Study) -> None:
    server = Timed(stamped("o1", "2024-06-01T00:00:00Z"), stamped("o2", "2024-06-30T07:59:50Z"))
    server.date = "Sun, 30 Jun 2024 13:00:00 GMT"  # the gateway's; the stamps are five hours behind it
    study.pull(server)
    server.hold(stamped("o1", "2024-06-30T07:59:40Z", "6.40", 2))  # began before the pull, is seen after it
    assert study.pull(server).complete
    assert b"6.40" in study.bodies()["Observation/o1"]


@pytest.fixture
def parted(study: Study) -> tuple[Study, Timed]:
    """One patient whose window does not settle until it is parted by time, and something without a time."""
    held = [stamped(f"o{n:02}", f"2024-01-{n + 1:02}T00:00:00Z") for n in range(20)]
    server = Timed(*held, unstamped("o99"))
    server.bend("_getpages", status(410), times=999)  # what does not fit on one page cannot be read
    return study, server


def test_windows_of_time_are_held_against_the_whole(parted: tuple[Study, Timed]) -> None:
    study, server = parted
    report = study.pull(server)
    assert not report.complete
    assert any("21, 20 are here" in problem for problem in report.problems), report.problems


# --- what failed ------------------------------------------------------------------------------------------


def test_what_only_a_failed_reading_brought_is_not_kept_as_current(study: Study) -> None:
    server = FakeFhir([*PEOPLE, observation("o1", "p1")])
    both = [json.dumps(observation(id_, "p1")).encode() for id_ in ("o1", "dead")]
    server.bend(r"Observation\?patient=[^&]*&_count", lambda request: reply(200, bundle(both)), times=1)
    report = study.pull(server)
    assert report.complete, report.problems
    assert [key for key in study.bodies() if key[0] == "O"] == ["Observation/o1"]
    assert [(one.counted, one.held) for one in report.types if one.type == "Observation"] == [(1, 1)]


def test_a_type_that_was_not_there_when_the_pull_began_is_asked_for_when_it_goes_on(study: Study) -> None:
    server = FakeFhir([*PEOPLE, observation("o1", "p1")])
    server.metadata["rest"] = [{"mode": "server", "resource": [{"type": "Patient"}, {"type": "Procedure"}]}]
    server.bend(r"Procedure\?", status(503), times=99)
    with pytest.raises(Declined):
        study.pull(server)
    server.metadata["rest"][0]["resource"].append({"type": "Observation"})
    server.heal()
    assert study.pull(server).complete
    assert "Observation/o1" in study.bodies()


def test_a_type_that_is_no_longer_said_to_be_there_and_is_here_is_a_problem(study: Study) -> None:
    server = FakeFhir([*PEOPLE, observation("o1", "p1")])
    study.pull(server)
    server.metadata["rest"] = [{"mode": "server", "resource": [{"type": "Patient"}, {"type": "Procedure"}]}]
    report = study.pull(server)
    assert report.problems == ("the server no longer says that it holds Observation, and 1 are here",)


def test_none_found_by_a_parameter_that_the_server_does_not_claim_is_told(study: Study) -> None:
    server = FakeFhir(PEOPLE)
    known = {"Patient": ["_id"], "Observation": ["subject"], "Procedure": ["patient"]}
    server.metadata["rest"] = [
        {
            "mode": "server",
            "resource": [
                {"type": type_, "searchParam": [{"name": name} for name in names]}
                for type_, names in known.items()
            ],
        }
    ]
    (note,) = [one for one in study.pull(server).notes if "none were found" in one]
    assert note.startswith("Observation: none were found by patient")


# --- two spellings of one version -------------------------------------------------------------------------


def respelled(body: bytes) -> bytes:
    tree = json.loads(body)
    return json.dumps(dict(reversed(tree.items())), indent=2).encode()


@pytest.mark.parametrize("first", [respelled, bytes])
def test_one_version_in_two_spellings_is_one_resource(study: Study, first: Callable[[bytes], bytes]) -> None:
    server = FakeFhir([*PEOPLE, observation("o1", "p1", "5.40")])
    plain = server.held["Observation", "o1"]
    other = bytes if first is respelled else respelled

    def reading(request: httpx.Request) -> httpx.Response:
        server.bend(r"Observation\?patient=[^&]*&_count", lambda _: reply(200, bundle([other(plain)])))
        return reply(200, bundle([first(plain), json.dumps(observation("gone", "p1")).encode()]))

    server.bend(r"Observation\?patient=[^&]*&_count", reading, times=1)
    assert study.pull(server).complete
    with Archive.open(study.folder) as archive:
        assert [(one.id, one.same_id) for one in archive.current("Observation")] == [("o1", False)]
    assert verify(study.folder, say=lambda text: None).damaged == ()


def test_two_values_of_one_version_are_both_set_aside_still(study: Study) -> None:
    server = FakeFhir([*PEOPLE, observation("o1", "p1", "5.40")])
    both = [server.held["Observation", "o1"], server.held["Observation", "o1"].replace(b"5.40", b"5.4")]
    server.bend(r"Observation\?patient=[^&]*&_count", lambda request: reply(200, bundle(both)), times=9)
    study.pull(server)
    with Archive.open(study.folder) as archive:
        assert [one.same_id for one in archive.current("Observation")] == [True, True]


# --- what nobody expects ----------------------------------------------------------------------------------


def test_an_id_with_a_nul_in_it_is_told_and_costs_only_itself(study: Study) -> None:
    server = FakeFhir([*PEOPLE, observation("o1", "p1")])
    server.held["Observation", "z"] = json.dumps(observation("a\0b", "p1")).encode()
    for _ in range(2):
        report = study.pull(server)
        assert report.problems and all("shape" in problem for problem in report.problems)
        assert "Observation/o1" in study.bodies()


STATEMENTS: list[dict[str, Any]] = [
    {"rest": 5},
    {"rest": [{"resource": 5}]},
    {"rest": [{"resource": [{"type": {}}]}]},
    {"rest": [{"resource": [{"type": "Patient", "interaction": [{"code": []}]}]}]},
    {"software": [1]},
]


@pytest.mark.parametrize("statement", STATEMENTS, ids=str)
def test_a_capability_statement_may_hold_anything_anywhere(study: Study, statement: dict[str, Any]) -> None:
    server = FakeFhir([*PEOPLE, observation("o1", "p1")])
    server.metadata.update(statement)
    assert study.pull(server).complete


def test_one_that_cannot_be_read_is_no_server_to_pull_from(study: Study) -> None:
    server = FakeFhir(PEOPLE)
    told = b'{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","x":1e400}'
    server.bend("metadata", lambda request: reply(200, told), times=9)
    with pytest.raises(ServerUnfit):
        study.pull(server)


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0100 00:00:00 GMT"])
def test_a_date_that_no_clock_shows_is_none(study: Study, date: str) -> None:
    server = Timed(observation("o1", "p1"))
    server.date = date
    assert study.pull(server).complete


def test_an_entry_of_another_address_than_its_id_is_no_damage(tmp_path: Path) -> None:
    study, home = Study(tmp_path / "study"), tmp_path / "files"
    home.mkdir()
    entry = {"fullUrl": "https://old.example/fhir/Patient/12345", "resource": patient("p1")}
    whole = {"resourceType": "Bundle", "type": "collection", "entry": [entry]}
    (home / "b.json").write_text(json.dumps(whole))
    pull(study.folder, study.plan, study.wanted, source=home, say=lambda text: None)
    assert verify(study.folder, say=lambda text: None).damaged == ()


# --- whose it is ------------------------------------------------------------------------------------------

UNTOLD = {
    "an identifier": {"identifier": {"system": "urn:mrn", "value": "1"}},
    "another spelling of the address": {"reference": "http://127.0.0.1:08099/fhir/Patient/p9"},
    "another server": {"reference": "https://elsewhere.test/fhir/Patient/p1"},
}


class Finding(FakeFhir):
    """A server that finds what does not say whose it is: for p1, or (minding no patient) for anybody."""

    def __init__(self, subject: dict[str, Any], *, mind: bool) -> None:
        super().__init__(
            [patient("p1"), observation("o1", "p1"), observation("o2", "p9") | {"subject": subject}]
        )
        self.mind = mind

    def finds(self, body: bytes, asked: dict[str, str]) -> bool:
        if "patient" not in asked or (self.mind and b'"o2"' not in body):
            return super().finds(body, asked)
        return not self.mind or asked["patient"] == "p1"


@pytest.mark.parametrize("subject", UNTOLD.values(), ids=UNTOLD)
def test_what_does_not_say_whose_it_is_is_no_strangers_where_the_server_minds_whose(
    tmp_path: Path, subject: dict[str, Any]
) -> None:
    study = Study(tmp_path / "study", ONE)
    report = study.pull(Finding(subject, mind=True))
    assert report.complete, report.problems
    assert "Observation/o2" in study.bodies()


@pytest.mark.parametrize("subject", UNTOLD.values(), ids=UNTOLD)
def test_a_server_that_gives_everybodys_gives_no_stranger_into_the_archive(
    tmp_path: Path, subject: dict[str, Any]
) -> None:
    study = Study(tmp_path / "study", ONE)
    report = study.pull(Finding(subject, mind=False))
    assert not report.complete
    assert set(study.bodies()) == {"Patient/p1", "Observation/o1"}
