"""What is never written onto an original, because something would be lost or would mean something else."""

import json
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from fhir_msct.errors import Refused
from fhir_msct.mapping.library import Mapping
from fhir_msct.records import Measurement, When

MAPPING = Mapping.load()
UCUM = "http://unitsofmeasure.org"
CK: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "ck-1",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2157-6"}]},
    "subject": {"reference": "Patient/p-1"},
    "effectivePeriod": {"start": "2024-01-02", "end": "2024-01-03"},
    "valueQuantity": {"value": 150, "unit": "U/L", "system": UCUM, "code": "U/L"},
}


def read(tree: dict[str, Any]) -> tuple[Measurement, bytes]:
    body = json.dumps(tree).encode()
    (record,) = MAPPING.read(body).records
    assert isinstance(record, Measurement)
    return record, body


EDITS: dict[str, tuple[dict[str, Any], str]] = {
    "a value is removed": ({"value": None}, "removing a value"),
    "a date is removed": ({"when": None}, "removing a value"),
    "the code is another one": ({"paramcd": "CKMBACT"}, "write a new resource"),
    "a choice changes its kind": ({"when": When("dateTime", "2024-01-02")}, "another element"),
    "a Period loses its end": ({"when": When("Period", "2024-01-02")}, "Period's end"),
    "what says the side of the body is added": ({"side": "right"}, "write a new resource"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_is_refused_where(what: str) -> None:
    record, body = read(CK)
    edit, said = EDITS[what]
    with pytest.raises(Refused, match=said):
        MAPPING.write(replace(record, **edit), onto=body)


@pytest.mark.parametrize(
    "system",
    ["http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "http://hl7.org/fhir/v3/ObservationValue"],
)
def test_a_part_of_a_resource_is_read_and_never_written_onto(system: str) -> None:
    part = {**CK, "meta": {"tag": [{"system": system, "code": "SUBSETTED"}]}}
    record, body = read(part)
    assert "subsetted" in record.flags
    with pytest.raises(Refused, match="SUBSETTED"):
        MAPPING.write(replace(record, value=Decimal(151)), onto=body)


def test_a_value_is_not_written_beside_the_reason_for_its_absence() -> None:
    record, _ = read(CK)
    masked = {key: value for key, value in CK.items() if key != "valueQuantity"}
    masked["dataAbsentReason"] = {"coding": [{"code": "masked"}]}
    with pytest.raises(Refused):
        MAPPING.write(record, onto=json.dumps(masked).encode())


def test_a_record_is_not_written_onto_a_resource_of_another_type() -> None:
    record, _ = read(CK)
    with pytest.raises(Refused, match="onto a Patient"):
        MAPPING.write(record, onto=b'{"resourceType":"Patient","id":"p-1"}')
