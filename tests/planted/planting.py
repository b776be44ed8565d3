"""Bugs planted on purpose: each is a patch against src, and the tests named in it must catch it.

A patch begins with the row of the fault tables that it breaks and with what has to notice: `search`, `bulk`
and `push` are the simulator's schedules, anything else is a test file. Caught means that an assertion about
data failed: a module that no longer imports proves nothing about the tests.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).parent
ROOT = HOME.parents[1]
CONTROL = "control"
SCHEDULES = 200
"""Seeds that are played before a bug counts as missed."""

SIMULATED = ("search", "bulk", "push")

SAID = ("AssertionError", "assert ", "Failed: DID NOT RAISE")
"""How a failure begins that says something about data."""


class Bug(NamedTuple):
    """One patch."""

    name: str
    row: str
    caught_by: tuple[str, ...]
    path: Path


class Fate(NamedTuple):
    """What became of one planted bug."""

    bug: Bug
    caught: bool
    by: str
    said: str
    """The first line of what failed; of an error that is no assertion, its kind."""

    @property
    def right(self) -> bool:
        """Whether a bug was caught, or the control survived."""
        return self.caught == (self.bug.name != CONTROL) and not self.said.startswith("!")


def bugs() -> list[Bug]:
    """Every patch, by name; the control is one of them."""
    return [_bug(path) for path in sorted(HOME.glob("*.patch"))]


def misfits() -> dict[str, str]:
    """What git says of each patch that no longer applies to src."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__"))
        said = {bug.name: _git(folder, "apply", "--check", "-p1", str(bug.path)) for bug in bugs()}
    return {name: why for name, why in said.items() if why}


def planted(bug: Bug, *, schedules: int = SCHEDULES) -> Fate:
    """Plants one bug in a copy of src and runs what has to notice it."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        home = Path(folder)
        shutil.copytree(ROOT / "src", home / "src")  # with what is compiled: only what is patched is stale
        for shared in ("mappings", "fixtures"):
            (home / shared).symlink_to(ROOT / shared)
        if why := _git(folder, "apply", "-p1", str(bug.path)):
            return Fate(bug, False, "git apply", f"!{why}")
        for by in bug.caught_by:
            said = _schedules(by, home, schedules) if by in SIMULATED else _tests(by, home)
            if said:
                return Fate(bug, not said.startswith("!"), by, said)
    return Fate(bug, False, "", "")


def play(kind: str, number: int) -> int:
    """Plays schedules until one fails; run in a process of its own. 1 for an assertion, 2 for an error."""
    from faults.bulk import exported
    from faults.pushing import pushed
    from faults.searching import searched

    played = dict(zip(SIMULATED, (searched, exported, pushed), strict=True))[kind]
    for seed in range(number):
        try:
            played(seed)
        except AssertionError as error:
            print(f"AssertionError: seed {seed}: {error}")
            return 1
        except Exception as error:
            print(f"!{type(error).__name__}: seed {seed}: {error}")
            return 2
    return 0


def _schedules(kind: str, home: Path, number: int) -> str:
    code = f"import sys; from planted.planting import play; sys.exit(play({kind!r}, {number}))"
    done = _run([sys.executable, "-c", code], home)
    if done.returncode == 0:
        return ""
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()[-1:]
    said = lines[-1] if lines else "nothing said"
    return said if said.startswith(SAID) else f"!{said.lstrip('!')}"


def _tests(path: str, home: Path) -> str:
    report = home / "report.xml"
    options = ["--maxfail=8", "-q", "-p", "no:cacheprovider", "-m", "not soak", f"--junit-xml={report}"]
    done = _run([sys.executable, "-m", "pytest", path, *options], home)
    if done.returncode == 0:
        return ""
    if not report.is_file():
        return f"!pytest: {done.stderr[-200:]}"
    found = [
        case.get("message", "")
        for kind in ("failure", "error")
        for case in ElementTree.parse(report).iter(kind)  # noqa: S314  (our own report)
    ]
    told = [one.replace("\n", " ") for one in found] or ["no failure in the report"]
    return next((one for one in told if one.startswith(SAID)), f"!{told[0]}")


def _run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(home / "src"), str(ROOT / "tests")])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=600
    )


def _git(folder: str, *words: str) -> str:
    """What git complains of; a patch is applied here, whatever repository the folder above may belong to."""
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(Path(folder).parent), "GIT_DIR": "/nonexistent"}
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False, env=env)
    return done.stderr.strip() or "no reason given" if done.returncode else ""


def _bug(path: Path) -> Bug:
    text = path.read_text(encoding="utf-8")
    row, by = re.search(r"^Row: (.+)$", text, re.M), re.search(r"^Caught by: (.+)$", text, re.M)
    assert row and by, f"{path.name}: wants the lines `Row:` and `Caught by:`"
    return Bug(path.stem, row[1], tuple(by[1].split()), path)
