"""Names that say nothing, modules that are too long, paths of somebody's machine, patches of our own code."""

import ast
import re
from pathlib import Path

import pytest

from promises.modules import lines_of_code, modules, tracked
from promises.pages import ROOT

SAYING_NOTHING = {"utils", "util", "helpers", "helper", "base", "common", "core", "misc", "manager", "types"}
LONGEST = 300

MACHINE = re.compile(rb"(?<![\w.~/-])/(?:work|home|root|Users)/")
"""A path that only one machine has."""


def shown(path: Path) -> str:
    """A path inside the repository."""
    return path.relative_to(ROOT).as_posix()


def test_every_module_has_a_name_that_says_what_it_is_about() -> None:
    found = modules("src", "tests", "scripts", "benchmarks")
    assert len(found) > 100
    nothing = [shown(path) for path in found if SAYING_NOTHING & {path.stem, *path.relative_to(ROOT).parts}]
    assert nothing == []


def test_no_module_is_longer_than_can_be_kept_in_mind() -> None:
    lengths = {shown(path): lines_of_code(path) for path in modules("src", "scripts", "benchmarks")}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_the_story_of_a_study_fits_one_look() -> None:
    assert len((ROOT / "src" / "fhir_msct" / "study.py").read_text("utf-8").splitlines()) <= 60


def test_no_file_names_a_path_of_one_machine() -> None:
    files = [path for path in tracked() if path != Path(__file__)]
    assert len(files) > 200
    assert [shown(path) for path in files if MACHINE.search(path.read_bytes())] == []


@pytest.mark.parametrize("path", modules("tests"), ids=shown)
def test_nothing_of_ours_is_patched(path: Path) -> None:
    """Servers, clocks and folders are handed in; a test that patches us tests the patch."""
    tree = ast.parse(path.read_text("utf-8"))
    ours = set(_ours(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not ast.unparse(node).startswith(("from unittest", "import unittest")), "mocks"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "setattr"
        ):
            target = node.args[0]
            names = {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
            text = target.value if isinstance(target, ast.Constant) else ""
            assert not names & ours, f"line {node.lineno}"
            assert not str(text).startswith("fhir_msct"), f"line {node.lineno}"


def _ours(tree: ast.Module) -> list[str]:
    """The names under which a test imports anything of the package."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fhir_msct"):
            found += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [
                alias.asname or "fhir_msct" for alias in node.names if alias.name.startswith("fhir_msct")
            ]
    return found
