"""The synthetic trial is known beforehand: what the pipeline makes of it must be what was planned."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from promises.trial_truth import FILES, FIXTURES, ROOT, truth

SCRIPT = ROOT / "scripts" / "make_trial.py"
STORY = """
import sys
from pathlib import Path
from fhir_msct import plan
from fhir_msct.mapping.library import Mapping
from fhir_msct.tasks import outcomes, pull, records

folder, source = map(Path, sys.argv[1:])
study = plan.load(folder)
pull.pull(folder, study, Mapping.load(folder, study).wanted(), source=source, say=print)
records.records(folder, study, say=print)
outcomes.outcomes(folder, study, say=print)
"""


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, env=env, check=False
    )


def studied(folder: Path, **environment: str) -> Path:
    """A study folder with records and outcomes of the fixtures' resources."""
    folder.mkdir(parents=True)
    shutil.copy(FIXTURES / "study.toml", folder)
    done = run("-c", STORY, folder, FIXTURES / "resources", **environment)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return studied(tmp_path_factory.mktemp("trial") / "study")


@pytest.mark.parametrize("name", FILES)
def test_the_pipeline_computes_what_the_generator_planned(study: Path, name: str) -> None:
    assert FILES[name](study, truth()) == []


WRONG = {
    "a factor of ukat/L": ("units.csv", "CK,http://unitsofmeasure.org,ukat/L,", ",60,", ",50,"),
    "a factor of mm": ("units.csv", "PTGVAS,http://unitsofmeasure.org,mm,", ",1/10,", ",1,"),
    "a code of CK-MB": ("codes.csv", "CKMBACT,http://loinc.org,", ",32673-6,", ",2158-4,"),
    "a decoy as a transplant": ("recognition.csv", ",234336002,", "transplant code,", "local code,"),
}
"""A table, what finds its one row, and the cell that is spoilt."""


def spoil(table: Path, finds: str, right: str, wrong: str) -> None:
    lines = table.read_text("utf-8").splitlines(keepends=True)
    rows = [n for n, line in enumerate(lines) if finds in line and right in line]
    assert len(rows) == 1, f"{table.name} no longer has the row that this test spoils"
    lines[rows[0]] = lines[rows[0]].replace(right, wrong)
    table.write_text("".join(lines), "utf-8")


@pytest.mark.parametrize("what", WRONG)
def test_a_planted_error_in_the_mappings_is_found(tmp_path: Path, what: str) -> None:
    name, *how = WRONG[what]
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copytree(ROOT / "mappings", tmp_path / "mappings")
    spoil(tmp_path / "mappings" / name, *how)
    spoilt = studied(tmp_path / "study", PYTHONPATH=str(tmp_path / "src"))
    differing = {file for file, compare in FILES.items() if compare(spoilt, truth())}
    assert differing & {"accounting.json", "measurements.csv"}
    assert differing & {"by_visit.csv", "subjects.csv"}


def test_the_fixtures_are_what_the_generator_writes() -> None:
    done = run(SCRIPT, "--check")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["resources/Observation.ndjson", "truth.json", "study.toml", "README.md"])
def test_a_changed_byte_is_reported(tmp_path: Path, name: str) -> None:
    assert run(SCRIPT, "--into", tmp_path).returncode == 0
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    done = run(SCRIPT, "--check", "--into", tmp_path)
    assert done.returncode == 1
    assert name in done.stdout


def test_a_file_that_nobody_planned_is_reported(tmp_path: Path) -> None:
    assert run(SCRIPT, "--into", tmp_path).returncode == 0
    (tmp_path / "resources" / "Extra.ndjson").write_bytes(b"{}\n")
    assert run(SCRIPT, "--check", "--into", tmp_path).returncode == 1


def test_the_generator_imports_nothing_of_the_package() -> None:
    files = [SCRIPT, *(ROOT / "scripts" / "trial").glob("*.py")]
    imported = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert len(files) > 5
    assert imported <= {*sys.stdlib_module_names, "trial"}


def lines() -> list[bytes]:
    return [
        line
        for path in sorted((FIXTURES / "resources").glob("*.ndjson"))
        for line in path.read_bytes().splitlines()
    ]


def test_every_resource_says_that_it_is_synthetic() -> None:
    for line in lines():
        meta = json.loads(line)["meta"]
        assert "HTEST" in [security["code"] for security in meta["security"]]
        assert "SYNTHETIC" in [tag["code"] for tag in meta["tag"]]


def test_every_resource_is_valid_fhir_r4() -> None:
    from fhir.resources.R4B import get_fhir_model_class

    for line in lines():
        kind = json.loads(line)["resourceType"]
        get_fhir_model_class(kind).model_validate_json(line)


def test_no_resource_points_to_one_that_is_not_there() -> None:
    trees = [json.loads(line) for line in lines()]
    there = {f"{tree['resourceType']}/{tree['id']}" for tree in trees}
    assert [target for tree in trees for target in _references(tree) if target not in there] == []


def _references(value: object) -> list[str]:
    if isinstance(value, list):
        return [target for item in value for target in _references(item)]
    if not isinstance(value, dict):
        return []
    own = [str(value["reference"]).partition("/_history/")[0]] if "reference" in value else []
    own = [target for target in own if not target.startswith("#")]
    return own + [target for item in value.values() for target in _references(item)]


def test_most_of_what_the_server_holds_is_not_the_studys() -> None:
    assert 1_000 <= len(lines()) <= 1_500
    assert sum(row["out_of_scope"] for row in truth()["accounting"].values()) >= 400
