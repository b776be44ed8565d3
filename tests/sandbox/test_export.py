"""The sandbox's `$export`: what a client may rely on, and one trap that HAPI sets too."""

import json
from collections.abc import Iterator

import httpx
import pytest

from fhir_msct.sandbox.server import Sandbox

ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with Sandbox() as running:
        about = {"subject": {"reference": "Patient/a"}}
        held = [{"resourceType": "Patient", "id": "a"}, {"resourceType": "Observation", "id": "o", **about}]
        running.load(json.dumps(one).encode() for one in held)
        yield running


def exported(server: Sandbox, query: str) -> list[str]:
    """The types that an export lists."""
    begun = httpx.get(f"{server.url}/$export{query}", headers=ASYNC)
    assert begun.status_code == 202
    place = begun.headers["content-location"]
    waiting = httpx.get(place)
    assert (waiting.status_code, waiting.content) == (202, b"") and waiting.headers["x-progress"]
    done = httpx.get(place)
    assert done.status_code == 200
    assert httpx.delete(place).status_code == 202
    assert httpx.get(place).status_code == httpx.delete(place).status_code == 404
    return [one["type"] for one in done.json()["output"]]


def test_a_comma_list_is_exported_and_of_a_repeated_type_only_the_first(server: Sandbox) -> None:
    assert exported(server, "?_type=Patient,Observation") == ["Patient", "Observation"]
    assert exported(server, "?_type=Patient&_type=Observation") == ["Patient"]
    assert exported(server, "") == ["Observation", "Patient"]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"Accept": "application/fhir+json"}),
        ("", {"Accept": "text/html", "Prefer": "respond-async"}),
        ("?_type=Nope", ASYNC),
    ],
)
def test_a_kick_off_that_is_not_one_is_refused(server: Sandbox, query: str, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{server.url}/$export{query}", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"
