"""What others did on the server: a value corrected, withdrawn or deleted there, a result that is doubled."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_msct.errors import Conflict, InputError
from fhir_msct.sandbox.faults import Faults
from push.small_trial import Tree, Trial, ck
from push.test_load import LATER, MMT, loaded
from push.test_races import another

HEADERS = {"Content-Type": "application/fhir+json"}


@pytest.fixture
def delivered(trial: Trial) -> Trial:
    """A trial whose hand-entered values are on the server, and were not pulled since."""
    loaded(trial, MMT, LATER)
    trial.compute()
    assert trial.push().read_back_equal
    return trial


def later(trial: Trial) -> Tree:
    """The second of the two values, as the server has it."""
    (found,) = [one for one in trial.held(tag="entered") if one["effectiveDateTime"] == "2024-08-30"]
    return found


def delete(trial: Trial, place: str) -> None:
    assert httpx.delete(f"{trial.server.url}/{place}").status_code == 200


@pytest.mark.parametrize(
    "theirs",
    [
        {"status": "entered-in-error", "note": [{"text": "wrong patient"}]},
        {"status": "corrected", "note": [{"text": "read again"}]},
    ],
)
def test_a_value_that_somebody_corrected_or_withdrew_on_the_server_is_left_as_it_is(
    delivered: Trial, theirs: Tree
) -> None:
    delivered.put({**later(delivered), **theirs})
    before = later(delivered)
    plan = delivered.push(apply=False)
    place = f"Observation/{before['id']}"
    assert [line.split()[:2] for line in plan.plan] == [["left", place]]
    assert [note.split()[0] for note in plan.notes] == [place]
    assert "pull first" in plan.notes[0]
    for _ in range(2):
        report = delivered.push()
        assert (report.written, report.conflicts, report.differing, report.refused) == (0, (), (), ())
        assert report.notes == plan.notes
        assert later(delivered) == before
    assert delivered.story().notes == ()  # pulled, it is read as theirs


def test_a_value_that_was_deleted_on_the_server_is_not_made_again(delivered: Trial) -> None:
    delete(delivered, f"Observation/{later(delivered)['id']}")
    report = delivered.push()
    assert report.written == 0
    assert "no longer there" in report.notes[0]
    assert [one["effectiveDateTime"] for one in delivered.held(tag="entered")] == ["2024-02-28"]


def test_the_rest_of_a_push_goes_on_beside_a_value_that_is_left(delivered: Trial) -> None:
    delivered.put({**later(delivered), "status": "entered-in-error"})
    loaded(delivered, f"{MMT.replace('anna', 'bert')}")
    delivered.compute()
    assert delivered.push().written == 1
    assert later(delivered)["status"] == "entered-in-error"
    assert len(delivered.held(tag="entered")) == 3


def test_another_folder_does_not_undo_a_correction_that_came_after_its_own_push(
    delivered: Trial, tmp_path: Path
) -> None:
    other = another(delivered, tmp_path / "other")
    assert loaded(delivered, MMT, LATER.replace(",64,", ",50,")).corrected == 1
    delivered.compute()
    delivered.push()
    corrected = later(delivered)
    assert corrected["valueQuantity"]["value"] == 50
    other.push()
    assert later(other) == corrected


def test_a_correction_of_our_own_still_reaches_the_server(delivered: Trial) -> None:
    loaded(delivered, MMT, LATER.replace(",64,", ",50,"))
    delivered.compute()
    report = delivered.push()
    assert report.notes == ()
    assert later(delivered)["valueQuantity"]["value"] == 50


def test_a_value_that_was_withdrawn_on_the_server_does_not_come_back_with_its_file(delivered: Trial) -> None:
    delivered.put({**later(delivered), "status": "entered-in-error"})
    delivered.pull()
    with pytest.raises(InputError, match=r"typed\.csv:3: row: was withdrawn on the server") as raised:
        loaded(delivered, MMT, LATER)
    assert str(raised.value).endswith("nothing was loaded")
    assert loaded(delivered, MMT).unchanged == 1
    delivered.compute()
    delivered.push()
    assert later(delivered)["status"] == "entered-in-error"


@pytest.mark.parametrize("faults", [Faults(), Faults(no_update_create=True)], ids=["our ids", "its ids"])
def test_a_result_that_is_there_twice_and_no_longer_produced_is_a_conflict(
    trial: Trial, faults: Faults
) -> None:
    trial.server.faults = faults
    trial.push()
    found = trial.outcome("CHG_CK")
    copy: dict[str, Any] = {**found, "meta": {"tag": found["meta"]["tag"]}}
    del copy["id"]
    assert httpx.post(f"{trial.server.url}/Observation", json=copy, headers=HEADERS).status_code == 201
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250, status="entered-in-error"))
    trial.pull()
    trial.compute()
    before = trial.server.versions
    assert len(trial.push(apply=False).conflicts) == 1
    with pytest.raises(Conflict, match="more than once"):
        trial.push()
    assert trial.server.versions == before
    delete(trial, f"Observation/{found['id']}")
    assert trial.push().retracted == 4
    assert trial.outcome("CHG_CK")["status"] == "entered-in-error"
