"""`fhir-msct report`: report.html whole or not at all, and a word on what is stale."""

import hashlib
import json
from pathlib import Path

import pytest

from fhir_msct.errors import InputError, MsctError
from fhir_msct.plan import Plan
from fhir_msct.tasks.report import first_screen, report


def silent(_: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def fresh(study: Path) -> Path:
    """The study folder, each stage's run.json agreeing with its inputs."""
    digest = hashlib.sha256((study / "study.toml").read_bytes()).hexdigest()
    for name in ("records", "outcomes"):
        path = study / name / "run.json"
        document = json.loads(path.read_text("utf-8")) | {"inputs": {"study.toml": digest}}
        path.write_text(json.dumps(document), "utf-8")
    return study


def test_it_writes_one_file_and_nothing_else(fresh: Path, plan: Plan) -> None:
    before = set(fresh.rglob("*"))
    target = report(fresh, plan, say=silent)
    assert set(fresh.rglob("*")) - before == {target} == {fresh / "report.html"}


def test_written_twice_it_is_the_same_to_the_byte(fresh: Path, plan: Plan) -> None:
    first = report(fresh, plan, say=silent).read_bytes()
    assert report(fresh, plan, say=silent).read_bytes() == first


def test_an_input_changed_since_a_stage_ran_makes_it_stale(fresh: Path, plan: Plan) -> None:
    assert b"STALE" not in report(fresh, plan, say=silent).read_bytes()
    (fresh / "study.toml").write_text('[study]\nid = "changed"\n', "utf-8")
    said: list[str] = []
    assert b"STALE" in report(fresh, plan, say=said.append).read_bytes()
    assert "run `fhir-msct outcomes" in "\n".join(said)
    assert "STALE" in first_screen(fresh, plan)


def test_a_stage_that_was_not_run_is_named(fresh: Path, plan: Plan) -> None:
    (fresh / "outcomes/run.json").unlink()
    with pytest.raises(InputError, match="run `fhir-msct outcomes"):
        report(fresh, plan, say=silent)


def test_a_report_that_cannot_be_written_leaves_the_old_one(fresh: Path, plan: Plan) -> None:
    (fresh / "report.html").mkdir()
    (fresh / "report.html" / "kept").write_text("here", "utf-8")
    with pytest.raises(MsctError, match="nothing was changed there"):
        report(fresh, plan, say=silent)
    assert [path.name for path in fresh.glob("*report*")] == ["report.html"]
