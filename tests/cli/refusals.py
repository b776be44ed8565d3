"""What every refusal of a command has in common, and what is left on the disk after one."""

import json
from pathlib import Path

from cli.conftest import Ended


def from_server(url: str, *, more: str = "") -> str:
    """A study.toml that pulls one patient from a server."""
    return f'[study]\nid = "trial"\n\n[server]\nurl = "{url}"\n{more}\n[cohort]\npatients = ["p1"]\n'


FROM_FOLDER = '[study]\nid = "trial"\n'


def refused(ended: Ended, code: int, *words: object) -> str:
    """The one message of a command that ended with this exit code; it holds all these words."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    messages = [line for line in ended.err.splitlines() if line.startswith("fhir-msct:")]
    assert len(messages) == 1, ended.err
    assert ended.err.rstrip().endswith(messages[0]), "nothing is said after the message"
    assert "a defect" not in messages[0], messages[0]
    absent = [str(word) for word in words if str(word) not in messages[0]]
    assert not absent, f"{absent} not in {messages[0]!r}"
    return messages[0]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def patient(own: str = "p1", **more: object) -> dict[str, object]:
    """A Patient."""
    return {"resourceType": "Patient", "id": own, "gender": "female", **more}


def creatine_kinase(own: str = "ck1", value: float = 1681.5, **more: object) -> dict[str, object]:
    """A creatine kinase of p1."""
    return {
        "resourceType": "Observation",
        "id": own,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2157-6"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-03-05",
        "valueQuantity": {
            "value": value,
            "unit": "U/L",
            "system": "http://unitsofmeasure.org",
            "code": "U/L",
        },
        **more,
    }


def export(folder: Path, *resources: dict[str, object], name: str = "export.ndjson") -> Path:
    """A folder of exported files with these resources."""
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(resource, ensure_ascii=False) for resource in resources]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
