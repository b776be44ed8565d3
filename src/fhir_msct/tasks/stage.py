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
    fresh, target = study / f".{name}.new", study / name
    started = _now()
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file, and this stage writes a folder of that name: move it away")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        yield fresh
        ended = 0 if complete else Incomplete.exit_code
        facts |= {"complete": complete, "exit_code": ended, "started": started, "finished": _now()}
        outputs = {path.name: _hash(path) for path in sorted(fresh.iterdir())}
        made_from = {SHIPPED: _hash(data.mappings()), **hashes(study, inputs)}
        document = {**_versions(), **facts, "inputs": made_from, "outputs": outputs}
        (fresh / RUN).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        _replace(target, fresh, study / f".{name}.old")
    except OSError as error:
        words = f"{target} cannot be written ({error.strerror}): nothing was changed there"
        raise type(spoken(error, target))(words) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _replace(target: Path, fresh: Path, old: Path) -> None:
    """Puts a stage's new folder in the place of the one before, which stays where that fails."""
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.replace(old)
    try:
        fresh.replace(target)
    except OSError:
        if old.exists():
            old.replace(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def run_of(study: Path, name: str) -> dict[str, Any]:
    """What run.json of a stage says.

    Raises InputError when the stage has not been run, or its run.json cannot be read as what it was.
    """
    path = study / name / RUN
    if not path.is_file():
        raise InputError(f"{path.parent} does not exist: run `fhir-msct {name} {study}` first")
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not all(
        isinstance(document.get(part, {}), dict) for part in ("inputs", "outputs")
    ):
        raise InputError(f"{path} cannot be read: run `fhir-msct {name} {study}` again")
    return document


def stale(study: Path, name: str) -> list[str]:
    """What changed since a stage ran: its inputs, then its own files (`changed`).

    As paths inside the study folder (and SHIPPED); run.json itself where it names no inputs.
    """
    before = run_of(study, name).get("inputs") or {f"{name}/{RUN}": ""}
    now = {path: _hash(data.mappings() if path == SHIPPED else study / path) for path in before}
    return [path for path, digest in before.items() if now[path] != digest] + changed(study, name)


def changed(study: Path, name: str) -> list[str]:
    """The files of a stage that are no longer what it wrote, as paths inside the study folder."""
    written = run_of(study, name).get("outputs", {})
    return [f"{name}/{file}" for file, digest in written.items() if _hash(study / name / file) != digest]


def require_own(study: Path, name: str) -> None:
    """Returns where the files of a stage are what it wrote; raises InputError naming one that is not."""
    for path in changed(study, name)[:1]:
        raise InputError(f"{path} was changed since it was written: run `fhir-msct {name} {study}` again")


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
