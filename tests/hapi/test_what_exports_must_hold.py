"""What every server that we trust must do with a `$export`, asked of the embedded sandbox and of HAPI."""

import json
import re
import time
from typing import Any

import httpx
import pytest

from hapi.ground import Ground, Tree, place

ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}


@pytest.fixture
def group(either: Ground) -> Tree:
    """A Group of one of two patients, with one result of each."""
    members = [{"entity": {"reference": place(either.patient())}}]
    tree = {
        "resourceType": "Group",
        "id": either.id("g"),
        "meta": {"tag": [either.tag]},
        "type": "person",
        "actual": True,
        "member": members,
    }
    either.put(
        either.patient(),
        either.patient("q"),
        either.observation("a"),
        either.observation("b", of="q"),
        tree,
    )
    return tree


def kick_off(ground: Ground, group: Tree, query: str = "", **headers: str) -> httpx.Response:
    """A kick-off, whatever comes of it."""
    return ground.http.get(f"{ground.url}/{place(group)}/$export{query}", headers={**ASYNC, **headers})


def done(ground: Ground, status: str) -> Any:
    """The manifest of a job, once it is finished."""
    for _ in range(600):
        answer = ground.http.get(status)
        if answer.status_code != 202:
            assert answer.status_code == 200, answer.text
            return answer.json()
        time.sleep(0.05)  # HAPI works on it
    raise AssertionError("the export does not end")


def test_an_export_of_a_group_holds_its_members_data_a_resource_a_line(either: Ground, group: Tree) -> None:
    begun = kick_off(either, group, "?_type=Patient,Observation")
    assert begun.status_code == 202
    manifest = done(either, begun.headers["Content-Location"])
    assert {"transactionTime", "request", "requiresAccessToken", "output", "error"} <= manifest.keys()
    lines = []
    for file in manifest["output"]:
        answer = either.http.get(file["url"], headers={"Accept": "application/fhir+ndjson"})
        assert answer.headers["Content-Type"].startswith("application/fhir+ndjson")
        lines += [json.loads(line) for line in answer.content.split(b"\n") if line]
    assert {place(line) for line in lines} == {place(either.patient()), f"Observation/{either.id('a')}"}


def test_of_a_repeated_type_only_the_first_is_exported(either: Ground, group: Tree) -> None:
    """So types are a comma list; the repeated form is the last resort."""
    begun = kick_off(either, group, "?_type=Patient&_type=Observation")
    manifest = done(either, begun.headers["Content-Location"])
    assert [file["type"] for file in manifest["output"]] == ["Patient"]


def test_what_changed_before_since_is_not_exported(either: Ground, group: Tree) -> None:
    begun = kick_off(either, group, "?_type=Patient&_since=2099-01-01T00:00:00Z")
    assert done(either, begun.headers["Content-Location"])["output"] == []


def test_a_kick_off_that_does_not_want_to_wait_or_names_no_type_is_refused(
    either: Ground, group: Tree
) -> None:
    assert kick_off(either, group, Prefer="return=representation").status_code == 400
    assert kick_off(either, group, "?_type=Nonsense").status_code == 400
    assert kick_off(either, {**group, "id": either.id("never")}).status_code == 404


def test_types_may_be_posted_as_parameters(either: Ground, group: Tree) -> None:
    asked = {"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Patient"}]}
    said = {**ASYNC, "Content-Type": "application/fhir+json"}
    begun = either.http.post(f"{either.url}/{place(group)}/$export", json=asked, headers=said)
    assert begun.status_code == 202
    assert [f["type"] for f in done(either, begun.headers["Content-Location"])["output"]] == ["Patient"]


def test_a_job_that_runs_can_be_stopped_and_a_finished_one_has_nothing_to_stop(
    either: Ground, group: Tree
) -> None:
    running = kick_off(either, group, "?_type=Patient").headers["Content-Location"]
    assert either.http.delete(running).status_code == 202
    assert either.http.get(running).status_code == 404
    finished = kick_off(either, group, "?_type=Patient").headers["Content-Location"]
    done(either, finished)
    assert either.http.delete(finished).status_code == 404
    assert either.http.get(finished).status_code == 200


def test_a_job_that_nobody_began_is_not_found(either: Ground, group: Tree) -> None:
    status = kick_off(either, group, "?_type=Patient").headers["Content-Location"]
    other = re.sub(r"[0-9a-f-]{32,36}", "00000000-0000-4000-8000-000000000000", status)
    assert either.http.get(other).status_code == 404
