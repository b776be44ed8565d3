"""A demo on a server that wants a bearer token: it comes from a file, and stands nowhere else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_msct.client.failures import Shut
from fhir_msct.errors import ConfigError
from fhir_msct.sandbox.server import Sandbox
from guest.house import House, Wire

TOKEN = "canary-7Yq0"  # noqa: S105  (opens nothing but this test's sandbox)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[House]:
    """A server that answers nobody without the token."""
    with Sandbox(token=TOKEN, page_cap=20) as server:
        yield House(server, tmp_path / "study")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """The token, for its owner's eyes."""
    path = tmp_path / 'my "token"'
    path.write_text(f"{TOKEN}\n", "utf-8")
    path.chmod(0o600)
    return path


def test_the_story_is_told_and_cleaned_away_with_the_token_and_no_file_or_line_shows_it(
    guarded: House, token_file: Path
) -> None:
    told = guarded.demo(token_file=token_file)
    assert told.complete
    assert "read back equal; again: 0 written" in " ".join(told.screen.split())
    assert f"--clean --token-file '{token_file}'" in told.screen
    written = b"".join(path.read_bytes() for path in guarded.folder.rglob("*") if path.is_file())
    assert str(token_file.name).replace('"', '\\"').encode() in written
    assert TOKEN.encode() not in written
    assert TOKEN not in told.screen + "".join(guarded.said)
    with pytest.raises(Shut):
        guarded.clean()
    assert guarded.ours()
    guarded.clean(token_file=token_file)
    guarded.require_as_before()


def test_without_the_token_nothing_is_written(guarded: House) -> None:
    before = guarded.server.versions
    with pytest.raises(Shut):
        guarded.demo()
    assert guarded.server.versions == before
    assert not guarded.folder.exists()


def test_a_token_that_others_may_read_is_not_sent(guarded: House, token_file: Path) -> None:
    token_file.chmod(0o644)
    wire = Wire()
    with pytest.raises(ConfigError, match="chmod 600"):
        guarded.demo(wire, token_file=token_file)
    assert wire.sent == []
    assert not guarded.folder.exists()
