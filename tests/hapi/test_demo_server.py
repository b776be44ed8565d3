"""A demo on a real HAPI beside others' resources: nothing is left of it, and nothing of theirs is touched."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_msct.archive.guest_book import GuestBook
from fhir_msct.client.marking import RUNS
from fhir_msct.errors import Conflict
from fhir_msct.tasks.clearing import clear
from fhir_msct.tasks.guest import Told, guest_demo
from fhir_msct.tasks.push import WRITTEN
from guest.house import Dying, enrolled, trial
from hapi.ground import FRESH, Ground, place
from hapi.test_ids_of_the_server import Choosing
from lib.virtual_time import VirtualTime
from push.wires import Killed


def nobody_asks(host: str) -> None:
    """A server on this machine needs no confirmation."""
    raise AssertionError(host)


class Stay:
    """One demo of one patient on HAPI, beside three resources of somebody else."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self.ground, self.folder = ground, folder
        self.theirs = [ground.patient(), ground.observation("o"), ground.patient("msct-p01")]
        ground.put(*self.theirs)
        self.before = self.read(self.theirs)
        self.told: Told = guest_demo(
            folder,
            ground.url,
            bodies=enrolled("msct-p01"),
            confirm=nobody_asks,
            say=lambda _: None,
        )
        with GuestBook.open(folder) as book:
            self.run, self.places = book.run, [f"{row.type}/{row.id}" for row in book.rows()]

    def read(self, trees: list[dict[str, Any]]) -> list[bytes]:
        """Each as HAPI holds it, byte for byte."""
        return [self.ground.get(place(tree)).content for tree in trees]

    def tagged(self) -> int:
        """How many Observations and Provenances carry the run's tag, as HAPI counts them now."""
        asked = {"_tag": f"{RUNS}|{self.run}", "_summary": "count"}
        counts = [self.ground.get(type_, asked, **FRESH).json() for type_ in ("Observation", "Provenance")]
        return sum(int(one["total"]) for one in counts)

    def clean(self) -> Any:
        patience = VirtualTime().patience()
        return clear(self.folder, confirm=nobody_asks, patience=patience, say=lambda _: None)


@pytest.fixture(scope="module")
def stay(hapi: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stay]:
    with Ground(hapi) as ground:
        yield Stay(ground, tmp_path_factory.mktemp("stay") / "study")


def test_the_story_is_told_and_everything_carries_the_tag(stay: Stay) -> None:
    assert stay.told.complete
    assert "read back equal; again: 0 written" in " ".join(stay.told.screen.split())
    assert {one.partition("/")[0] for one in stay.places} >= {"Group", "Patient", "ResearchSubject", *WRITTEN}
    assert all(one.partition("/")[2].startswith(f"{stay.run}-") for one in stay.places)
    counted = [one for one in stay.places if one.startswith(("Observation", "Provenance"))]
    assert stay.tagged() == len(counted) > 50


def test_it_goes_whole_but_for_what_others_refer_to_and_then_whole(stay: Stay) -> None:
    """In one test, as each step needs the one before it."""
    ground, patient = stay.ground, f"Patient/{stay.run}-msct-p01"
    referring = ground.observation("referring", subject={"reference": patient})
    ground.put(referring)
    ground.get("Patient", {"_tag": f"{RUNS}|{stay.run}"})  # from now on answered from the cache
    with pytest.raises(Conflict, match=patient):
        stay.clean()
    there = [one for one in stay.places if ground.get(one, **FRESH).status_code == 200]
    assert there == [patient]
    assert stay.read(stay.theirs) == stay.before
    assert json.loads(ground.get(place(referring)).content)["subject"]["reference"] == patient
    ground.delete(referring)
    report = stay.clean()
    assert (report.deleted, report.proved) == (1, len(stay.places))
    assert {ground.get(one, **FRESH).status_code for one in stay.places} == {410}
    assert stay.tagged() == 0
    assert stay.read(stay.theirs) == stay.before


@pytest.mark.parametrize("arrives", [False, True])
def test_a_demo_that_died_while_it_was_loaded_goes_whole(
    ground: Ground, tmp_path: Path, arrives: bool
) -> None:
    folder, patience = tmp_path / "study", VirtualTime().patience()
    with pytest.raises(Killed):
        guest_demo(
            folder,
            ground.url,
            bodies=enrolled("msct-p01"),
            confirm=nobody_asks,
            transport=Dying(3, arrives=arrives),
            say=lambda _: None,
        )
    with GuestBook.open(folder) as book:
        places = [f"{row.type}/{row.id}" for row in book.rows()]
    there = [one for one in places if ground.get(one, **FRESH).status_code == 200]
    assert there and (len(there) == len(places)) == arrives
    report = clear(folder, confirm=nobody_asks, patience=patience, say=lambda _: None)
    assert (report.deleted, report.proved) == (len(there), len(places))
    assert {ground.get(one, **FRESH).status_code for one in there} == {410}


@pytest.mark.soak
def test_where_hapi_chooses_the_ids_the_results_are_written_and_read_back_and_all_of_it_goes(
    ground: Ground, tmp_path: Path
) -> None:
    folder, patience = tmp_path / "study", VirtualTime().patience()
    with Choosing() as wire:
        told = guest_demo(
            folder,
            ground.url,
            bodies=trial("msct-p01"),
            confirm=nobody_asks,
            transport=wire,
            say=lambda _: None,
        )
        assert re.search(r"[1-9]\d* resources written to \S+; read back equal; again: 0 written", told.screen)
        report = clear(folder, confirm=nobody_asks, transport=wire, patience=patience, say=lambda _: None)
    with GuestBook.open(folder) as book:  # by now it knows what became of each result
        places = [f"{row.type}/{row.id}" for row in book.rows()]
    assert all(one.partition("/")[2].isdecimal() for one in places)
    assert report.deleted == report.proved == len(places) > 100
    assert {ground.get(one, **FRESH).status_code for one in places} == {410}


def test_hapi_deletes_whatever_version_if_match_names(ground: Ground) -> None:
    """So a resource is read again right before it is deleted, and not long before."""
    tree = ground.patient()
    ground.put(tree)
    ground.put({**tree, "active": True})
    answer = ground.http.delete(f"{ground.url}/{place(tree)}", headers={"If-Match": 'W/"1"'})
    assert answer.status_code == 200
    assert ground.get(place(tree)).status_code == 410
