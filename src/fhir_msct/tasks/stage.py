"""One stage of the story as a folder: written whole or not at all, with what it was made from.

`run.json` beside the files names versions, inputs and outputs by hash, and is the only file that
holds a time: the same inputs give byte-identical tables.
"""

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fhir_msct import data
from fhir_msct.archive.failures import spoken
from fhir_msct.archive.fingerprint import fingerprint
from fhir_msct.archive.store import FILE
from fhir_msct.errors import Incomplete, InputError, UsageError

RUN = "run.json"
SHIPPED = "the shipped mappings"
"""How run.json names the protocol and the code tables that every stage rests on."""
LIBRARIES = ("msgspec", "scipy", "pandas", "fhir.resources", "httpx")


@contextmanager
def stage(study: Path, name: str, *, inputs: Iterable[Path], complete: bool, **facts: Any) -> Iterator[Path]:
    """A fresh folder to write one stage's files into; on success it replaces `study/name`.

    `inputs` are hashed into run.json, together with `complete` and any further `facts` (server, data
    cut). Nothing is changed when the stage fails. Raises UsageError where the folder may not be written,
    Interrupted where the disk is full.
    """
    fresh, target, old = (study / text for text in (f".{name}.new", name, f".{name}.old"))
    started = _now()
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file, and this stage writes a folder of that name: move it away")
    try:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir()
        yield fresh
        ended = 0 if complete else Incomplete.exit_code
        facts |= {"complete": complete, "exit_code": ended, "started": started, "finished": _now()}
        outputs = {path.name: _hash(path) for path in sorted(fresh.iterdir())}
        made_from = {SHIPPED: _hash(data.mappings()), **hashes(study, inputs)}
        document = {**_versions(), **facts, "inputs": made_from, "outputs": outputs}
        (fresh / RUN).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        if target.exists():
            target.replace(old)
        fresh.replace(target)
    except OSError as error:
        words = f"{target} cannot be written ({error.strerror}): nothing was changed there"
        raise type(spoken(error, target))(words) from None
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def run_of(study: Path, name: str) -> dict[str, Any]:
    """What run.json of a stage says. Raises InputError when the stage has not been run."""
    path = study / name / RUN
    if not path.is_file():
        raise InputError(f"{path.parent} does not exist: run `fhir-msct {name} {study}` first")
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def stale(study: Path, name: str) -> list[str]:
    """The inputs of a stage that changed since it ran, as paths inside the study folder (and SHIPPED)."""
    before = run_of(study, name)["inputs"]
    now = hashes(study, [study / path for path in before if path != SHIPPED])
    now[SHIPPED] = _hash(data.mappings())
    return [path for path, digest in before.items() if now[path] != digest]


def hashes(study: Path, paths: Iterable[Path]) -> dict[str, str]:
    """sha256 of each file by its path in the study folder; a folder's is over its files, empty if absent."""
    return {os.path.relpath(path, study): _hash(path) for path in paths}


def _hash(path: Path) -> str:
    if path.name == FILE:
        return fingerprint(path)
    if path.is_dir():
        parts = [(file.name, _hash(file)) for file in sorted(path.rglob("*")) if file.is_file()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _versions() -> dict[str, Any]:
    libraries = {name: version(name) for name in LIBRARIES}
    return {"tool": f"fhir-msct {version('fhir-msct')}", "python": platform.python_version()} | libraries


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
