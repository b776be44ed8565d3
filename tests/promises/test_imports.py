"""Imports go one way, and each foreign package has its room."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from promises.modules import PACKAGE, imported, modules
from promises.pages import DOCS, ROOT

ALLOWED: dict[str, tuple[str, ...]] = {
    "typer": ("cli/",),
    "httpx": ("client/",),
    "joserfc": ("client/keys.py", "sandbox/smart.py"),
    "fhir": ("mapping/gate.py",),
    "pydantic": ("mapping/gate.py",),
    "pandas": ("tasks/frames.py",),
    "pyarrow": ("tasks/frames.py",),
    "scipy": ("outcomes/statistics.py",),
    "altair": ("report/",),
    "vl_convert": ("report/",),
    "jinja2": ("report/",),
    "markupsafe": ("report/",),
    "starlette": ("sandbox/",),
    "uvicorn": ("sandbox/",),
    "msgspec": ("",),
}
"""Where each package may be imported."""

OWN = frozenset({"fhir_msct", "", *sys.stdlib_module_names})

INSTALLED_AS = {"fhir.resources": "fhir", "vl-convert-python": "vl_convert"}
"""Packages whose import has another name."""

BROUGHT = {"pydantic": "fhir", "markupsafe": "jinja2"}
"""Packages that come with another one, of which they are a part for us."""

NOT_IMPORTED = frozenset({"tzdata"})
"""Data that Python's zoneinfo finds by itself."""


def found() -> list[tuple[str, str]]:
    """Every import of a foreign package: its name, and where."""
    return [
        (name.partition(".")[0], path.relative_to(PACKAGE).as_posix())
        for path in modules("src")
        for name in imported(path)
        if name.partition(".")[0] not in OWN
    ]


@pytest.mark.slow
def test_the_floors_of_the_house_are_kept() -> None:
    script = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run(
        [str(script), "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
    assert "0 broken" in ended.stdout


def test_every_foreign_package_is_imported_in_its_room_only() -> None:
    assert found()
    strangers = [
        f"{where} imports {name}" for name, where in found() if not where.startswith(ALLOWED.get(name, ()))
    ]
    assert strangers == []


def test_every_permission_is_used() -> None:
    used = {name for name, _ in found()}
    assert used == set(ALLOWED)


def test_every_dependency_is_imported_and_every_import_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [re.split(r"[<>=!~ ]", text)[0] for text in project["dependencies"]]
    installed = {INSTALLED_AS.get(name, name) for name in named} - NOT_IMPORTED
    assert installed == set(ALLOWED) - set(BROUGHT)


def test_every_dependency_has_its_paragraph() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (DOCS / "decisions" / "0001-dependencies.md").read_text("utf-8")
    for name in (re.split(r"[<>=!~ ]", line)[0] for line in project["dependencies"]):
        assert f"**{name.removesuffix('-python')}**" in text, name


def test_a_room_is_not_imported_by_what_stands_below_it() -> None:
    """What import-linter cannot see: the client knows no trial, the outcomes know no FHIR."""
    for room, foreign in (("client", "mapping"), ("outcomes", "mapping"), ("outcomes", "client")):
        names = {name for path in modules(f"src/fhir_msct/{room}") for name in imported(path)}
        assert not {name for name in names if name.startswith(f"fhir_msct.{foreign}")}
