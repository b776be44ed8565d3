"""A server that does not answer, or answers something else than FHIR R4: one message, nothing stored."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Command, Serve
from cli.refusals import from_server, refused, tree

Study = Callable[..., Path]

HTML = b"<!doctype html><html><body>Please sign in</body></html>"


def statement(version: str) -> bytes:
    """A CapabilityStatement of some FHIR release."""
    return json.dumps({"resourceType": "CapabilityStatement", "fhirVersion": version}).encode()


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.slow
def test_a_server_that_gives_no_answer_can_be_asked_again_later(command: Command, study: Study) -> None:
    origin = f"http://127.0.0.1:{closed_port()}"
    folder = study(from_server(f"{origin}/fhir"))
    before = tree(folder)
    refused(command("pull", folder), 5, origin, "no answer", "again")
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("status", "content_type", "body", "words"),
    [
        (404, "text/html", HTML, ["not a FHIR server", "404", "write the base address as [server] url"]),
        (
            404,
            "application/fhir+json",
            b'{"resourceType": "OperationOutcome"}',
            ["not a FHIR server", "404", "write the base address as [server] url"],
        ),
        (
            200,
            "text/html; charset=utf-8",
            HTML,
            ["page for people", "http://127.0.0.1", "check [server] url"],
        ),
        (200, "text/plain", b"it works", ["not with FHIR JSON", "check [server] url"]),
        (200, "application/json", b'{"status": "UP"}', ["not a FHIR server"]),
        (200, "application/fhir+json", statement("5.0.0"), ["R5", "R4 (4.0.1)", "write it as [server] url"]),
        (200, "application/fhir+json", statement("3.0.2"), ["STU3", "R4 (4.0.1)"]),
        (200, "application/fhir+json", statement("4.3.0"), ["R4B", "R4 (4.0.1)"]),
        (302, "text/html", b"", ["sends us on", "final address"]),
    ],
    ids=["404-page", "404-fhir", "login-page", "text", "other-json", "R5", "STU3", "R4B", "redirect"],
)
def test_a_server_that_is_not_fhir_r4_is_refused_before_anything_is_stored(
    command: Command,
    study: Study,
    serve: Serve,
    status: int,
    content_type: str,
    body: bytes,
    words: list[str],
) -> None:
    folder = study(from_server(serve(status, content_type, body)))
    before = tree(folder)
    refused(command("pull", folder), 3, *words)
    assert tree(folder) == before


def test_a_server_that_wants_another_token_says_so(command: Command, study: Study, serve: Serve) -> None:
    folder = study(from_server(serve(401, "application/fhir+json", b"{}")))
    before = tree(folder)
    refused(command("pull", folder), 3, "401", "[server] auth")
    assert tree(folder) == before


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("auth", "key", "text"), [("bearer", "token_file", "secret"), ("basic", "basic_file", "who:secret")]
)
def test_credentials_that_are_refused_are_a_setting_and_their_file_is_named(
    command: Command, study: Study, serve: Serve, tmp_path: Path, status: int, auth: str, key: str, text: str
) -> None:
    file = tmp_path / "credentials"
    file.write_text(text)
    file.chmod(0o600)
    more = f'auth = "{auth}"\n{key} = "{file}"\n'
    folder = study(from_server(serve(status, "application/fhir+json", b"{}"), more=more))
    before = tree(folder)
    said = refused(command("pull", folder), 3, str(status), f"[server] {key}")
    assert "secret" not in said
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("fhir.example.org/r4", ["https://host/path"]),
        ("ftp://fhir.example.org/r4", ["https://host/path"]),
        ("http://fhir.example.org/r4", ["fhir.example.org", "use https"]),
        ("https://fhir.example.org/r4?x=1", ["fhir.example.org", "no ?"]),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_before_anything_is_sent(
    command: Command, study: Study, url: str, words: list[str]
) -> None:
    folder = study(from_server(url))
    before = tree(folder)
    refused(command("pull", folder), 3, *words)
    assert tree(folder) == before


def test_a_hospital_is_asked_only_with_a_basis(command: Command, study: Study) -> None:
    folder = study(from_server("https://fhir.example.org/r4"))
    refused(command("pull", folder), 3, "study.toml", "[cohort] basis", "fhir.example.org")


@pytest.mark.parametrize(
    ("cohort", "words"),
    [("", ["[cohort]", "exactly one of"]), ('patients = ["p 1"]\n', ["[cohort] patients", "not a FHIR id"])],
)
def test_a_cohort_that_cannot_be_meant_is_refused(
    command: Command, study: Study, cohort: str, words: list[str]
) -> None:
    toml = f'[study]\nid = "trial"\n[server]\nurl = "http://127.0.0.1:1/fhir"\n[cohort]\n{cohort}'
    refused(command("pull", study(toml)), 3, *words)


def test_without_a_server_and_without_files_there_is_nothing_to_pull(command: Command, study: Study) -> None:
    refused(command("pull", study('[study]\nid = "trial"\n')), 3, "[server] url", "--from")
