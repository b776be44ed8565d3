"""Words that no command knows, and what a script can rely on: exit codes, one JSON object on stdout."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Command
from cli.refusals import FROM_FOLDER, creatine_kinase, export, patient, refused

Study = Callable[..., Path]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "frobnicate"),
        (["pull"], "DIR"),
        (["load", "trial"], "FILE.csv"),
        (["records", "trial", "--nonsense"], "--nonsense"),
        (["records", "trial", "again"], "again"),
        (["sandbox", "--port", "many"], "--port"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_what_cannot_be_parsed_ends_with_3_and_says_what(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command(*words)
    assert ended.code == 3
    assert said in ended.err
    assert "--help" in ended.err
    assert ended.out == ""


def test_a_view_nobody_wrote_names_those_that_are_there(command: Command) -> None:
    refused(command("views", "nothing"), 3, "nothing", "measurement", "transplant")


@pytest.mark.parametrize("words", [["--help"], ["pull", "--help"], []])
def test_help_ends_well(command: Command, words: list[str]) -> None:
    ended = command(*words)
    assert "Usage: fhir-msct" in ended.out + ended.err
    assert ended.code in ((0,) if words else (0, 3))


def test_with_json_stdout_is_one_object_and_nothing_else(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder = study(FROM_FOLDER)
    files = export(tmp_path / "export", patient(), creatine_kinase())
    pulled = json.loads(command("pull", folder, "--from", files, "--json").out)
    assert pulled["complete"] is True
    read = json.loads(command("records", folder, "--json").out)
    assert read["accounts"]["Observation"]["mapped"] == 1
    assert json.loads(command("outcomes", folder, "--json").out)["infused"] == 0


def test_every_stage_can_be_run_again_and_changes_nothing(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder = study(FROM_FOLDER)
    files = export(tmp_path / "export", patient(), creatine_kinase())
    tables: list[dict[str, bytes]] = []
    for _ in range(2):
        assert command("run", folder, "--from", files).code == 0
        tables.append({path.name: path.read_bytes() for path in sorted(folder.rglob("*.csv"))})
    assert tables[0] == tables[1]
    assert len(tables[0]) == 9
