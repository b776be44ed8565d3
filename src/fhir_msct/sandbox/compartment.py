"""The patient compartment: which types can be a patient's, and by which references a resource is one's.

What stands under `Patient` and `Group` in an export is limited to it, as on real servers.
https://hl7.org/fhir/R4/compartmentdefinition-patient.html, for the types that a study may meet
"""

import json
import re
from collections.abc import Iterator
from typing import Any

ANYBODY = frozenset({"*"})
"""In place of ids: every patient."""

_BY: dict[str, tuple[str, ...]] = {
    "Patient": ("link.other",),
    "AdverseEvent": ("subject",),
    "AllergyIntolerance": ("patient", "recorder", "asserter"),
    "Condition": ("subject", "asserter"),
    "Consent": ("patient",),
    "DiagnosticReport": ("subject",),
    "Encounter": ("subject",),
    "Group": ("member.entity",),
    "Immunization": ("patient",),
    "MedicationAdministration": ("subject", "performer.actor"),
    "MedicationRequest": ("subject",),
    "MedicationStatement": ("subject",),
    "Observation": ("subject", "performer"),
    "Procedure": ("subject", "performer.actor"),
    "Provenance": ("target",),
    "ResearchSubject": ("individual",),
    "ServiceRequest": ("subject", "performer"),
    "Specimen": ("subject",),
}
_PATIENT = re.compile(r"(?:.*/)?Patient/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?")

TYPES = frozenset(_BY)
"""The types that can be in it."""


def belongs(body: bytes, type_: str, patients: frozenset[str]) -> bool:
    """Whether a resource is of one of these patients."""
    tree = json.loads(body)
    ids = {found for path in _BY.get(type_, ()) for found in _ids(tree, path.split("."))}
    ids |= {tree.get("id")} if type_ == "Patient" else set()
    return bool(ids) if patients == ANYBODY else bool(ids & patients)


def _ids(value: Any, path: list[str]) -> Iterator[str]:
    """The ids of the patients that are referred to at a path, through every list on the way."""
    if isinstance(value, list):
        for one in value:
            yield from _ids(one, path)
    elif isinstance(value, dict) and path:
        yield from _ids(value.get(path[0]), path[1:])
    elif isinstance(value, dict):
        found = _PATIENT.fullmatch(str(value.get("reference", "")))
        if found:
            yield found[1]
