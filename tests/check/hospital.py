"""A small hospital, as resources; a study of it, as a folder."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fhir_msct.tasks.check import CheckReport

LOINC, OURS, UCUM = "http://loinc.org", "urn:fhir-msct:codes", "http://unitsofmeasure.org"
PATIENTS = ("p1", "p2", "p3")
VALUE = "91827.5"
"""No patient's value may ever be shown: this one is looked for."""


def coded(system: str, code: str, display: str = "", text: str = "") -> dict[str, Any]:
    """A CodeableConcept; without a code only its text."""
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    return ({"coding": [coding]} if code else {}) | ({"text": text} if text else {})


def observation(
    id_: str,
    code: dict[str, Any],
    unit: str = "U/L",
    *,
    patient: str = "p1",
    when: str = "2024-03-05T08:00:00+08:00",
    unit_system: str = UCUM,
) -> dict[str, Any]:
    """A final laboratory value."""
    quantity = {"value": float(VALUE), "unit": unit} | (
        {"system": unit_system, "code": unit} if unit_system else {}
    )
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": code,
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": when,
        "valueQuantity": quantity,
    }


def about(type_: str, id_: str, patient: str = "p1", **more: Any) -> dict[str, Any]:
    """A resource of another type."""
    return {"resourceType": type_, "id": id_, "subject": {"reference": f"Patient/{patient}"}, **more}


CK = coded(LOINC, "2157-6", "Creatine kinase")


def resources() -> list[dict[str, Any]]:
    """Three patients with what a study of MSCT needs; everything is listed, nothing is odd."""
    found: list[dict[str, Any]] = [{"resourceType": "Patient", "id": id_} for id_ in PATIENTS]
    found += [observation(f"ck{n}", CK, patient=PATIENTS[n % 3]) for n in range(12)]
    found.append(observation("mmt", coded(OURS, "MMT8"), "{score}", patient="p2"))
    found.append(
        about(
            "Procedure", "inf", status="completed", code=coded(OURS, "MSCT"), performedDateTime="2024-03-01"
        )
    )
    found.append(about("Condition", "dm", code=coded("http://snomed.info/sct", "396230008")))
    member = [{"entity": {"reference": f"Patient/{id_}"}} for id_ in PATIENTS]
    found.append({"resourceType": "Group", "id": "trial", "type": "person", "actual": True, "member": member})
    return found


def lines(trees: Iterable[dict[str, Any]]) -> list[bytes]:
    """Resources as bytes."""
    return [json.dumps(tree, ensure_ascii=False).encode() for tree in trees]


def study(folder: Path, url: str | None, *more: str, cohort: str = 'group = "trial"') -> Path:
    """A study folder that pulls from this address; `more` are lines of its study.toml before [cohort]."""
    folder.mkdir(exist_ok=True)
    server = f'[server]\nurl = "{url}"' if url else ""
    text = "\n".join(['[study]\nid = "small"', server, *more, "[cohort]", cohort, ""])
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder


def names(report: CheckReport, level: str | None = None) -> set[str]:
    """The names of what was found."""
    return {one.name for one in report.remarks if level in (None, one.level)}
