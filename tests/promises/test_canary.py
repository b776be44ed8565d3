"""Nothing of a patient and no secret gets out of the places that are meant to hold it, whatever goes wrong.

Canaries in every name, identifier, address, note, measured value and secret are looked for in all that the
commands say and log, at any level, and in every file they leave, but these: they are the data.

What a patient goes by on the server (the id, which is a subject's `usubjid`) says where to look. It may be
named where somebody has to look for it: in the first screen and the plan of a push, which list subjects,
in what a pull says of its windows, and as `Patient/id` in a message. In the request log and in run.json it
may not, nor in any temporary file.
"""

import base64
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fhir_msct.sandbox.faults import Faults
from fhir_msct.sandbox.server import Sandbox
from kill.nursery import LISTENING, Ended, Nursery
from promises.canaries import CANARY, DIGITS, LOGGED, PEOPLE, PERSON, SECRET, person, trial

TOKEN = f"{CANARY}SECRET~+/="
MEANT = (
    r"archive/archive\.sqlite(-wal|-shm)?",
    r"archive/files/\d+\.ndjson",
    r"(records|outcomes)/\w+\.(csv|parquet)",
    r"report\.html",
)
"""The files of a study folder that hold its data; every other one is searched."""

FAULTS = {
    "a status": Faults(status_once={"GET /fhir/Observation": (500, 429, 503)}),
    "no longer let in": Faults(status_once={"GET /fhir/Procedure": (401,) * 9}),
    "a login page": Faults(html_login=True, where="Observation"),
    "a body cut quietly": Faults(cut_body="quiet", where="Observation", times=2),
    "a body cut loudly": Faults(cut_body="loud", where="Observation", times=2),
    "an answer lost": Faults(lose_answer=True, where="Condition", times=2),
    "pages gone": Faults(page_gone_after=1, times=1),
    "pages that are always gone": Faults(page_gone_after=1),
    "a parameter ignored": Faults(ignore=("patient", "subject")),
    "no total": Faults(drop_total=True),
    "a wrong total": Faults(wrong_total=7, where="Condition"),
    "no next": Faults(drop_next=True),
    "the same next": Faults(next_to_self=True),
    "a foreign next": Faults(next_host="elsewhere.example:80"),
    "entries twice": Faults(repeat_entries=True),
    "entries missing": Faults(drop_entries=1),
    "an outcome among them": Faults(outcome_entry=True),
    "bare entries": Faults(bare_entries=True),
}
HEAD = "usubjid,paramcd,adtc,value,unit,side,entered_by,entered_at,source_doc\n"
ROW = f"{person('msct-p04')},CK,2022-06-01,166{DIGITS}77777,U/L,,{CANARY}by,2022-06-02,{CANARY}doc\n"
SERVER = """
[server]
url = "{url}"
auth = "bearer"
token_file = "{token}"
[push]
url = "{url}"
same_as_source = true
[pull]
page_size = 50
"""
STUDY = '[study]\nid = "canary"\ntimezone = "Asia/Shanghai"\ndata_cut = 2024-06-30\n'
ONE = f'[cohort]\npatients = ["{person("msct-p03")}"]\n'
FEW = f'[cohort]\npatients = ["{person("msct-p02")}", "{person("msct-p03")}"]\n'


class Watched:
    """Runs commands, and keeps what was said; nothing said may hold a canary. A context manager."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.temp = home, home / "tmp"
        self.temp.mkdir()
        for name in ("TMPDIR", "TEMP", "TMP"):
            patch.setenv(name, str(self.temp))

    def __enter__(self) -> "Watched":
        with ExitStack() as closing_:
            self.server = closing_.enter_context(Sandbox(token=TOKEN))
            self.nursery = closing_.enter_context(Nursery())
            self._closing = closing_.pop_all()
        self.token = self.home / "token"
        self.token.write_text(TOKEN, encoding="ascii")
        self.token.chmod(0o600)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def study(self, name: str, cohort: str, more: str = "") -> Path:
        folder = self.home / name
        folder.mkdir()
        server = SERVER.format(url=self.server.url, token=self.token)
        (folder / "study.toml").write_text(STUDY + server + cohort + more, encoding="utf-8")
        return folder

    def run(self, *words: object, codes: tuple[int, ...] = (0,), **trouble: int) -> Ended:
        """A command that ends with one of these codes and keeps every secret."""
        folder = next(word for word in words if isinstance(word, Path))
        ended = self.nursery.run(*words, folder=folder, log=True, **trouble)  # type: ignore[arg-type]
        assert ended.code in codes, ended.said
        assert LISTENING in ended.said and not LOGGED.search(ended.said), ended.said
        assert not SECRET.search(ended.said), (words, SECRET.search(ended.said))
        assert "a defect" not in ended.said, ended.said
        return ended

    def silent(self, folder: Path) -> int:
        """Holds every file against the list of those that are meant to hold data; how many were searched."""
        assert list(self.temp.rglob("*")) == []
        searched = 0
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            assert not SECRET.search(name) and not PEOPLE.search(name)
            if not path.is_file() or any(re.fullmatch(one, name) for one in MEANT) or name == "study.toml":
                continue
            text = path.read_bytes().decode("latin-1")
            assert not SECRET.search(text), name
            assert not PEOPLE.search(text), name
            searched += 1
        return searched

    def log(self, folder: Path) -> str:
        """The request log of the archive."""
        with closing(sqlite3.connect(folder / "archive" / "archive.sqlite")) as connection:
            return "\n".join(map(repr, connection.execute("select * from event")))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with pytest.MonkeyPatch.context() as patch, Watched(tmp_path_factory.mktemp("watched"), patch) as one:
        yield one


@pytest.fixture
def watched(everything: Watched) -> Watched:
    """The trial on a server as new."""
    everything.server.clear()
    everything.server.load(trial())
    return everything


def test_a_canary_is_found_in_every_spelling() -> None:
    text = f"{CANARY}00017 ü/&"
    for before in ("", "x", "xy", "xyz"):
        held = f'{{"name":"{before}{text}"}}'
        assert SECRET.search(base64.b64encode(held.encode()).decode())
        assert SECRET.search(base64.b64encode(held.encode("utf-16-le")).decode())
    assert SECRET.search(text.upper())
    assert SECRET.search("".join(f"%{byte:02x}" for byte in text.encode()))
    assert SECRET.search(f"12{DIGITS}00001")
    assert SECRET.search(base64.b64encode(f"12{DIGITS}00001".encode()).decode())
    assert not SECRET.search("nothing of the kind: 1401.5 U/L, msct-p02")


def test_the_copy_of_the_trial_holds_a_canary_in_every_place_that_tells_of_a_patient() -> None:
    trees = [json.loads(line) for line in trial()]
    about = [tree for tree in trees if "subject" in tree]
    assert all(CANARY in tree["note"][0]["text"] and PERSON in tree["subject"]["reference"] for tree in about)
    assert sum(DIGITS in json.dumps(tree) for tree in trees) > 100
    assert not re.search("msct-p|Synthetic Patient|SYN-", "".join(map(json.dumps, trees)))


@pytest.mark.slow
def test_the_whole_story_keeps_every_secret(watched: Watched) -> None:
    folder = watched.study("trial", '[cohort]\ngroup = "msct-trial"\n')
    for verb in ("--plan", "--json"):
        watched.run("pull", folder, verb)
    for verb in ("records", "outcomes"):
        watched.run(verb, folder)
        watched.run(verb, folder, "--json")
    screen = watched.run("report", folder).said
    assert PEOPLE.search(screen)  # the first screen lists the subjects by what they go by
    assert PERSON in watched.run("push", folder).said
    watched.run("push", folder, "--json")
    watched.run("push", folder, "--apply", "0" * 16, codes=(3,))
    watched.run("push", folder, "--apply")
    watched.run("pull", folder)
    table = watched.home / "entered.csv"
    for text, code in ((HEAD + ROW, 0), (HEAD + ROW.replace("U/L", f"{CANARY}unit"), 3), (ROW, 3)):
        table.write_text(text, encoding="utf-8")
        watched.run("load", folder, table, codes=(code,))
    watched.run("push", folder, "--apply", codes=(3,))  # stale
    watched.run("verify", folder)
    watched.run("verify", folder, "--json")
    assert watched.silent(folder) >= 4
    assert not SECRET.search(watched.log(folder))
    assert not PEOPLE.search(watched.log(folder))
    for path in folder.glob("*/run.json"):
        assert json.loads(path.read_text("utf-8"))["outputs"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_of_a_server_keeps_every_secret(watched: Watched, name: str) -> None:
    folder = watched.study(f"fault, {name}", ONE)
    watched.server.faults = FAULTS[name]
    ended = watched.run("pull", folder, codes=(0, 2, 3, 5))
    assert [line for line in ended.said.splitlines() if PEOPLE.search(line) and not shape_of(line)] == []
    watched.server.faults = Faults()
    watched.silent(folder)
    if (folder / "archive" / "archive.sqlite").is_file():
        assert not SECRET.search(watched.log(folder))
        assert not PEOPLE.search(watched.log(folder))
        watched.run("verify", folder, codes=(0, 3))


def shape_of(line: str) -> bool:
    """Whether a line that names a patient is one of those that may: a window, or Type/id."""
    left = re.sub(rf"(Patient[/ ]|patients? |[(]|, | to | of ){PERSON}\d\d", "", line)
    return not PEOPLE.search(left)


@pytest.mark.slow
def test_damaged_files_and_full_disks_keep_every_secret(watched: Watched) -> None:
    export = watched.home / "export"
    export.mkdir()
    lines = [line for line in trial() if b"Observation" in line][:80]
    (export / "Observation.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    (export / "Patient.ndjson").write_bytes(b"\n".join(one for one in trial() if b'"Patient", "id"' in one))
    for number in range(5):
        (export / f"broken{number}.ndjson").write_bytes(lines[number][: 300 + number] + b"\xff\n{}\n")
    folder = watched.home / "files"
    folder.mkdir()
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    watched.run("run", folder, "--from", export, codes=(2,))
    watched.run("pull", folder, "--from", export, codes=(2,))
    for pages in range(0, 60, 6):
        for words in (("pull", folder, "--from", export), ("records", folder), ("outcomes", folder)):
            watched.run(*words, codes=(0, 2, 5), limit=pages * 4096)
    path = folder / "archive" / "archive.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("update resource set sha256 = replace(sha256, 'a', 'b')")
    (stored,) = (folder / "archive" / "files").glob("000001.ndjson")
    stored.write_bytes(stored.read_bytes()[:-5])
    assert "DAMAGED" in watched.run("verify", folder, codes=(2,)).said
    watched.run("verify", folder, "--json", codes=(2,))
    watched.silent(folder)
    path.write_bytes(b"".join(lines))
    for words in (("verify", folder), ("records", folder), ("pull", folder, "--from", export)):
        watched.run(*words, codes=(2, 3))


@pytest.mark.slow
def test_what_is_not_ours_on_the_server_keeps_every_secret(watched: Watched) -> None:
    folder = watched.study("conflict", FEW)
    for verb in ("pull", "records", "outcomes"):
        watched.run(verb, folder)
    plan = watched.run("push", folder, "--json").said
    own = re.findall(r"Observation/[A-Za-z0-9.-]+", plan)[0].partition("/")[2]
    theirs = {"resourceType": "Observation", "id": own, "status": "final", "code": {"text": CANARY}}
    watched.server.load([json.dumps(theirs).encode()])
    watched.run("push", folder, "--apply", codes=(4,))
    for status in (400, 401, 403, 422, 500):
        watched.server.faults = Faults(status_once={"POST /fhir": (status,) * 3})
        watched.run("push", folder, "--apply", codes=(3, 4, 5))
    watched.silent(folder)
    shutil.rmtree(folder)
