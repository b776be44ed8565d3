"""A server may heed one of several patients, in its counts as in its pages: all the others come, too."""

import json
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from client.test_pull_server import Study
from lib.fake_fhir import BASE, FakeFhir, observation, patient

ONLY = [pytest.param(slice(0, 1), id="the first"), pytest.param(slice(-1, None), id="the last")]
PEOPLE = ["p1", "p2", "p3"]


def toml(people: list[str]) -> str:
    """The plan of a study of these people."""
    return f'[server]\nurl = "{{base}}"\n[cohort]\npatients = {json.dumps(people)}\n'


TOML = toml(PEOPLE)


def served(people: Sequence[str] = PEOPLE, **values: int) -> FakeFhir:
    """A server with so many values of each patient."""
    held = [patient(one) for one in people]
    held += [observation(f"{one}-{n}", one) for one, many in values.items() for n in range(many)]
    return FakeFhir(held)


@pytest.mark.parametrize("heeded", ONLY)
@pytest.mark.parametrize(
    "values", [{"p1": 2, "p2": 1, "p3": 4}, {"p2": 3}, {"p1": 1, "p3": 1}, {"p3": 2}], ids=str
)
def test_all_of_a_cohort_come_from_a_server_that_heeds_one_of_several(
    tmp_path: Path, values: dict[str, int], heeded: slice
) -> None:
    server, study = served(**values), Study(tmp_path / "study", TOML)
    server.heeded = heeded
    first = study.pull(server)
    assert (first.complete, first.held) == (True, 3 + sum(values.values()))
    server.hold(observation("new", "p2"))
    server.drop("Observation", f"{next(iter(values))}-0")
    again = study.pull(server)
    assert (again.complete, again.held) == (True, first.held)
    assert "Observation/new" in study.bodies()


MANY = [f"p{number:02}" for number in range(50)]
SOME = dict.fromkeys(MANY[30:45], 2)
COHORTS: dict[str, tuple[list[str], dict[str, int], slice]] = {
    "the first two of three": (PEOPLE, {"p1": 1, "p2": 1, "p3": 1}, slice(0, 2)),
    "the last two of three": (PEOPLE, {"p1": 1, "p2": 1, "p3": 1}, slice(-2, None)),
    "ten of 25": (MANY[:25], dict.fromkeys(MANY[:25], 1), slice(0, 10)),
    "one of 25, who has nothing": (MANY[:25], dict.fromkeys(MANY[6:20], 1), slice(0, 1)),
    "one of 25, who alone has something": (MANY, {MANY[0]: 3} | SOME, slice(0, 1)),
    "twenty of 25": (MANY[:25], dict.fromkeys(MANY[20:25], 1), slice(0, 20)),
}


@pytest.mark.parametrize(("people", "values", "heeded"), COHORTS.values(), ids=COHORTS)
def test_however_many_of_them_it_heeds(
    tmp_path: Path, people: list[str], values: dict[str, int], heeded: slice
) -> None:
    server, study = served(people, **values), Study(tmp_path / "study", toml(people))
    server.heeded = heeded
    server.list_names |= {"_id"}
    report = study.pull(server)
    assert (report.complete, report.held) == (True, len(server.held)), report.problems


def test_a_type_of_which_it_heeds_one_is_found_beside_one_of_which_it_heeds_all(tmp_path: Path) -> None:
    class OneProcedure(FakeFhir):
        def _search(self, type_: str, asked: dict[str, str]) -> httpx.Response:
            self.heeded = slice(0, 1) if type_ == "Procedure" else slice(None)
            return super()._search(type_, asked)

    server = OneProcedure(served(p1=2, p2=2, p3=2).held.values())
    for one in PEOPLE:
        server.hold({"resourceType": "Procedure", "id": one, "subject": {"reference": f"Patient/{one}"}})
    report = Study(tmp_path / "study", TOML).pull(server)
    assert (report.complete, report.held) == (True, len(server.held))


def test_what_is_named_by_address_comes_from_such_a_server_too(tmp_path: Path) -> None:
    server, study = served(p1=2, p2=2, p3=2), Study(tmp_path / "study", TOML)
    for one in PEOPLE:
        for number in range(2):
            by_address = {"subject": {"reference": f"{BASE}/Patient/{one}"}}
            server.hold(observation(f"{one}-address-{number}", one) | by_address)
    server.heeded = slice(0, 1)
    report = study.pull(server)
    assert (report.complete, report.held) == (True, len(server.held))


@pytest.mark.parametrize(
    ("values", "alone"),
    [({"p1": 2, "p2": 1, "p3": 1}, 0), ({"p1": 3}, 1), ({"p1": 1, "p3": 1}, 1), ({}, 3)],
    ids=str,
)
def test_a_server_that_heeds_all_of_them_is_asked_for_lists(
    tmp_path: Path, values: dict[str, int], alone: int
) -> None:
    server, study = served(**values), Study(tmp_path / "study", TOML, types=("Patient", "Observation"))
    assert study.pull(server).complete
    pages = [one for one in server.asked if "Observation?patient=" in one and "_summary" not in one]
    assert len(pages) == 1
    counts = [one for one in server.asked if "Observation?patient=" in one and "_summary=count" in one]
    assert len([one for one in counts if "%2C" not in one]) == alone


def test_a_pull_that_was_interrupted_still_knows_it(tmp_path: Path) -> None:
    server, study = served(p1=2, p2=1, p3=4), Study(tmp_path / "study", TOML)
    server.heeded = slice(0, 1)
    whole = len(served(p1=2, p2=1, p3=4).held)
    asked = len(server.asked)
    study.pull(server)
    for after in range(1, len(server.asked) - asked, 3):
        other = served(p1=2, p2=1, p3=4)
        other.heeded = slice(0, 1)
        torn = Study(tmp_path / f"torn-{after}", TOML)
        other.bend("", _lost, times=99, after=after)
        with pytest.raises(ConnectionAbortedError):
            torn.pull(other)
        other.heal()
        report = torn.pull(other)
        assert (report.complete, report.held) == (True, whole), after


def _lost(request: object) -> None:
    raise ConnectionAbortedError


def test_what_came_by_another_way_proves_no_list(tmp_path: Path) -> None:
    people = MANY[:6]
    server, study = served(people, **dict.fromkeys(people, 2)), Study(tmp_path / "study", toml(people))
    server.bend("patient=http", _lost, times=9)
    with pytest.raises(ConnectionAbortedError):
        study.pull(server)
    server.heal()
    server.heeded = slice(0, 2)  # of all six something is here: two as many as two others
    assert study.pull(server).complete
    assert "the server does not heed a list of patients: asking for each alone" in study.said


@pytest.mark.parametrize("heeded", [*ONLY, pytest.param(slice(None), id="all")])
def test_a_server_that_heeds_one_of_several_codes_is_not_believed(tmp_path: Path, heeded: slice) -> None:
    held = [patient(one) for one in PEOPLE]
    for code, many in (("ck", 2), ("ldh", 1), ("mmt", 1)):
        coded = {"code": {"coding": [{"system": "urn:x", "code": code}]}}
        held += [observation(f"{code}-{n}", "p1") | coded for n in range(many)]
    server = FakeFhir(held)
    server.heeded, server.list_names = heeded, {"code"}
    asked = {"Observation": ("urn:x|ck", "urn:x|ldh")}
    report = Study(tmp_path / "study", TOML, codes=asked).pull(server)
    problems = [line for line in report.problems if "the server heeds only some of several codes" in line]
    assert (report.complete, len(problems)) == ((True, 0) if heeded == slice(None) else (False, 1))
