"""A study folder's own template: what it expects and does not find sets a resource aside as `constant`."""

import json
from pathlib import Path

import pytest

from fhir_msct.data import mappings
from fhir_msct.mapping.library import Mapping


def resource(kind: str | None) -> bytes:
    """A creatine kinase whose subject is said to be of this type."""
    subject = {"reference": "Patient/p1", "type": kind} if kind else {"reference": "Patient/p1"}
    return json.dumps(
        {
            "resourceType": "Observation",
            "id": "o1",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "2157-6"}]},
            "subject": subject,
            "effectiveDateTime": "2024-03-05",
            "valueQuantity": {
                "value": 72,
                "unit": "U/L",
                "system": "http://unitsofmeasure.org",
                "code": "U/L",
            },
        }
    ).encode()


@pytest.fixture
def strict(tmp_path: Path) -> Mapping:
    """The shipped measurement, whose subject must be a Patient where its type is given."""
    template = json.loads((mappings() / "measurement.json").read_text(encoding="utf-8"))
    template["subject"]["type"] = "Patient"
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "measurement-strict.json").write_text(json.dumps(template), encoding="utf-8")
    return Mapping.load(tmp_path)


def test_another_value_than_the_constant_sets_the_resource_aside(strict: Mapping) -> None:
    (row,) = strict.read(resource("Device")).set_aside
    assert (row.reason, row.where) == ("constant", "Observation.subject.type")


@pytest.mark.parametrize("kind", ["Patient", None])
def test_the_constant_itself_and_its_absence_are_no_mismatch(strict: Mapping, kind: str | None) -> None:
    reading = strict.read(resource(kind))
    assert reading.set_aside == ()
    assert len(reading.records) == 1


def test_the_shipped_template_expects_nothing_there() -> None:
    assert len(Mapping.load().read(resource("Device")).records) == 1
