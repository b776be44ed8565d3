"""A place on the disk that cannot be used: the path, and nothing half-written."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Command
from cli.refusals import FROM_FOLDER, creatine_kinase, export, patient, refused, tree

Study = Callable[..., Path]

FULL_AT = 20_000
"""Bytes that no file may pass in a process of `on_a_full_disk`."""

_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
from fhir_msct.cli import main
sys.argv = ["fhir-msct", *sys.argv[1:]]
main()
"""


def on_a_full_disk(*words: object, size: int = FULL_AT) -> subprocess.CompletedProcess[str]:
    """A command whose writes fail once a file has this many bytes, as on a full disk."""
    return subprocess.run(
        [sys.executable, "-c", _LIMITED.format(size=size), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def ran(command: Command, study: Study, tmp_path: Path) -> Path:
    """A study folder in which every stage ran."""
    folder = study(FROM_FOLDER)
    ended = command("run", folder, "--from", export(tmp_path / "export", patient(), creatine_kinase()))
    assert ended.code == 0, ended.err
    return folder


def stages(folder: Path) -> dict[str, bytes]:
    """The files of the stages; the archive's own bytes change when it is opened."""
    return {name: body for name, body in tree(folder).items() if not name.startswith("archive/")}


@pytest.mark.parametrize("verb", ["records", "outcomes"])
def test_a_stage_that_cannot_be_written_leaves_the_one_before_it(
    command: Command, ran: Path, verb: str
) -> None:
    (ran / f".{verb}.new").write_text("in the way", encoding="utf-8")
    before = stages(ran)
    ended = command(verb, ran)
    assert ended.code in (3, 5)
    refused(ended, ended.code, ran / verb, "cannot be written", "nothing was changed")
    assert stages(ran) == before


def test_a_report_that_cannot_be_written_is_named_and_leaves_nothing_else_behind(
    command: Command, ran: Path
) -> None:
    (ran / "report.html").unlink()
    (ran / "report.html").mkdir()
    before = stages(ran)
    ended = command("report", ran)
    assert ended.code in (3, 5)
    refused(ended, ended.code, ran / "report.html", "cannot be written", "nothing was changed")
    assert stages(ran) == before


def test_a_file_in_the_place_of_the_archive_is_named(command: Command, study: Study, tmp_path: Path) -> None:
    folder = study(FROM_FOLDER, {"archive": "a file"})
    before = tree(folder)
    refused(command("pull", folder, "--from", export(tmp_path / "export", patient())), 3, folder / "archive")
    assert tree(folder) == before


def test_an_archive_that_is_none_is_named(command: Command, study: Study, tmp_path: Path) -> None:
    folder = study(
        FROM_FOLDER, {"archive/archive.sqlite": "not a database, but long enough to be one. " * 40}
    )
    ended = command("pull", folder, "--from", export(tmp_path / "export", patient()))
    refused(ended, 3, folder / "archive" / "archive.sqlite", "not an archive")


@pytest.mark.parametrize("verb", ["init", "demo"])
def test_a_file_in_the_place_of_a_study_folder_stays(command: Command, tmp_path: Path, verb: str) -> None:
    (tmp_path / "thesis").write_text("years of work", encoding="utf-8")
    refused(command(verb, tmp_path / "thesis"), 3, tmp_path / "thesis", "cannot be written")
    assert tree(tmp_path) == {"thesis": b"years of work"}


def test_a_folder_that_no_demo_made_stays_as_it_is(command: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    refused(command("demo", tmp_path), 3, tmp_path, "name another folder")
    assert tree(tmp_path) == {"thesis.txt": b"years of work"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(command: Command, study: Study, tmp_path: Path) -> None:
    folder = study(FROM_FOLDER)
    files = export(tmp_path / "export", patient())
    folder.chmod(0o500)
    try:
        refused(command("pull", folder, "--from", files), 3, folder)
    finally:
        folder.chmod(0o700)
    assert tree(folder) == {"study.toml": FROM_FOLDER.encode()}


@pytest.mark.slow
def test_a_full_disk_stops_a_pull_that_can_be_run_again(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder = study(FROM_FOLDER)
    many = [creatine_kinase(f"ck{n}", note=[{"text": "x" * 400}]) for n in range(100)]
    files = export(tmp_path / "export", patient(), *many, name="export.json")
    ended = on_a_full_disk("pull", folder, "--from", files)
    assert ended.returncode == 5, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "archive.sqlite: the disk" in ended.stderr
    again = command("pull", folder, "--from", files)
    assert again.code == 0, again.err
    assert command("records", folder).code == 0
    assert (folder / "records" / "measurements.csv").read_text("utf-8").count("\n") == 101


@pytest.mark.slow
def test_a_full_disk_leaves_the_stages_as_they_were(ran: Path) -> None:
    before = stages(ran)
    ended = on_a_full_disk("outcomes", ran, size=100)
    assert ended.returncode == 5, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "cannot be written" in ended.stderr
    assert stages(ran) == before
