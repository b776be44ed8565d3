"""The folder of a stage is what the stage wrote, or it is said; and it is replaced whole or not at all."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Command
from cli.refusals import FROM_FOLDER, creatine_kinase, export, patient, refused, tree
from fhir_msct.errors import MsctError
from fhir_msct.tasks.stage import stage, stale

Study = Callable[..., Path]
PUSHED = f'{FROM_FOLDER}\n[push]\nurl = "http://127.0.0.1:9/fhir"\n'


@pytest.fixture
def done(command: Command, study: Study, tmp_path: Path) -> Path:
    """A study that was pulled from files, read and computed."""
    folder = study(PUSHED)
    source = export(tmp_path / "export", patient(), creatine_kinase())
    assert command("run", folder, "--from", source).code == 0
    return folder


def edit(path: Path) -> None:
    """Somebody types something into a table."""
    path.write_bytes(path.read_bytes() + b"\n")


def test_outcomes_are_not_computed_from_records_that_somebody_edited(command: Command, done: Path) -> None:
    edit(done / "records" / "measurements.csv")
    before = tree(done)
    words = ("records/measurements.csv was changed since it was written", "run `fhir-msct records")
    refused(command("outcomes", done), 3, *words)
    assert tree(done) == before
    assert command("records", done).code == 0
    assert command("outcomes", done).code == 0


@pytest.mark.parametrize(
    ("file", "stage_name"), [("records/subjects.csv", "records"), ("outcomes/by_subject.csv", "outcomes")]
)
def test_a_table_that_somebody_edited_is_not_pushed(
    command: Command, done: Path, file: str, stage_name: str
) -> None:
    edit(done / file)
    refused(command("push", done), 3, done / stage_name, "STALE", file)
    (done / file).unlink()
    refused(command("push", done), 3, done / stage_name, "STALE", file)


def test_a_report_of_a_table_that_somebody_edited_says_so(command: Command, done: Path) -> None:
    assert b"STALE" not in (done / "report.html").read_bytes()
    edit(done / "outcomes" / "by_visit.csv")
    assert "outcomes is STALE" in command("report", done).err
    assert b"STALE" in (done / "report.html").read_bytes()


def test_a_file_that_somebody_put_beside_the_tables_makes_nothing_stale(command: Command, done: Path) -> None:
    (done / "outcomes" / "notes.txt").write_text("seen", "utf-8")
    assert stale(done, "outcomes") == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"inputs": []}', b'{"outputs": 5}', b"[" * 100_000]
)
@pytest.mark.parametrize("name", ["records", "outcomes"])
def test_a_run_json_that_cannot_be_read_is_named_with_what_to_run(
    command: Command, done: Path, name: str, text: bytes
) -> None:
    path = done / name / "run.json"
    path.write_bytes(text)
    for verb in ("report", "push"):
        refused(command(verb, done), 3, f"{path} cannot be read", f"run `fhir-msct {name}")


@pytest.mark.parametrize(
    "inputs", [None, {}, {"../../x": "y"}, {"a\0b": "y"}, {"a//b": "y"}, {"study.toml": 5}]
)
def test_a_run_json_with_other_inputs_than_there_are_is_stale(
    command: Command, done: Path, inputs: object
) -> None:
    path = done / "outcomes" / "run.json"
    document = json.loads(path.read_text("utf-8"))
    document = {key: value for key, value in document.items() if key != "inputs"}
    path.write_text(json.dumps(document if inputs is None else document | {"inputs": inputs}), "utf-8")
    refused(command("push", done), 3, done / "outcomes", "STALE")


def test_where_the_new_folder_cannot_take_its_place_the_old_one_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outcomes").mkdir()
    (tmp_path / "outcomes" / "kept.csv").write_bytes(b"a\n")
    rename = Path.replace

    def fails(path: Path, target: Path) -> Path:
        if path.name == ".outcomes.new":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", fails)
    with (
        pytest.raises(MsctError, match="nothing was changed there"),
        stage(tmp_path, "outcomes", inputs=(), complete=True) as out,
    ):
        (out / "fresh.csv").write_bytes(b"b\n")
    assert tree(tmp_path) == {"outcomes/kept.csv": b"a\n"}
