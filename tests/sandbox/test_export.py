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
    assert httpx.delete(place).status_code == 404  # nothing to do any more
    assert httpx.get(place).status_code == 200
    return [one["type"] for one in done.json()["output"]]


def test_a_comma_list_is_exported_and_of_a_repeated_type_only_the_first(server: Sandbox) -> None:
    assert exported(server, "?_type=Patient,Observation") == ["Patient", "Observation"]
    assert exported(server, "?_type=Patient&_type=Observation") == ["Patient"]
    assert exported(server, "") == ["Observation", "Patient"]


def test_a_level_holds_what_is_in_the_compartment_of_its_patients(server: Sandbox) -> None:
    def of(who: str) -> dict[str, object]:
        return {"reference": f"Patient/{who}"}

    more: list[dict[str, object]] = [
        {"resourceType": "Patient", "id": "b"},
        {"resourceType": "Observation", "id": "of-b", "subject": of("b")},
        {"resourceType": "Observation", "id": "of-nobody"},
        {"resourceType": "Observation", "id": "by-a", "subject": of("b"), "performer": [of("a/_history/3")]},
        {"resourceType": "ResearchStudy", "id": "s"},
        {"resourceType": "Group", "id": "g", "member": [{"entity": of("a")}]},
    ]
    server.load(json.dumps(one).encode() for one in more)
    levels = ("", "Patient/", "Group/g/")
    assert [types_and_ids(server, level) for level in levels] == [
        "Group/g Observation/by-a Observation/o Observation/of-b Observation/of-nobody "
        "Patient/a Patient/b ResearchStudy/s",
        "Group/g Observation/by-a Observation/o Observation/of-b Patient/a Patient/b",
        "Group/g Observation/by-a Observation/o Patient/a",
    ]
    outside = [f"{server.url}/{level}$export?_type=ResearchStudy" for level in levels]
    assert [httpx.get(url, headers=ASYNC).status_code for url in outside] == [202, 400, 400]


def types_and_ids(server: Sandbox, level: str) -> str:
    """What an export at a level holds."""
    place = httpx.get(f"{server.url}/{level}$export", headers=ASYNC).headers["content-location"]
    httpx.get(place)
    lines = [httpx.get(one["url"]).text.splitlines() for one in httpx.get(place).json()["output"]]
    trees = [json.loads(line) for part in lines for line in part]
    return " ".join(sorted(f"{tree['resourceType']}/{tree['id']}" for tree in trees))


def test_a_level_lists_the_deletions_of_its_patients_only(server: Sandbox) -> None:
    member = {"entity": {"reference": "Patient/b"}}
    server.load([json.dumps({"resourceType": "Group", "id": "g", "member": [member]}).encode()])
    assert httpx.delete(f"{server.url}/Observation/o").status_code == 200

    def deleted(level: str) -> list[str]:
        url = f"{server.url}/{level}$export?_since=2000-01-01T00:00:00Z"
        place = httpx.get(url, headers=ASYNC).headers["content-location"]
        httpx.get(place)
        return [one["type"] for one in httpx.get(place).json()["deleted"]]

    assert [deleted(level) for level in ("", "Patient/", "Group/g/")] == [["Bundle"], ["Bundle"], []]


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
