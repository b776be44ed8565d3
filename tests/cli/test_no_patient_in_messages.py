"""What a command prints is read over a shoulder and mailed to a colleague: no patient's value, no token.

Canaries are put wherever data can come in, the commands fail in every way that this folder knows, and
nothing that they printed may hold one.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Command, Ended, Serve
from cli.refusals import FROM_FOLDER, creatine_kinase, export, from_server, patient

Study = Callable[..., Path]

NAME, VALUE, TOKEN = "Zebedeecanary", "987654321.125", "sesame-canary-7f3a"
CANARIES = re.compile(f"{NAME}|98765432|{TOKEN}", re.IGNORECASE)

PERSON = patient(name=[{"family": NAME, "text": NAME}], birthDate="1951-02-03")
RESULT = creatine_kinase(note=[{"text": NAME}]) | {"valueQuantity": {"value": VALUE, "unit": NAME}}
HEAD = "usubjid,paramcd,adtc,value,unit,side,entered_by,entered_at,source_doc\n"


def silent(ended: Ended) -> Ended:
    """A command's end in whose output no canary stands."""
    assert not CANARIES.search(ended.out + ended.err), ended
    return ended


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A token that only its owner may read."""
    path = tmp_path / "token"
    path.write_text(TOKEN, encoding="ascii")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (200, "text/html", f"<html>{NAME} {VALUE} {TOKEN}</html>"),
        (200, "application/fhir+json", json.dumps({"resourceType": "Patient", "id": NAME, "x": TOKEN})),
        (
            401,
            "application/fhir+json",
            json.dumps(
                {
                    "resourceType": "OperationOutcome",
                    "issue": [{"code": "login", "diagnostics": f"{NAME} {TOKEN}"}, {"code": NAME}],
                }
            ),
        ),
        (403, "text/plain", f"{NAME} {TOKEN}"),
        (302, "text/html", NAME),
    ],
    ids=["login-page", "a-patient", "outcome", "text", "redirect"],
)
def test_no_answer_of_a_server_is_repeated(
    command: Command,
    study: Study,
    serve: Serve,
    token_file: Path,
    status: int,
    content_type: str,
    body: str,
) -> None:
    url = serve(status, content_type, body.encode(), Location=f"https://other.example/{NAME}?t={TOKEN}")
    folder = study(from_server(url, more=f'auth = "bearer"\ntoken_file = "{token_file}"\n'))
    assert silent(command("pull", folder)).code in (3, 5)


@pytest.mark.parametrize(
    "toml",
    [
        f'[study]\nid = "t"\n[server]\ntoken = "{TOKEN}"\n',
        f'[study]\nid = "t"\n[server]\nurl = "https://user:{TOKEN}@fhir.example.org/r4"\n'
        '[cohort]\npatients = ["a"]\n',
        f'[study]\nid = "t"\n[server]\nurl = "https://fhir.example.org/r4?token={TOKEN}"\n'
        '[cohort]\npatients = ["a"]\n',
    ],
    ids=["a key that is none", "a password in the address", "a token in the address"],
)
def test_no_secret_of_a_study_toml_is_repeated(command: Command, study: Study, toml: str) -> None:
    assert silent(command("pull", study(toml))).code == 3


@pytest.mark.parametrize("text", [f"{TOKEN} and more", f"{TOKEN}\n{TOKEN}\n", f"{TOKEN}ü"])
def test_no_token_that_cannot_be_used_is_repeated(
    command: Command, study: Study, token_file: Path, text: str
) -> None:
    token_file.write_text(text, encoding="utf-8")
    more = f'auth = "bearer"\ntoken_file = "{token_file}"\n'
    ended = silent(command("pull", study(from_server("http://127.0.0.1:1/fhir", more=more))))
    assert (ended.code, str(token_file) in ended.err) == (3, True)


def test_a_token_that_others_may_read_is_not_used(command: Command, study: Study, token_file: Path) -> None:
    token_file.chmod(0o644)
    more = f'auth = "bearer"\ntoken_file = "{token_file}"\n'
    ended = silent(command("pull", study(from_server("http://127.0.0.1:1/fhir", more=more))))
    assert (ended.code, "chmod 600" in ended.err) == (3, True)


def test_no_patient_of_an_export_is_named_by_any_stage(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder = study(FROM_FOLDER + '[push]\nurl = "http://127.0.0.1:9/fhir"\n')
    files = export(tmp_path / "export", PERSON, RESULT, creatine_kinase("ck2", float(VALUE)))
    (files / "broken.ndjson").write_text(f'{{"name": "{NAME}", "value": {VALUE}\n', encoding="utf-8")
    (files / "latin.ndjson").write_bytes(
        f'{{"resourceType": "Patient", "id": "{NAME}ü"}}\n'.encode("latin-1")
    )
    assert silent(command("pull", folder, "--from", files)).code == 2
    for verb in ("records", "outcomes", "report"):
        assert silent(command(verb, folder)).code == 0
    assert silent(command("push", folder, "--apply")).code == 3


@pytest.mark.parametrize(
    "row",
    [
        f"p1,CK,2024-03-05,{VALUE} {NAME},U/L,,A,2024-03-06,doc\n",
        f"p1,CK,2024-03-05,{VALUE},{NAME},,A,2024-03-06,doc\n",
        f"p1,MMT8,2024-03-05,{VALUE},{{score}},,A,2024-03-06,doc\n",
        f"{NAME},CK,2024-03-05,{VALUE},U/L,,A,2024-03-06,doc\n",
        f"p1,{NAME},2024-03-05,{VALUE},U/L,,A,2024-03-06,doc\n",
        f"p1,CK,{NAME},{VALUE},U/L,,A,2024-03-06,doc\n",
        f"p1,CK,2024-03-05,{VALUE},U/L,{NAME},A,2024-03-06,doc\n",
        f'p1,CK,2024-03-05,{VALUE},U/L,,"{NAME}\n',
    ],
)
def test_no_cell_of_a_table_is_repeated(command: Command, study: Study, tmp_path: Path, row: str) -> None:
    folder = study(FROM_FOLDER)
    assert command("pull", folder, "--from", export(tmp_path / "export", PERSON)).code == 0
    table = tmp_path / "entered.csv"
    table.write_text(HEAD + row, encoding="utf-8")
    assert silent(command("load", folder, table)).code == 3


def test_two_patients_with_one_identifier_are_named_by_their_ids_only(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder = study(FROM_FOLDER + '[records]\nidentifier_system = "urn:mrn"\n')
    same = {"identifier": [{"system": "urn:mrn", "value": NAME}]}
    files = export(tmp_path / "export", patient("a", **same), patient("b", **same))
    assert command("pull", folder, "--from", files).code == 0
    ended = silent(command("records", folder))
    assert (ended.code, "Patient/a" in ended.err, "Patient/b" in ended.err) == (3, True, True)


def test_a_table_somebody_spoilt_is_named_without_its_cells(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder = study(FROM_FOLDER)
    assert command("run", folder, "--from", export(tmp_path / "export", PERSON, creatine_kinase())).code == 0
    path = folder / "records" / "measurements.csv"
    path.write_text(path.read_text("utf-8").replace("1681.5", NAME), encoding="utf-8")
    assert silent(command("outcomes", folder)).code == 3


def test_even_a_defect_shows_where_it_is_and_not_what_it_held() -> None:
    script = (
        "import sys\n"
        "from fhir_msct import cli\n"
        "@cli.app.command()\n"
        "def broken() -> None:\n"
        f"    name = '{NAME}'\n"
        "    raise ValueError(name)\n"
        "sys.argv = ['fhir-msct', 'broken']\n"
        "cli.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 5
    assert "a defect (ValueError at" in ended.stderr
    assert not CANARIES.search(ended.stdout + ended.stderr)
    assert "Traceback" not in ended.stderr
