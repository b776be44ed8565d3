"""A demo leaves this machine only for a host that somebody has named twice."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Command, Serve
from cli.refusals import refused

HOST = "0.0.0.0"  # noqa: S104  (not loopback by its name, and yet nobody else)


@pytest.fixture
def elsewhere(serve: Serve) -> str:
    """The address of a server that cannot speak TLS, so that whoever does ask it fails at once."""
    return serve(200, "text/html", b"").replace("http://127.0.0.1", f"https://{HOST}")


def test_a_script_has_to_name_the_host(command: Command, elsewhere: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    ended = command("demo", folder, "--server", elsewhere)
    assert (ended.code, f"--yes-host {HOST}" in ended.err, "nothing was sent" in ended.err) == (3, True, True)
    assert "transactions of at most 100" in ended.err
    assert not folder.exists()


def test_another_name_is_no_yes(command: Command, elsewhere: str, tmp_path: Path) -> None:
    ended = command("demo", tmp_path / "study", "--server", elsewhere, "--yes-host", "fhir.example.org")
    assert (ended.code, "nothing was sent" in ended.err) == (3, True)


def test_the_right_name_goes_there(command: Command, elsewhere: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    ended = command("demo", folder, "--server", elsewhere, "--yes-host", HOST)
    assert (ended.code, "secure connection" in ended.err) == (5, True)
    assert not folder.exists()


@pytest.mark.parametrize(("typed", "code"), [(HOST, 5), ("fhir.example.org", 3)])
def test_at_a_terminal_the_name_is_asked_for(elsewhere: str, tmp_path: Path, typed: str, code: int) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "fhir_msct", "demo", str(tmp_path / "study"), "--server", elsewhere]
    process = subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(ours, f"{typed}\n".encode())
    _, said = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert f"{HOST} is not this machine: type its name to go on" in said
    assert process.returncode == code, said


def test_cleaning_where_no_demo_was_is_a_wrong_request(command: Command, tmp_path: Path) -> None:
    ended = command("demo", tmp_path, "--clean")
    assert (ended.code, "nothing to clean" in ended.err) == (3, True)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100], ids=["empty", "garbage"])
def test_cleaning_by_a_book_that_is_none_says_so(command: Command, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "guest-book.sqlite").write_bytes(content)
    refused(command("demo", tmp_path, "--clean"), 3, tmp_path / "guest-book.sqlite", "not a guest book")
