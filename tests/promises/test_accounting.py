"""Complete, or it says so: a branch of the reader that gives nothing breaks the sum, and the run stops."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fhir_msct

ROOT = Path(__file__).parents[2]
SOURCE = Path(fhir_msct.__file__).parent
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
NO_ROAD_FROM_AN_ARCHIVE = {
    "reading's JSON is checked before it is kept",
    "its type is read before it is kept",
}


def observation(id_: str, **other: Any) -> dict[str, Any]:
    """A creatine kinase with something else about it."""
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "2157-6"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-03-05",
        "valueQuantity": {"value": 72, "unit": "U/L", "system": UCUM, "code": "U/L"},
        **other,
    }


EXPORT = [
    {"resourceType": "Patient", "id": "p1"},
    observation("mapped"),
    observation("somebody-elses", code={"coding": [{"system": LOINC, "code": "2339-0"}]}),
    observation("no-code", code={"text": "CK"}),
    observation("modifier", modifierExtension=[{"url": "urn:x", "valueBoolean": True}]),
    observation("unit", valueQuantity={"value": 1, "unit": "mmol/L"}),
    observation("own", meta={"tag": [{"system": "urn:fhir-msct:tags", "code": "derived"}]}),
    observation("twice", effectiveDateTime="2024-03-05"),
    observation("twice", effectiveDateTime="2024-03-06"),
    {"resourceType": "Encounter", "id": "e1"},
]
"""Something for every way out of the reader; one key that stands twice comes to it."""

LINES = [json.dumps(one) for one in EXPORT]
LINES.append(json.dumps(observation("key")).replace('"value": 72', '"value": 71, "value": 72'))


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder with the export in its archive."""
    home = tmp_path_factory.mktemp("pulled")
    (home / "export").mkdir()
    (home / "export" / "all.ndjson").write_text("\n".join(LINES), "utf-8")
    (home / "study").mkdir()
    (home / "study" / "study.toml").write_text('[study]\nid = "sums"\n', "utf-8")
    done = run(SOURCE.parent, "pull", str(home / "study"), "--from", str(home / "export"))
    assert done.returncode == 0, done.stderr
    return home / "study"


def run(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, with the package from another folder."""
    command = [sys.executable, "-m", "fhir_msct", *arguments]
    there = {**os.environ, "PYTHONPATH": str(source)}
    return subprocess.run(command, capture_output=True, text=True, env=there, check=False)


def ways_out() -> list[tuple[str, int, int]]:
    """(method, first line, last line) of every `return` in the reader of one resource type."""
    tree = ast.parse((SOURCE / "mapping" / "kind.py").read_text("utf-8"))
    methods = ("read", "read_known", "read_as", "build")
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in methods]
    return [
        (method.name, node.lineno, node.end_lineno or node.lineno)
        for method in found
        for node in ast.walk(method)
        if isinstance(node, ast.Return)
    ]


def silenced(home: Path, first: int, last: int) -> Path:
    """A copy of the package in which one way out gives nothing."""
    shutil.copytree(SOURCE, home / "src" / "fhir_msct", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mappings", "fixtures"):
        (home / name).symlink_to(ROOT / name)
    path = home / "src" / "fhir_msct" / "mapping" / "kind.py"
    lines = path.read_text("utf-8").splitlines()
    indent = lines[first - 1][: len(lines[first - 1]) - len(lines[first - 1].lstrip())]
    path.write_text(
        "\n".join([*lines[: first - 1], f"{indent}return Reading()", *lines[last:]]) + "\n", "utf-8"
    )
    return home / "src"


def test_every_resource_of_the_export_is_accounted_for(pulled: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pulled, tmp_path / "study")
    done = run(SOURCE.parent, "records", str(folder))
    assert done.returncode == 0, done.stderr
    account = json.loads((folder / "records" / "accounting.json").read_text("utf-8"))
    counts = {
        name: account["types"]["Observation"][name]
        for name in ("seen", "mapped", "set_aside", "out_of_scope")
    }
    assert counts == {"seen": 9, "mapped": 1, "set_aside": 6, "out_of_scope": 2}
    assert account["set_aside"]["Observation"] == {
        "key-twice": 1,
        "modifier": 1,
        "no-code": 1,
        "same-id": 2,
        "unit-unknown": 1,
    }


def test_a_way_out_that_gives_nothing_breaks_the_sum(pulled: Path, tmp_path: Path) -> None:
    survived = []
    for number, (method, first, last) in enumerate(ways_out()):
        home = tmp_path / str(number)
        folder = shutil.copytree(pulled, home / "study")
        done = run(silenced(home, first, last), "records", str(folder))
        if done.returncode != 5 or "accounted for" not in done.stderr:
            survived.append((method, first, done.returncode))
        assert not (folder / "records").exists() or (method, first, done.returncode) in survived
    unreached = [method for method, _, _ in survived]
    # An archive holds only JSON whose type was read, and no shipped mapping takes apart a list.
    assert sorted(unreached) == ["build", "read", "read"], survived
