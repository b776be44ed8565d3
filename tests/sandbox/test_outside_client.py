"""A client that nobody here wrote finds a FHIR server: fhirpy searches, creates, updates and deletes."""

import pytest
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

from fhir_msct.sandbox import Sandbox


def test_fhirpy_creates_finds_updates_and_deletes(server: Sandbox) -> None:
    client = SyncFHIRClient(server.url)
    for number in range(25):
        client.resource("Observation", status="final", subject={"reference": f"Patient/p{number % 2}"}).save()
    found = client.resources("Observation").search(patient="p1").sort("-_id").limit(5)
    assert found.count() == 12
    assert len(found.fetch_all()) == 12
    first = found.first()
    first["status"] = "amended"
    first.save()
    assert client.resources("Observation").search(status="amended").get()["id"] == first["id"]
    assert client.reference("Observation", first["id"]).to_resource()["meta"]["versionId"] == "2"
    first.delete()
    with pytest.raises(ResourceNotFound):
        client.get("Observation", first["id"])


def test_fhirpy_updates_by_a_condition_and_makes_no_copy(server: Sandbox) -> None:
    client = SyncFHIRClient(server.url)
    search = client.resources("Patient").search(identifier="urn:mrn|7")
    body = client.resource("Patient", identifier=[{"system": "urn:mrn", "value": "7"}])
    first, created = search.update(body)
    again, created_again = search.update(body)
    assert (created, created_again) == (True, False)
    assert first["id"] == again["id"]
    assert len(server.dump("Patient")) == 1
