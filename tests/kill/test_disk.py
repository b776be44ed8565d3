"""A disk that is full at any moment: one clear message, exit code 5, a sound archive, and going on later.

Three ways in which a disk is full, each real for whoever writes: no file may grow beyond a size (the kernel
says so), the database may not (SQLite says so), and the n-th change of a file fails (Python says so).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kill.nursery import Ended
from kill.test_kill import sound
from kill.trial import SCENES, Scene, Theatre

FULL = 5
PAGE = 16 * 1024
SOAK = pytest.mark.soak


def strides(which: int) -> list[Any]:
    """Scenes, and by how many moments or pages to go on from one try to the next; in `make soak` by one."""
    tested = [(one, one.strides[which], ()) for one in SCENES if one.strides[which]]
    soaked = [(one, 1, (SOAK,)) for one in SCENES if one.strides[which] != 1]
    return [pytest.param(one, by, id=f"{one.name}-by {by}", marks=mark) for one, by, mark in tested + soaked]


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Theatre(tmp_path_factory.mktemp("theatre") / "home") as one:
        yield one


def survives(theatre: Theatre, scene: Scene, folder: Path, expected: Any, **trouble: int) -> Ended:
    """One message and its code, nothing is damaged, and it goes on when there is room."""
    words = theatre.begin(scene, folder)
    ended = theatre.nursery.run(*words, folder=folder, **trouble)  # type: ignore[arg-type]
    if ended.code:
        assert ended.code == FULL, (trouble, ended)
        last = ended.said.splitlines()[-1]
        assert last.startswith("fhir-msct: "), (trouble, ended)
        assert "a defect" not in last, (trouble, ended)
        assert "Traceback" not in ended.said, (trouble, ended)
        sound(theatre, folder)
        theatre.well(*words, codes=scene.again)
    sound(theatre, folder)
    assert theatre.outcome(scene, folder) == expected, trouble
    return ended


@pytest.mark.slow
@pytest.mark.parametrize(("scene", "step"), strides(0))
def test_every_change_of_a_file_may_be_the_one_for_which_there_is_no_room(
    theatre: Theatre, tmp_path: Path, scene: Scene, step: int
) -> None:
    expected, whole, _ = theatre.undisturbed(scene)
    failed = 0
    for number in range(1, whole.counts["file"] + 1, step):
        failed += survives(theatre, scene, tmp_path / "study", expected, fail=number).code == FULL
    assert failed > 0 or not whole.counts["file"]


@pytest.mark.slow
@pytest.mark.parametrize(("scene", "step"), strides(1))
def test_every_page_may_be_the_first_that_does_not_fit_on_the_disk(
    theatre: Theatre, tmp_path: Path, scene: Scene, step: int
) -> None:
    expected, _, _ = theatre.undisturbed(scene)
    failed = 0
    for pages in range(0, 400, step):
        ended = survives(theatre, scene, tmp_path / "study", expected, limit=pages * PAGE)
        failed += ended.code == FULL
        if not ended.code:
            break
    else:
        pytest.fail("the disk was never large enough")
    assert failed > 0


@pytest.mark.slow
@pytest.mark.parametrize("step", [9, pytest.param(1, marks=SOAK)])
@pytest.mark.parametrize("scene", [SCENES[0], SCENES[1]], ids=lambda scene: scene.name)
def test_a_database_that_may_not_grow_says_so_and_grows_later(
    theatre: Theatre, tmp_path: Path, scene: Scene, step: int
) -> None:
    expected, _, _ = theatre.undisturbed(scene)
    failed = 0
    for pages in range(1, 400, step):
        ended = survives(theatre, scene, tmp_path / "study", expected, pages=pages)
        failed += ended.code == FULL
        if not ended.code:
            break
    assert failed > 0
