"""Copies of the trial behind wires, for commands that are killed, or whose server is."""

import shutil
from pathlib import Path
from uuid import uuid4

from fhir_msct import Study
from fhir_msct.client.rest import Client
from hapi import trial
from hapi.copies import Copy, archived
from hapi.doom import DoomedWire
from hapi.running import Hapi
from kill.nursery import Ended, Nursery
from kill.wire import Wire

TWO = ("msct-p02", "msct-p05")
BY_SEARCH = "[pull]\npage_size = 20\n"
BY_EXPORT = '[pull]\nhow = "export"\nstall_minutes = 1\n'


def study_of(prefix: str) -> str:
    """The id of the study of a copy."""
    return f"{prefix}-msct-demo"


def cared(folder: Path, prefix: str) -> dict[str, bytes]:
    """What an archive holds of the trial's own resources, and not of what was pushed meanwhile."""
    return {place: body for place, body in archived(folder).items() if f"/{prefix}-" in place}


def words(scene: str, folder: Path) -> tuple[object, ...]:
    """The command of a scene, after `fhir-msct`."""
    return ("push", folder, "--apply") if scene == "push" else ("pull", folder)


class Stage:
    """A copy of the trial behind a wire, and how each command goes when nobody disturbs it."""

    def __init__(self, home: Path, server: str, wire: Wire, nursery: Nursery) -> None:
        self.home, self.wire, self.nursery = home, wire, nursery
        self.prefix = f"k{uuid4().hex[:10]}"
        self.requests = dict[str, int]()
        self.copy = self._copy("search", BY_SEARCH)
        with Client(server) as client:
            trial.load(client, self.copy.bodies)
        self._copy("export", BY_EXPORT)
        for scene in ("search", "export"):
            shutil.copytree(home / scene, home / f"{scene}-done")
            self._counted(scene, home / f"{scene}-done")
        self.brought = cared(home / "search-done", self.prefix)
        self._counted("push", self.begin("push", home / "push-done"))

    def begin(self, scene: str, folder: Path) -> Path:
        """A fresh folder in which the command is to be run; results are those of a study of its own."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.home / ("search-done" if scene == "push" else scene), folder)
        self.wire.forget()
        if scene == "push":
            self.study = study_of(f"k{uuid4().hex[:10]}")
            path = folder / "study.toml"
            path.write_text(path.read_text("utf-8").replace(study_of(self.prefix), self.study), "utf-8")
            study = Study(folder)
            study.records()
            study.outcomes()
        return folder

    def run(self, scene: str, folder: Path) -> Ended:
        """The command, to its end."""
        return self.nursery.run(*words(scene, folder), folder=folder)

    def _copy(self, scene: str, settings: str) -> Copy:
        (self.home / scene).mkdir()
        return Copy(self.home / scene, self.wire.url, self.prefix, settings, patients=TWO)

    def _counted(self, scene: str, folder: Path) -> None:
        self.wire.forget()
        ended = self.run(scene, folder)
        assert ended.code == 0, ended.said
        self.requests[scene] = self.wire.requests


class Mortal:
    """A server of its own with its data in a file, and a wire to it for each of three commands."""

    def __init__(self, home: Path, server: Hapi, wires: dict[str, DoomedWire], nursery: Nursery) -> None:
        self.home, self.server, self.wires, self.nursery = home, server, wires, nursery
        self.prefix = f"m{uuid4().hex[:10]}"
        for scene, settings in (("search", BY_SEARCH), ("export", BY_EXPORT)):
            (home / scene).mkdir()
            copy = Copy(home / scene, wires[scene].url, self.prefix, settings, patients=TWO)
            if scene == "search":
                with Client(server.url) as client:
                    assert trial.load(client, copy.bodies) == len(copy.bodies)
        shutil.copytree(home / "search", home / "done")
        assert Study(home / "done").pull().complete
        self.brought = cared(home / "done", self.prefix)

    def begin(self, scene: str, folder: Path, study: str) -> Path:
        """A folder in which the command is to be run; results are those of the study that is named."""
        shutil.copytree(self.home / ("done" if scene == "push" else scene), folder)
        if scene == "push":
            path = folder / "study.toml"
            text = path.read_text("utf-8").replace(study_of(self.prefix), study)
            path.write_text(text.replace(self.wires["search"].url, self.wires["push"].url), "utf-8")
            Study(folder).records()
            Study(folder).outcomes()
        return folder

    def restart(self) -> None:
        """The server is there again, for all who ask."""
        self.server.start()
        for wire in self.wires.values():
            wire.spare()
            wire.towards(self.server.url)
