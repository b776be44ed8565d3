"""No secret that lets somebody in gets anywhere but to the server that it is for.

Private keys, passwords, access tokens, assertions, and the addresses of exported files are noted down where
they are made, and looked for, whole and in parts, in all that the commands say, log at any level, and leave:
raw, as in an address, in base64 and base64url. Only the archive may hold the addresses of an export, until it
is over.
"""

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from fhir_msct.client.keys import Algorithm, make
from fhir_msct.sandbox import Faults, Registration, Sandbox, Smart
from kill.nursery import LISTENING, Ended, Nursery
from promises.canaries import CANARY, LOGGED, SECRET, holds, pattern, person, pieces, trial

CLIENT, PASSWORD = f"{CANARY}-client", f"{CANARY}+pass/word="
STUDY = """
[study]
id = "secrets"
timezone = "Asia/Shanghai"
data_cut = 2024-06-30
[server]
url = "{url}"
{auth}
[push]
url = "{url}"
same_as_source = true
[cohort]
group = "few"
[pull]
page_size = 50
how = "{how}"
"""
SMART = f'auth = "smart"\nclient_id = "{CLIENT}"\nkey_file = "{{key}}"'
BASIC = 'auth = "basic"\nbasic_file = "{key}"'

ONE = person("msct-p02")
GROUP = {"resourceType": "Group", "id": "few", "member": [{"entity": {"reference": f"Patient/{ONE}"}}]}

FAULTS = {
    "no configuration": Faults(status_once={"smart-configuration": (404,)}),
    "a configuration that is a page": Faults(html_login=True, where="smart-configuration"),
    "no token": Faults(status_once={"/auth/token": (400,)}),
    "a token endpoint that is down": Faults(status_once={"/auth/token": (500, 503, 429)}),
    "half a token": Faults(cut_body="loud", where="/auth/token", times=1),
    "an unheard token": Faults(lose_answer=True, where="/auth/token", times=1),
    "a token that is a page": Faults(html_login=True, where="/auth/token"),
    "a token refused": Faults(status_once={"GET /fhir/metadata": (401, 401)}),
    "a token refused in between": Faults(status_once={"GET /fhir/Observation": (401, 401)}),
    "no kick-off": Faults(status_once={"export": (403,) * 3}),
    "a lost kick-off": Faults(lose_answer=True, where="export", times=1),
    "a poll refused": Faults(status_once={"export-status": (401, 401)}),
    "a poll that is a page": Faults(html_login=True, where="export-status", times=1),
    "files that expired": Faults(export_expired=True),
    "files refused": Faults(status_once={"export-file": (401, 403, 404, 500)}),
    "files cut": Faults(cut_body="loud", where="export-file", times=3),
    "files that are pages": Faults(html_login=True, where="export-file"),
    "counts that are wrong": Faults(export_wrong_count=True),
    "errors": Faults(export_errors=2),
    "a type lost": Faults(export_lost_type="Condition"),
}


class Noting(Smart):
    """Remembers every assertion that it heard and every token that it gave."""

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self.noted = list[str]()

    def token(self, content_type: str, body: bytes, token_url: str, now: datetime) -> dict[str, Any]:
        self.noted += parse_qs(body.decode("ascii")).get("client_assertion", [])
        told = super().token(content_type, body, token_url, now)
        self.noted.append(told["access_token"])
        return told


class Guarded:
    """A server that demands tokens, and the secrets that were ever made for it. A context manager."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.key_files = {alg: home / f"key-{alg}" for alg in ("ES384", "RS384")}

    def __enter__(self) -> "Guarded":
        keys = [make(self.key_files["ES384"], "ES384"), make(self.key_files["RS384"], "RS384")]
        jwks = {"keys": [one for key in keys for one in key.jwks["keys"]]}
        self.smart = Noting({CLIENT: Registration(jwks)})
        about = [line for line in trial() if ONE.encode() in line and b'"Group"' not in line]
        values = [line for line in about if b'"Observation"' in line][::6]
        others = [line for line in about if b'"Observation"' not in line]
        self.held = [*values, *others, json.dumps(GROUP).encode()]
        with ExitStack() as stack:
            self.server = stack.enter_context(Sandbox(smart=self.smart))
            self.nursery = stack.enter_context(Nursery())
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def study(self, name: str, auth: str = SMART, *, how: str = "export", alg: Algorithm = "ES384") -> Path:
        """A fresh study folder, and the server as new."""
        self.server.clear()
        self.smart.noted.clear()
        self.server.load(self.held)
        self.server.faults = Faults(export_polls=0)
        folder = self.home / name
        folder.mkdir()
        text = STUDY.format(url=self.server.url, auth=auth.format(key=self.key_files[alg]), how=how)
        (folder / "study.toml").write_text(text, encoding="utf-8")
        self.told = list[str]()
        return folder

    def run(self, *words: object, codes: tuple[int, ...] = (0,), **trouble: Any) -> Ended:
        folder = next(word for word in words if isinstance(word, Path))
        ended = self.nursery.run(*words, folder=folder, log=True, **trouble)
        assert ended.code in codes, ended.said
        assert "a defect" not in ended.said and "Traceback" not in ended.said, ended.said
        assert not LOGGED.search(ended.said), ended.said
        assert ended.killed or LISTENING in ended.said
        self.told.append(ended.said)
        return ended

    @property
    def jobs(self) -> list[str]:
        """The secret part of every address of an export."""
        found = (re.search(r"export-(?:status|file)/([0-9a-f]{32})", one.target) for one in self.server.seen)
        return sorted({one[1] for one in found if one})

    @property
    def secrets(self) -> list[str]:
        """What lets somebody in: the halves of keys that stay here, assertions, tokens, a password."""
        halves = [json.loads(path.read_text("ascii")) for path in self.key_files.values()]
        private = [one[name] for one in halves for name in ("d", "p", "q", "dp", "dq", "qi") if name in one]
        return [*private, *self.smart.noted]

    def silent(self, folder: Path) -> int:
        """Looks for every secret in all that was said and left; how many places were searched."""
        doors, addresses = pieces(self.secrets), pieces(self.jobs)
        places = {f"what was said ({number})": text for number, text in enumerate(self.told)}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != "study.toml":
                places[path.relative_to(folder).as_posix()] = path.read_bytes().decode("latin-1")
        if (folder / "archive" / "archive.sqlite").is_file():
            with closing(sqlite3.connect(folder / "archive" / "archive.sqlite")) as connection:
                made = connection.execute("select 1 from sqlite_schema where name = 'event'").fetchone()
                if made:  # a command that was killed at once has made no table yet
                    log = connection.execute("select * from event")
                    places["the request log"] = "\n".join(map(repr, log))
        for name, text in places.items():
            assert not holds(text, doors), name
            if not name.startswith("archive/"):
                assert not holds(text, addresses), name
                assert not (SECRET.search(text) and _is_no_data(name)), (name, SECRET.search(text))
        return len(places)


def _is_no_data(name: str) -> bool:
    """Whether a file is not meant to hold data of patients, in which everything else has its canaries."""
    return not re.fullmatch(r"(records|outcomes)/\w+\.(csv|parquet)|report\.html", name)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded(tmp_path_factory.mktemp("guarded")) as one:
        yield one


def test_a_part_of_a_secret_is_found_in_every_spelling() -> None:
    word = "x7Qp2_-vT9LmZr4KcWs8BdYhNfUgJeAo~+/=3160"
    for held in (word, f"Bearer {word}", word[19:] + word[:20]):
        coded = [base64.b64encode(held.encode()), base64.urlsafe_b64encode(held.encode())]
        for text in (held, *(one.decode() for one in coded), held.encode().hex()):
            assert holds(text, pieces([word])), text
    assert not holds(word[:19] + "." + word[21:39], pieces([word]))


@pytest.mark.slow
@pytest.mark.parametrize("alg", ["ES384", pytest.param("RS384", marks=pytest.mark.soak)])
def test_a_whole_story_with_tokens_keeps_every_secret(guarded: Guarded, alg: Algorithm) -> None:
    folder = guarded.study(f"story {alg}", how="export" if alg == "ES384" else "search", alg=alg)
    story = ("pull --plan", "check", "check --json", "run", "push --apply", "pull")
    for verb, *more in map(str.split, story):
        guarded.run(verb, folder, *more, codes=(0, 2) if verb == "check" else (0,))
    guarded.run("verify", folder)
    assert len(guarded.smart.noted) >= 8 and guarded.silent(folder) > 15
    with closing(sqlite3.connect(folder / "archive" / "archive.sqlite")) as connection:
        left = connection.execute("select url from bulk_file union all select status_url from bulk_job")
        assert {url for (url,) in left} <= {""}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_on_the_way_in_keeps_every_secret(guarded: Guarded, name: str) -> None:
    folder = guarded.study(f"fault, {name}")
    guarded.server.faults = FAULTS[name]
    guarded.run("pull", folder, codes=(0, 2, 3, 5))
    guarded.silent(folder)


@pytest.mark.slow
def test_every_kill_on_the_way_in_keeps_every_secret(guarded: Guarded) -> None:
    for how, kills in (("export", 4), ("search", 2)):
        whole = guarded.study(f"whole, {how}", how=how)
        counts = guarded.run("pull", whole).counts
        for number, kind in enumerate(("sql", "file", "sql", "file")[:kills]):
            at = 1 + (counts[kind] * (2 * number + 1)) // 9
            folder = guarded.study(f"killed, {how} {kind} {at}", how=how)
            guarded.run("pull", folder, codes=(-9,), die=(kind, at))
            assert guarded.silent(folder)
            guarded.run("pull", folder)
            guarded.silent(folder)


@pytest.mark.slow
def test_a_key_that_is_made_is_in_its_file_and_nowhere_else(guarded: Guarded) -> None:
    folder = guarded.study("keys")
    for words, code in ((("keys",), 0), (("keys",), 3), (("keys", "--show"), 0)):
        guarded.run(words[0], folder, *words[1:], codes=(code,))
    own = pieces([json.loads((folder / "private-key.json").read_text())["d"]])
    assert not any(holds(said, own) for said in guarded.told)
    assert sorted(path.name for path in folder.iterdir()) == ["private-key.json", "study.toml"]


@pytest.mark.slow
def test_a_password_that_is_refused_is_not_said(guarded: Guarded) -> None:
    file = guarded.key_files["ES384"].with_name("password")
    file.write_text(f"somebody:{PASSWORD}", encoding="ascii")
    file.chmod(0o600)
    folder = guarded.study("basic", BASIC.replace("{key}", str(file)))
    said = guarded.run("pull", folder, codes=(3,)).said
    assert "[server] basic_file" in said
    assert not pattern(PASSWORD, f"somebody:{PASSWORD}").search(said)
    assert sorted(path.name for path in folder.iterdir()) == ["study.toml"]
