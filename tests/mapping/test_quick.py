"""The quick road of the reader says what the careful road says, or nothing; and it forgets what it must."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct import Mapping
from fhir_msct.mapping.subjects import Patients
from fhir_msct.records import Resource
from laws import resources

MAPPING = Mapping.load()
KIND, SHAPE = MAPPING.kinds["Observation"], MAPPING.shapes["measurement"]
PEOPLE = [
    {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1970-01-01"},
    {"resourceType": "Patient", "id": "p2", "gender": "female", "birthDate": "1970-01-01"},
]
PATIENTS = Patients(Resource("Patient", str(one["id"]), json.dumps(one).encode()) for one in PEOPLE)
UCUM = "http://unitsofmeasure.org"


def observation(**other: Any) -> dict[str, Any]:
    """A creatine kinase with something else about it."""
    return {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2157-6"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-03-05",
        "valueQuantity": {"value": 72, "unit": "U/L", "system": UCUM, "code": "U/L"},
        **other,
    }


def both(body: bytes) -> tuple[Any, Any]:
    """What the quick road gives, and the reading of the careful one."""
    resource, context = Resource("Observation", "o1", body), MAPPING.context_for(PATIENTS)
    known = KIND.judge(KIND.peek(body))
    return SHAPE.record(resource, known, context), KIND.read_as(resource, SHAPE, known, context)


def spoilt(body: bytes) -> Iterator[bytes]:
    """The resource with something unusual in each place, one at a time."""
    tree = json.loads(body)
    for key in tree.keys() - {"resourceType", "code"}:
        for value in (None, [], {}, 7, "x", [{"value": 7}], {"value": "7"}, [{"system": 3}]):
            yield json.dumps({**tree, key: value}).encode()
    for key in ("modifierExtension", "implicitRules", "_status", "valueString", "dataAbsentReason", "_id"):
        yield json.dumps({**tree, key: {"extension": []}}).encode()
    for tag in ("derived", "SUBSETTED", "other"):
        meta = {"tag": [{"system": "urn:fhir-msct:tags", "code": tag}], "versionId": "3"}
        yield json.dumps({**tree, "meta": meta}).encode()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_strange_resource_reads_the_same_on_both_roads(seed: int) -> None:
    record, reading = both(resources.body("measurement", seed))
    assert record is None or repr(reading.records) == repr((record,))


def test_whatever_is_unusual_reads_the_same_on_both_roads() -> None:
    limits = [{"high": {"value": 190.0, "unit": "U/L"}}]
    plain = observation(referenceRange=limits, identifier=[{"value": "a"}], meta={"versionId": "2"})
    quick = 0
    for body in spoilt(json.dumps(plain).encode()):
        record, reading = both(body)
        assert record is None or repr(reading.records) == repr((record,)), body
        quick += record is not None
    assert quick > 10


def test_what_hospitals_send_by_the_million_takes_the_quick_road() -> None:
    for other in (
        {},
        {"referenceRange": [{"low": {"value": 1, "code": "U/L"}}], "meta": {"tag": [{"code": "lab"}]}},
        {"identifier": [{"system": "urn:x_y", "value": 'a "quoted" one'}], "note": [{"text": "x_y"}]},
        {"component": [{"code": {"text": "x"}}], "effectiveDateTime": "2024-03-05T01:02:03Z"},
    ):
        assert both(json.dumps(observation(**other)).encode())[0] is not None, other


def test_a_range_that_depends_on_the_patient_is_looked_at_for_each_patient(tmp_path: Path) -> None:
    sexes = {"male": 308, "female": 192}
    ranges = [
        {"high": {"value": high, "unit": "U/L"}, "appliesTo": [{"coding": [{"code": sex}]}]}
        for sex, high in sexes.items()
    ]
    lines = [
        observation(referenceRange=ranges, subject={"reference": f"Patient/{id_}"})
        for id_ in ("p1", "p2", "p1", "p3")
    ]
    path = tmp_path / "Observation.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    read = [reading.records[0] for reading in MAPPING.read_ndjson(path, patients=PATIENTS)]
    assert [record.ornrhi for record in read] == ["308", "192", "308", ""]


def test_one_range_serves_values_in_two_units(tmp_path: Path) -> None:
    limits = [{"high": {"value": 3.30, "unit": "ukat/L", "system": UCUM, "code": "ukat/L"}}]
    units = ("U/L", "ukat/L", "U/L")
    lines = [
        observation(referenceRange=limits, valueQuantity={"value": 1, "system": UCUM, "code": unit})
        for unit in units
    ]
    path = tmp_path / "Observation.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    read = [reading.records[0] for reading in MAPPING.read_ndjson(path)]
    assert [str(record.aval) for record in read] == ["1", "60", "1"]
    assert {str(record.anrhi) for record in read} == {"198"}


def test_a_code_that_is_no_text_costs_one_line(tmp_path: Path) -> None:
    good = json.dumps(observation()).encode()
    path = tmp_path / "Observation.ndjson"
    path.write_bytes(good + b"\n" + good.replace(b"2157-6", b"2157-\xdd") + b"\n" + good)
    read = list(MAPPING.read_ndjson(path))
    assert [len(reading.records) for reading in read] == [1, 0, 1]
    assert read[1].set_aside[0].reason == "not-utf8"
