"""A cut of the synthetic trial on a server, the commands that are killed, and what must come of each."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from fhir_msct import data
from fhir_msct.archive.store import Archive
from fhir_msct.client.keys import make
from fhir_msct.sandbox.faults import Faults
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.sandbox.smart import Registration, Smart
from fhir_msct.tasks.stage import RUN
from kill.nursery import Ended, Nursery
from kill.wire import Wire

PATIENT, OBSERVATIONS = "msct-p02", 40
TYPES = ("Patient", "Observation", "Procedure", "MedicationAdministration", "Condition")
ENTERED = (
    "usubjid,paramcd,adtc,value,unit,side,entered_by,entered_at,source_doc\n"
    f"{PATIENT},MMT8,2022-06-01,66,{{score}},right,Dr Example,2022-06-02,worksheet 12\n"
    f"{PATIENT},PTGVAS,2022-06-01,21,mm,,Dr Example,2022-06-02,worksheet 12\n"
)
PLAN = """
[study]
id = "kill"
timezone = "Asia/Shanghai"
data_cut = 2024-06-30
[server]
url = "{url}"
[push]
url = "{url}"
same_as_source = true
[cohort]
patients = ["{patient}"]
[pull]
page_size = 10
"""
SMART = """auth = "smart"
client_id = "kill"
key_file = "{key}"
"""
EXPORT = """how = "export"
"""
GROUP = b'{"resourceType":"Group","id":"trial","member":[{"entity":{"reference":"Patient/%b"}}]}'


def resources() -> list[bytes]:
    """Everything of one patient but most of the laboratory."""
    found: list[bytes] = []
    for type_ in TYPES:
        lines = (data.fixtures() / "resources" / f"{type_}.ndjson").read_bytes().splitlines()
        mine = [line for line in lines if b'Patient/%b"' % PATIENT.encode() in line or type_ == "Patient"]
        wanted = [line for line in mine if _is_wanted(line, type_)]
        found += wanted[:: max(1, len(wanted) // OBSERVATIONS)] if type_ == "Observation" else wanted
    return found


def _is_wanted(line: bytes, type_: str) -> bool:
    tree = json.loads(line)
    return type_ != "Patient" or tree["id"] == PATIENT


def changed() -> Iterator[bytes]:
    """A later version of some Observations."""
    for line in [line for line in resources() if b'"Observation"' in line][::4]:
        tree = json.loads(line)
        tree["meta"] |= {"versionId": "2", "lastUpdated": "2024-11-01T00:00:00.000+00:00"}
        yield json.dumps(tree | {"status": "amended"}).encode()


class Scene(Struct, frozen=True):
    """One command: the state it starts from, its words after `fhir-msct`, and what is compared afterwards."""

    name: str
    start: str
    words: tuple[str, ...]
    stage: str = ""
    """The folder whose files must be byte for byte the same."""
    writes: bool = False
    """Whether it writes to the server."""
    does: tuple[str, ...] = ("sql", "file")
    """What it does that can be counted: statements, changes of files, requests."""
    smart: bool = False
    """Whether its server demands tokens."""
    again: tuple[int, ...] = (0,)
    """How it may end when it is run again."""
    strides: tuple[int, int] = (1, 9)
    """In `make test` one of so many changes of a file fails, and the disk grows by so many pages; 0: none."""


SCENES = (
    Scene("pull", "empty", ("pull", "{folder}"), does=("sql", "file", "request")),
    Scene("pull --from", "empty", ("pull", "{folder}", "--from", "{export}")),
    Scene("pull again", "pulled", ("pull", "{folder}"), does=("sql", "request")),
    Scene("load", "pulled", ("load", "{folder}", "{export}/../entered.csv")),
    Scene("records", "computed", ("records", "{folder}"), stage="records"),
    Scene("outcomes", "computed", ("outcomes", "{folder}"), stage="outcomes", does=("file",)),
    Scene("push", "computed", ("push", "{folder}", "--apply"), writes=True, does=("sql", "request")),
    Scene("export", "export", ("pull", "{folder}"), does=("sql", "file", "request"), strides=(14, 40)),
    Scene("smart", "smart", ("pull", "{folder}"), does=("sql", "request"), smart=True, strides=(0, 0)),
    Scene(
        "run",
        "export",
        ("run", "{folder}"),
        stage="outcomes",
        does=("sql", "file", "request"),
        strides=(0, 0),
    ),
    Scene("report", "computed", ("report", "{folder}"), stage=".", does=("file",)),
    Scene("keys", "empty", ("keys", "{folder}"), does=("file",), again=(0, 3)),
)


class Theatre:
    """The server, the wire to it, the nursery, and the states that scenes start from. A context manager."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ends: dict[str, tuple[Any, Ended, int]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            key = make(_home(self.home) / "key", "ES384")
            smart = Smart({"kill": Registration(key.jwks)})
            servers = [closing.enter_context(Sandbox(page_cap=10, smart=one)) for one in (None, smart)]
            self._places = [(one, closing.enter_context(Wire(one.url))) for one in servers]
            self.server, self.wire = self._places[0]
            self.nursery = closing.enter_context(Nursery())
            self._prepare()
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _prepare(self) -> None:
        """The states: an empty study, one that was pulled, one that was computed, with values entered."""
        empty, export = self.home / "empty", self.home / "export"
        empty.mkdir()
        export.mkdir()
        (self.home / "entered.csv").write_text(ENTERED, encoding="utf-8")
        plain = PLAN.format(url=self.wire.url, patient=PATIENT)
        by_export = plain.replace(f'patients = ["{PATIENT}"]', 'group = "trial"') + EXPORT
        by_smart = PLAN.format(url=self._places[1][1].url, patient=PATIENT)
        by_smart = by_smart.replace("[push]", SMART.format(key=self.home / "key") + "[push]")
        (empty / "study.toml").write_text(plain, encoding="utf-8")
        for name, text in (("export", by_export), ("smart", by_smart)):
            (self.home / f"by {name}").mkdir()
            (self.home / f"by {name}" / "study.toml").write_text(text, encoding="utf-8")
        for type_ in TYPES:
            mine = [line for line in resources() if json.loads(line)["resourceType"] == type_]
            text = b"\n".join(mine) + b"\n"
            (export / f"{type_}.ndjson").write_bytes(text)
            (export / f"{type_}-1.json").write_bytes(mine[0])
        self.reset(SCENES[0])
        pulled, computed = self.home / "pulled", self.home / "computed"
        shutil.copytree(empty, pulled)
        self.well("pull", pulled)
        shutil.copytree(pulled, computed)
        self.well("load", computed, self.home / "entered.csv")
        self.well("records", computed)
        self.well("outcomes", computed)

    def well(self, *words: object, codes: tuple[int, ...] = (0,)) -> Ended:
        """Runs a command that has to end well."""
        folder = next(Path(word) for word in words[1:] if isinstance(word, Path))
        ended = self.nursery.run(*words, folder=folder)
        assert ended.code in codes, ended.said
        return ended

    def reset(self, scene: Scene) -> None:
        """The server as it is when the scene begins, and nobody to be struck."""
        self.server, self.wire = self._places[scene.smart]
        self.server.clear()
        self.server.load([*resources(), GROUP % PATIENT.encode()])
        self.server.faults = Faults(export_polls=0)  # where it is not done yet, seconds are waited
        if scene.name == "pull again":
            self.server.load(changed())
        self.wire.forget()

    def begin(self, scene: Scene, folder: Path) -> list[object]:
        """A fresh folder in the state that the scene starts from; the words of its command."""
        shutil.rmtree(folder, ignore_errors=True)
        by = self.home / f"by {scene.start}"
        shutil.copytree(by if by.is_dir() else self.home / scene.start, folder)
        self.reset(scene)
        export = self.home / "export"
        return [
            Path(word.format(folder=folder, export=export)) if "{" in word else word for word in scene.words
        ]

    def undisturbed(self, scene: Scene) -> tuple[Any, Ended, int]:
        """What comes of a scene that nobody disturbs, how it ended, and the requests it sent."""
        if scene.name not in self.ends:
            folder = self.home / "undisturbed"
            ended = self.well(*self.begin(scene, folder))
            self.ends[scene.name] = (self.outcome(scene, folder), ended, self.wire.requests)
        return self.ends[scene.name]

    def outcome(self, scene: Scene, folder: Path) -> Any:
        """All that must be the same, whatever happened on the way."""
        stage = folder / scene.stage
        if scene.name == "keys":
            return self._keys(folder)
        return {
            "archive": held(folder),
            "files": {
                path.name: path.read_bytes()
                for path in sorted(stage.iterdir())
                if scene.stage and path.is_file() and path.name != RUN
            },
            "server": on_server(self.server) if scene.writes else None,
            "left over": sorted(path.name for path in folder.iterdir() if path.name.startswith(".")),
            "adopted": len(list((folder / "archive" / "files").glob("*"))),
            "fetched": sorted(path.name for path in (folder / "archive" / "bulk").glob("*")),
        }

    def _keys(self, folder: Path) -> Any:
        """A whole key that nobody else may read, and nothing beside it."""
        shown = json.loads(self.well("keys", folder, "--show").said)
        modes = {
            path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != "study.toml"
        }
        return modes, [sorted(one) for one in shown["keys"]]


def held(folder: Path) -> list[tuple[Any, ...]]:
    """The archive's current resources, byte for byte."""
    with Archive.open(folder) as archive:
        return [
            (one.type, one.id, one.version, one.lastupdated, one.body, one.same_id)
            for type_ in archive.types()
            for one in archive.current(type_)
        ]


def on_server(server: Sandbox) -> list[str]:
    """Every resource that the server holds, its version among it; times of writing are left out."""
    types = (*TYPES, "Provenance", "Device", "ResearchStudy")
    found = [body.decode() for type_ in types for body in server.dump(type_)]
    return [
        f"{server.versions} versions",
        *(re.sub(r'"(lastUpdated|recorded)":"[^"]*",?', "", one) for one in found),
    ]


def _home(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


Strike = Callable[[], None]
