"""A server may heed one of several patients, in its counts as in its pages: all the others come, too."""

from pathlib import Path

import pytest

from client.test_pull_server import Study
from lib.fake_fhir import FakeFhir, observation, patient

ONLY = [pytest.param(slice(0, 1), id="the first"), pytest.param(slice(-1, None), id="the last")]
PEOPLE = ["p1", "p2", "p3"]
TOML = '[server]\nurl = "{base}"\n[cohort]\npatients = ["p1", "p2", "p3"]\n'


def served(**values: int) -> FakeFhir:
    """A server with so many values of each patient."""
    held = [patient(one) for one in PEOPLE]
    held += [observation(f"{one}-{n}", one) for one, many in values.items() for n in range(many)]
    return FakeFhir(held)


def counted_alone(server: FakeFhir) -> int:
    """How many counts named one patient."""
    return sum("_summary=count" in one and "patient=" in one and "%2C" not in one for one in server.asked)


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


@pytest.mark.parametrize("values", [{"p1": 2, "p2": 1}, {"p1": 3}, {}], ids=str)
def test_a_server_that_heeds_all_of_them_is_asked_for_lists(tmp_path: Path, values: dict[str, int]) -> None:
    server, study = served(**values), Study(tmp_path / "study", TOML)
    assert study.pull(server).complete
    pages = [one for one in server.asked if "Observation?patient=" in one and "_summary" not in one]
    assert len(pages) == 1
    assert (counted_alone(server) > 0) == (len(values) < 2), "where two came of one search, nobody need ask"


def test_a_pull_that_was_interrupted_still_knows_it(tmp_path: Path) -> None:
    server, study = served(p1=2, p2=1, p3=4), Study(tmp_path / "study", TOML)
    server.heeded = slice(0, 1)
    whole = len(served(p1=2, p2=1, p3=4).held)
    asked = len(server.asked)
    study.pull(server)
    for after in range(1, len(server.asked) - asked):
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
