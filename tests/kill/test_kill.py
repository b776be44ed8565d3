"""A command that is killed, anywhere, and run again to its end leaves what an undisturbed one leaves.

Each case names the moment: which statement of SQL, which change of a file, which request and how far it
came, or how much of the time. The number in its name is the seed of all that is chance.
"""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kill.nursery import Ended
from kill.trial import SCENES, Scene, Theatre
from kill.wire import MOMENTS

KILLS, SOAKED = 200, 1000
WEIGHTS = {
    "pull": 7,
    "pull --from": 4,
    "pull again": 5,
    "export": 7,
    "smart": 4,
    "load": 4,
    "records": 4,
    "outcomes": 3,
    "report": 2,
    "run": 1,
    "push": 7,
    "keys": 2,
}
"""How often each scene is played in fifty kills."""
POINTS = ("sql", "request", "file", "sql", "time", "request", "twice", "file")


def cases(first: int, last: int) -> Iterator[object]:
    """Scene, point and seed of each kill."""
    scenes = [scene for scene in SCENES for _ in range(WEIGHTS[scene.name])]
    for seed in range(first, last):
        scene = scenes[seed % len(scenes)]
        points = [point for point in POINTS if point in (*scene.does, "time", "twice")]
        point = points[(seed // len(scenes) + seed) % len(points)]
        marks = () if last <= KILLS else (pytest.mark.soak,)
        yield pytest.param(scene, point, seed, id=f"{scene.name}-{point}-{seed}", marks=marks)


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Theatre(tmp_path_factory.mktemp("theatre") / "home") as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize(("scene", "point", "seed"), [*cases(0, KILLS), *cases(KILLS, SOAKED)])
def test_a_killed_command_goes_on_as_if_nothing_had_been(
    theatre: Theatre, tmp_path: Path, scene: Scene, point: str, seed: int
) -> None:
    expected, _, _ = theatre.undisturbed(scene)
    folder, chance = tmp_path / "study", random.Random(seed)
    words = theatre.begin(scene, folder)
    killed(theatre, scene, words, folder, point, chance)
    if point == "twice":
        theatre.nursery.run(*words, folder=folder, after=chance.random() * 0.1)
    sound(theatre, folder)
    theatre.wire.forget()
    theatre.well(*words, codes=scene.again)
    sound(theatre, folder)
    assert theatre.outcome(scene, folder) == expected


def killed(
    theatre: Theatre, scene: Scene, words: list[object], folder: Path, point: str, chance: random.Random
) -> None:
    """Runs the command and kills it at a point; sooner, where it came to its end before that."""
    _, whole, requests = theatre.undisturbed(scene)
    share = chance.random()
    for _ in range(40):
        if struck(theatre, words, folder, point, share, whole, requests, chance).killed:
            return
        share *= 0.8
        theatre.begin(scene, folder)
    pytest.fail(f"{scene.name} came to its end before every {point}")


def struck(
    theatre: Theatre,
    words: list[object],
    folder: Path,
    point: str,
    share: float,
    whole: Ended,
    requests: int,
    chance: random.Random,
) -> Ended:
    if point == "request":
        at, moment = 1 + int(share * requests), chance.choice(MOMENTS)
        theatre.wire.strike(at, moment, theatre.nursery.kill)
        return theatre.nursery.run(*words, folder=folder)
    if point in whole.counts:
        return theatre.nursery.run(*words, folder=folder, die=(point, 1 + int(share * whole.counts[point])))
    return theatre.nursery.run(*words, folder=folder, after=share * whole.seconds)


def sound(theatre: Theatre, folder: Path) -> None:
    """Whatever is in the archive is sound; killed before anything was in it, there is none."""
    ended = theatre.nursery.run("verify", folder, folder=folder)
    assert ended.code in ((0,) if begun(folder) else (0, 3)), ended
    assert (ended.code == 3) == ("holds no archive" in ended.said), ended


def begun(folder: Path) -> bool:
    """Whether a pull has ever begun, as SQLite tells it."""
    path = folder / "archive" / "archive.sqlite"
    if not path.is_file():
        return False
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_schema")}
        return "run" in tables and connection.execute("select count(*) from run").fetchone()[0] > 0
