"""A secret that somebody pasted where its path belongs is not shown; the key or the option is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Command
from cli.refusals import from_server, refused

Study = Callable[..., Path]
URL = "http://127.0.0.1:9/fhir"
CANARY = "canary-7Yq0"
PASTED = [CANARY, f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.sig", f"nurse:{CANARY}/+=", f"{CANARY}{'x' * 5000}"]


@pytest.mark.parametrize("text", PASTED, ids=["a word", "a JWT", "a password", "a long one"])
@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("token_file", 'auth = "bearer"'),
        ("basic_file", 'auth = "basic"'),
        ("key_file", 'auth = "smart"\nclient_id = "x"'),
        ("client_cert_file", ""),
    ],
)
def test_in_study_toml_its_key_is_named(
    command: Command, study: Study, key: str, settings: str, text: str
) -> None:
    folder = study(from_server(URL, more=f'{settings}\n{key} = "{text}"\n'))
    said = refused(command("pull", folder), 3, key, "absent", "a path is wanted")
    assert CANARY not in said


@pytest.mark.parametrize("text", PASTED, ids=["a word", "a JWT", "a password", "a long one"])
def test_on_the_command_line_its_option_is_named(command: Command, tmp_path: Path, text: str) -> None:
    ended = command("demo", tmp_path / "study", "--server", URL, "--token-file", text)
    refused(ended, 3, "--token-file", "absent")
    assert CANARY not in ended.err + ended.out


def test_a_file_that_is_there_is_shown(command: Command, study: Study, tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    more = f'auth = "bearer"\ntoken_file = "{tmp_path / "token"}"\n'
    refused(command("pull", study(from_server(URL, more=more))), 3, tmp_path / "token", "cannot be read")
