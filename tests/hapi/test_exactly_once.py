"""On a real HAPI each result is there once and each pull brings everything, whoever dies or writes meanwhile.

The seed of all that is chance is in the name of each test.
"""

import contextlib
import json
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fhir_msct import Study
from fhir_msct.client.retry import Patience
from fhir_msct.mapping.library import Mapping
from fhir_msct.tasks.pull import pull
from hapi.copies import Copy
from hapi.doom import DEATHS, Doom, DoomedWire
from hapi.ground import FHIR, Ground
from hapi.pushed import Pushed, entries, states, transactions
from hapi.running import Hapi
from hapi.stage import BY_SEARCH, TWO, Mortal, Stage, cared, study_of, words
from kill.nursery import Nursery
from kill.wire import MOMENTS, Wire

KILLS, SOAKED_KILLS = 2, 22
RESTARTS = 21


def command(*words: object) -> "subprocess.Popen[str]":
    """A command in a process of its own."""
    line = [sys.executable, "-m", "fhir_msct", *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def computed(hapi: str, tmp_path: Path) -> Copy:
    """Two patients of the trial on the server, pulled and computed, and nothing pushed."""
    return prepared(tmp_path / "computed", hapi, f"o{uuid4().hex[:10]}")


def prepared(folder: Path, url: str, prefix: str) -> Copy:
    folder.mkdir()
    copy = Copy(folder, url, prefix, BY_SEARCH, patients=TWO)
    copy.load()
    assert copy.study.pull().complete
    copy.compute()
    return copy


# --- several at once -----------------------------------------------------------------------------------


def test_eight_who_push_one_study_at_once_leave_one_copy_of_each_result(
    computed: Copy, tmp_path: Path
) -> None:
    folders = [tmp_path / f"pusher-{number}" for number in range(8)]
    for folder in folders:
        shutil.copytree(computed.folder, folder)
    running = [command("push", folder, "--apply") for folder in folders]
    said = [one.communicate()[0] for one in running]
    codes = [one.returncode for one in running]
    assert set(codes) <= {0, 5}, said  # done, or to be run again
    assert 0 in codes, said
    for folder, code in zip(folders, codes, strict=True):
        if code:
            assert Study(folder).push(apply=True).read_back_equal
    found = Pushed(computed.url, study_of(computed.prefix))
    assert found.once, (found.versions, found.explained)
    assert len(found.results) > 20
    written = sum(int(number) for text in said for number in re.findall(r"(\d+) written", text))
    assert any(codes) or written == len(found.versions) - len(found.provenances)
    for folder in folders:
        report = Study(folder).push(apply=True)
        assert (report.written, report.ids) == (0, ())
        assert set(states(folder, computed.url)) == {"APPLIED"}
    assert Pushed(computed.url, study_of(computed.prefix)).versions == found.versions


class Writer(threading.Thread):
    """Somebody who changes our results, each time on top of the version that was read."""

    def __init__(self, url: str, places: list[str], seed: int, begun: threading.Barrier) -> None:
        super().__init__()
        self.url, self.places, self.chance, self.begun = url, places, random.Random(seed), begun
        self.notes: list[str] = []
        """What was acknowledged."""

    def run(self) -> None:
        with Ground(self.url) as ground:
            for turn in range(12):
                self.write(ground, self.chance.choice(self.places), f"note {self.chance.random()}")
                if turn == 1:
                    self.begun.wait(60)

    def write(self, ground: Ground, place: str, note: str) -> None:
        tree = ground.get(place).json()
        changed = json.dumps(tree | {"note": [{"text": note}]}).encode()
        match = {"If-Match": f'W/"{tree["meta"]["versionId"]}"'}
        if ground.http.put(f"{self.url}/{place}", content=changed, headers=FHIR | match).is_success:
            self.notes.append(note)


def test_while_ten_others_change_our_results_a_push_overwrites_only_what_it_has_read(
    computed: Copy, hapi: str
) -> None:
    first = computed.push()
    places = [place for place in first.ids if place.startswith("Observation/")]
    begun = threading.Barrier(11)
    writers = [Writer(hapi, places[:12], seed, begun) for seed in range(10)]
    for one in writers:
        one.start()
    begun.wait(60)
    ours = command("push", computed.folder, "--apply")
    said = ours.communicate()[0]
    for one in writers:
        one.join()
    assert ours.returncode in (0, 5), said
    assert computed.push().read_back_equal
    found = Pushed(hapi, study_of(computed.prefix))
    assert [place for place in places if "note" in found.trees[place]] == []
    assert set(entries(computed.folder, hapi)) >= set(places)
    assert set(states(computed.folder, hapi)) == {"APPLIED"}
    histories = {place: history(hapi, place) for place in places[:12]}
    notes = [tree["note"][0]["text"] for trees in histories.values() for tree in trees if "note" in tree]
    assert sorted(notes) == sorted(note for one in writers for note in one.notes)  # none of theirs is lost
    assert len(notes) >= 20
    for place, trees in histories.items():
        ours_of = [int(tree["meta"]["versionId"]) for tree in trees if "note" not in tree]
        assert [number - 1 for number in sorted(ours_of) if number > 1] == replaced(found, place)
    assert computed.push().written == 0


def history(url: str, place: str) -> list[Any]:
    """Every version of a resource."""
    with Ground(url) as ground:
        told = ground.get(f"{place}/_history", {"_count": "500"}).json()
    assert len(told["entry"]) == told["total"]
    return [entry["resource"] for entry in told["entry"]]


def replaced(found: Pushed, place: str) -> list[int]:
    """The versions of a result that our Provenances say we have replaced."""
    what = [
        entity["what"]["extension"][0]["valueString"]
        for tree in found.provenances
        for entity in tree["entity"]
        if entity["role"] == "revision"
    ]
    return sorted(int(text.rpartition("/")[2]) for text in what if text.startswith(f"{place}/_history/"))


# --- we are killed -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as one:
        yield one


@pytest.fixture(scope="module")
def stage(hapi: str, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Wire(hapi) as wire:
        yield Stage(tmp_path_factory.mktemp("stage"), hapi, wire, nursery)


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["search", "export", "push"])
@pytest.mark.parametrize(
    "seed",
    [*range(KILLS), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(KILLS, SOAKED_KILLS))],
)
def test_a_pull_or_push_of_ours_that_is_killed_goes_on_and_nothing_is_lost_or_doubled(
    stage: Stage, tmp_path: Path, scene: str, seed: int
) -> None:
    folder = killed(stage, scene, tmp_path / "study", random.Random(f"{scene} {seed}"))
    sound(stage.nursery, folder)
    stage.wire.forget()
    ended = stage.run(scene, folder)
    assert ended.code == 0, ended.said
    sound(stage.nursery, folder)
    if scene != "push":
        assert cared(folder, stage.prefix) == stage.brought
        return
    found = Pushed(stage.wire.url, stage.study)
    assert found.once, (found.versions, found.explained)
    assert set(entries(folder, stage.wire.url)) == set(found.versions)
    assert set(states(folder, stage.wire.url)) == {"APPLIED"}
    assert Study(folder).push(apply=True).written == 0


def killed(stage: Stage, scene: str, folder: Path, chance: random.Random) -> Path:
    """A folder in which the command was killed at one of its requests."""
    for _ in range(10):
        stage.begin(scene, folder)
        at = 1 + int(chance.random() * stage.requests[scene])
        stage.wire.strike(at, chance.choice(MOMENTS), stage.nursery.kill)
        if stage.run(scene, folder).killed:
            return folder
    pytest.fail(f"{scene} came to its end each time")


def sound(nursery: Nursery, folder: Path) -> None:
    """Whatever is in the archive is sound; a command that was killed at its first word has made none."""
    ended = nursery.run("verify", folder, folder=folder)
    assert ended.code == 0 or (ended.code == 3 and "holds no archive" in ended.said), ended


# --- the server is killed ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal(hapi: str, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    home = tmp_path_factory.mktemp("mortal")
    server = Hapi(log=home / "hapi.log", settings={"HAPI_DB": str(home / "h2")})
    with ExitStack() as closing:
        closing.callback(server.stop, grace=0)
        server.start()
        wires = {
            scene: closing.enter_context(DoomedWire(server.url)) for scene in ("search", "export", "push")
        }
        yield Mortal(home, server, wires, nursery)


def places(chance: random.Random) -> dict[str, tuple[str, int]]:
    """Which request of each command is the one: part of its method and address, and which of them."""
    return {
        "search": chance.choice([("/Observation?", 2), ("_getpages", 1), ("_getpages", 4), ("_summary", 3)]),
        "export": chance.choice([("/$export?", 1), ("$export-poll", 1), ("/Binary/", 1), ("/Binary/", 3)]),
        "push": ("POST /fhir ", chance.choice([1, 2, 2])),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, RESTARTS))]
)
def test_a_server_that_is_killed_amid_pull_export_and_push_is_gone_on_with_and_nothing_is_lost_or_doubled(
    mortal: Mortal, tmp_path: Path, seed: int
) -> None:
    chance, study = random.Random(seed), study_of(f"m{uuid4().hex[:10]}")
    folders = {scene: mortal.begin(scene, tmp_path / scene, study) for scene in mortal.wires}
    doom = Doom(mortal.server, len(folders), chance.random() * 0.15)
    for number, (scene, where) in enumerate(places(chance).items()):
        mortal.wires[scene].dooms(doom, DEATHS[(seed + number + 1) % 3], *where)
    running = {scene: command(*words(scene, folder)) for scene, folder in folders.items()}
    assert doom.dead.wait(180)
    mortal.restart()
    said = {scene: one.communicate()[0] for scene, one in running.items()}
    assert {one.returncode for one in running.values()} <= {0, 5}, said
    as_the_ledger_says(folders["push"], mortal.wires["push"].url)
    for scene in ("search", "push"):
        again = mortal.nursery.run(*words(scene, folders[scene]), folder=folders[scene])
        assert again.code == 0, again.said
    exported(folders["export"])
    for folder in folders.values():
        sound(mortal.nursery, folder)
    for scene in ("search", "export"):
        assert cared(folders[scene], mortal.prefix) == mortal.brought
    found = Pushed(mortal.server.url, study)
    assert found.once, (found.versions, found.explained)
    assert set(entries(folders["push"], mortal.wires["push"].url)) == set(found.versions)
    assert set(states(folders["push"], mortal.wires["push"].url)) == {"APPLIED"}
    assert Study(folders["push"]).push(apply=True).written == 0
    assert Pushed(mortal.server.url, study).versions == found.versions


def as_the_ledger_says(folder: Path, url: str) -> None:
    """What was acknowledged is there, and what was sent together is there together or not at all."""
    with contextlib.closing(Ground(url).http) as http:
        there = {place: http.get(f"{url}/{place}") for place in entries(folder, url)}
    for place, one in entries(folder, url).items():
        if one.state == "APPLIED":
            assert there[place].json()["meta"]["versionId"] == one.version
    for together in transactions(folder):
        assert len({there[place].status_code for place in together}) == 1


def exported(folder: Path) -> None:
    """The export pulled to its end; a minute without progress passes in three seconds."""
    plan = Study(folder).plan
    hurried = Patience(clock=lambda: time.monotonic() * 20)
    wanted = Mapping.load(folder, plan).wanted()
    report = pull(folder, plan, wanted, patience=hurried, say=lambda line: None)
    assert report.complete, report.problems
