"""The whole story on the synthetic trial: a real FHIR server on loopback, pulled from and pushed to.

The folder it leaves behind is a study folder like any other.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fhir_msct import data
from fhir_msct import plan as protocol
from fhir_msct.errors import UsageError
from fhir_msct.plan import Plan

MARKER = ".fhir-msct-demo"
"""A file in a folder that a demo made, and that the next demo may therefore replace."""

_SECTION = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_ADDRESS = re.compile(r"\s*(url|same_as_source)\s*=")

Say = Callable[[str], None]


def demo(folder: Path, *, say: Say) -> str:
    """The first screen of the synthetic trial, computed from a server and written back to it.

    Raises UsageError for a folder that holds something else.
    """
    from fhir_msct.sandbox.server import Sandbox

    _prepare(folder)
    with Sandbox() as server:
        server.load(resources(data.fixtures() / "resources"))
        say(f"the synthetic trial is on a FHIR server at {server.url}")
        _write(folder / "study.toml", filled(_fixture_plan(), server.url))
        return _story(folder, protocol.load(folder), say=say)


def resources(folder: Path) -> Iterator[bytes]:
    """Every line of the NDJSON files of a folder, by file name."""
    for path in sorted(folder.glob("*.ndjson")):
        yield from (line for line in path.read_bytes().split(b"\n") if line.strip())


def filled(plan: str, url: str) -> str:
    """The text of a study.toml with a server to pull from and to push back to; all else stays."""
    wanted = {"server": [f'url = "{url}"'], "push": [f'url = "{url}"', "same_as_source = true"]}
    lines, section = [], ""
    for line in plan.splitlines():
        header = _SECTION.fullmatch(line)
        section = header[1] if header else section
        if section in ("server", "push") and _ADDRESS.match(line):
            continue
        lines += [line, *wanted.pop(section, [])] if header else [line]
    for name, keys in wanted.items():
        lines += ["", f"[{name}]", *keys]
    return "\n".join(lines) + "\n"


def _fixture_plan() -> str:
    return (data.fixtures() / "study.toml").read_text(encoding="utf-8")


def _prepare(folder: Path) -> None:
    """An empty folder with the marker in it; only what a demo made is replaced."""
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if not (folder / MARKER).is_file():
                raise UsageError(f"{folder} is not empty and was not made by the demo: name another folder")
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; name another folder") from error
    _write(folder / MARKER, "Made by `fhir-msct demo`, which replaces this folder when it runs again.\n")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
