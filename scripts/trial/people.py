"""Patients, the study around them, what was given to them, and what they suffer from."""

from typing import Any

from trial.json_text import Number
from trial.observations import EXAMPLE, OWN, SNOMED, TERMINOLOGY, UCUM, patient_id
from trial.plan import PEOPLE
from trial.specials import BM, CELLS, ILLNESSES, SNOMED_OF, UC, Cells, Illness

Tree = dict[str, Any]

ICD = "http://hl7.org/fhir/sid/icd-10-cm"
STUDY = "synthetic-msct-trial"
GROUP = "msct-trial"
CELL_SOURCES = {UC: "29870000", BM: "14016003"}
TITLE = "SYNTHETIC trial of allogeneic mesenchymal stem cells in polymyositis and dermatomyositis"


def patient(key: str) -> Tree:
    """One Patient."""
    person, number = PEOPLE[key], key[1:]
    tree: Tree = {
        "resourceType": "Patient",
        "id": patient_id(key),
        "identifier": [{"system": "https://example.org/fhir/sid/synthetic-mrn", "value": f"SYN-{number}"}],
        "active": True,
        "name": [
            {"text": f"Synthetic Patient {number}", "family": "Synthetic", "given": [f"Patient {number}"]}
        ],
        "gender": person.sex,
        "birthDate": person.birth,
    }
    if person.died:
        tree["deceasedDateTime"] = f"{person.died}T04:15:00+08:00"
    elif key == "p03":
        tree["deceasedBoolean"] = False
    return tree


def group() -> Tree:
    """The cohort: the ten and one who was never infused."""
    members = [{"entity": {"reference": f"Patient/{patient_id(key)}"}} for key in PEOPLE]
    return {
        "resourceType": "Group",
        "id": GROUP,
        "active": True,
        "type": "person",
        "actual": True,
        "name": "SYNTHETIC MSCT cohort",
        "quantity": len(members),
        "member": members,
    }


def research_study() -> Tree:
    """The trial as the server knows it."""
    return {
        "resourceType": "ResearchStudy",
        "id": STUDY,
        "title": TITLE,
        "status": "active",
        "enrollment": [{"reference": f"Group/{GROUP}"}],
    }


def research_subject(key: str) -> Tree:
    """One patient's part in the trial."""
    status = "candidate" if key == "p11" else "off-study" if PEOPLE[key].died else "follow-up"
    return {
        "resourceType": "ResearchSubject",
        "id": f"subject-{key}",
        "status": status,
        "study": {"reference": f"ResearchStudy/{STUDY}"},
        "individual": {"reference": f"Patient/{patient_id(key)}"},
    }


def diseases() -> list[Illness]:
    """The disease of each of the eleven."""
    return [Illness(f"dx-{key}", key, person.dx, "DX", f"20{15 + n % 4}-0{n % 9 + 1}-1{n % 10}")
            for n, (key, person) in enumerate(PEOPLE.items())]  # fmt: skip


def illnesses() -> list[Illness]:
    """Every Condition that the study reads."""
    return [*diseases(), *ILLNESSES]


def condition(illness: Illness) -> Tree:
    """One Condition."""
    codings = illness.codings or (f"sct {SNOMED_OF[illness.term]}",)
    systems = {"sct": SNOMED, "icd": ICD}
    tree: Tree = {
        "resourceType": "Condition",
        "id": illness.id,
        "clinicalStatus": _coded(f"{TERMINOLOGY}/condition-clinical", illness.state),
        "verificationStatus": _coded(f"{TERMINOLOGY}/condition-ver-status", "confirmed"),
        "code": {"coding": [{"system": systems[c[:3]], "code": c[4:]} for c in codings]},
        "subject": {"reference": f"Patient/{patient_id(illness.patient)}"},
        "onsetDateTime": illness.onset,
        "recordedDate": illness.onset,
    }
    if illness.abated:
        tree["abatementDateTime"] = illness.abated
    return tree


def transplant_status() -> Tree:
    """The decoy that says somebody once had a stem cell transplant: history, not an event."""
    return {
        "resourceType": "Condition",
        "id": "txstatus-p11",
        "clinicalStatus": _coded(f"{TERMINOLOGY}/condition-clinical", "active"),
        "code": {"coding": [{"system": ICD, "code": "Z94.84"}], "text": "Stem cells transplant status"},
        "subject": {"reference": f"Patient/{patient_id('p11')}"},
        "recordedDate": "2016-06-01",
    }


def infusions() -> list[Tree]:
    """Every resource that says, or seems to say, that cells were given."""
    return [_procedure(cells) if cells.type == "Procedure" else _medication(cells) for cells in CELLS]


def _procedure(cells: Cells) -> Tree:
    tree: Tree = {"resourceType": "Procedure", "id": cells.id}
    extensions = [_source(cells)] if cells.source else []
    if cells.dose:
        extensions.append({"url": "urn:fhir-msct:cell-dose", "valueQuantity": _dose(cells)})
    if extensions:
        tree["extension"] = [{"url": f"{EXAMPLE}/ward", "valueString": "SYNTHETIC ward"}, *extensions]
    tree["status"] = "not-done" if cells.how == "not-done" else "completed"
    if cells.how in ("product", "hsct", "category"):
        tree["category"] = _coded(SNOMED, "77465005")
    if cells.how != "category":
        tree["code"] = _procedure_code(cells.how)
    tree["subject"] = {"reference": f"Patient/{patient_id(cells.patient)}"}
    tree |= _moment("performed", cells.when)
    if cells.how == "product":
        tree["usedCode"] = [_coded(SNOMED, "420884001")]
    return tree


def _procedure_code(how: str) -> Tree:
    words = "Allogeneic mesenchymal stem cell infusion"
    codes: dict[str, Tree] = {
        "local": {"coding": [{"system": OWN, "code": "MSCT"}], "text": words},
        "not-done": {"coding": [{"system": OWN, "code": "MSCT"}], "text": words},
        "product": {"coding": [{"system": SNOMED, "code": "50223000"}], "text": "Allogeneic transplantation"},
        "hsct": {
            "coding": [{"system": SNOMED, "code": "234336002"}],
            "text": "Hemopoietic stem cell transplant",
        },
        "text": {"text": "mesenchymal stem cell infusion, outside hospital"},
        "words": {"coding": [{"system": SNOMED, "code": "50223000"}], "text": words},
    }
    return codes[how]


def _medication(cells: Cells) -> Tree:
    return {
        "resourceType": "MedicationAdministration",
        "id": cells.id,
        "extension": [_source(cells)],
        "status": "completed",
        "medicationCodeableConcept": _coded(SNOMED, "420884001"),
        "subject": {"reference": f"Patient/{patient_id(cells.patient)}"},
        **_moment("effective", cells.when),
        "dosage": {"text": "intravenous, once", "dose": _dose(cells)},
    }


def _moment(base: str, when: str) -> Tree:
    start, _, end = when.partition("/")
    return {f"{base}Period": {"start": start, "end": end}} if end else {f"{base}DateTime": start}


def _source(cells: Cells) -> Tree:
    return {
        "url": "urn:fhir-msct:cell-source",
        "valueCodeableConcept": _coded(SNOMED, CELL_SOURCES[cells.source]),
    }


def _dose(cells: Cells) -> Tree:
    return {"value": Number(cells.dose), "unit": "10*6/kg", "system": UCUM, "code": "10*6/kg"}


def _coded(system: str, code: str) -> Tree:
    return {"coding": [{"system": system, "code": code}]}
