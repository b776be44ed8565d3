"""The CapabilityStatement claims only what the server does: every claim is tried, for every type."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from fhir_msct.sandbox import Sandbox
from fhir_msct.sandbox.parameters import PARAMETERS

Tree = dict[str, Any]
TAG = {"system": "urn:x", "code": "claimed"}
ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}
DAY = "2024-03-01"
CHOICES = {
    "medication": "medicationCodeableConcept",
    **{name: f"{name}DateTime" for name in ("abatement", "collected", "effective", "occurrence", "onset")},
    "performed": "performedDateTime",
}
"""Elements with several types, and the one that is tried."""

PERIODS = {"CarePlan", "Encounter", "ResearchStudy", "ResearchSubject"}
LISTS = {"member", "identifier", "category", "target"}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with Sandbox() as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def rest(http: httpx.Client) -> Any:
    (rest,) = http.get("/metadata").json()["rest"]
    return rest


def interactions(http: httpx.Client, type_: str) -> Iterator[tuple[str, bool]]:
    """Each interaction that FHIR has for a type, and whether it works."""
    one, place = {"resourceType": type_, "id": "one", "meta": {"tag": [TAG]}}, f"/{type_}/one"
    yield "update", http.put(place, json=one).status_code == 201
    yield "read", http.get(place).json()["id"] == "one"
    yield "vread", http.get(f"{place}/_history/1").json()["id"] == "one"
    yield "search-type", http.get(f"/{type_}?_id=one").json()["total"] == 1
    yield "history-instance", http.get(f"{place}/_history").json()["total"] == 1
    yield "history-type", http.get(f"/{type_}/_history").status_code == 200
    yield "patch", http.patch(place, json=[]).status_code == 200
    yield "create", http.post(f"/{type_}", json={"resourceType": type_}).status_code == 201
    yield "delete", http.delete(place).status_code == 200 and http.get(place).status_code == 410


def test_each_type_does_the_interactions_that_are_claimed_and_no_others(
    http: httpx.Client, rest: Any
) -> None:
    assert len(rest["resource"]) > 100
    for claimed in rest["resource"]:
        works = [name for name, works in interactions(http, claimed["type"]) if works]
        assert sorted(works) == sorted(one["code"] for one in claimed["interaction"]), claimed["type"]


def conditions(http: httpx.Client, type_: str) -> Tree:
    """What is done to a type by condition, in the words of the CapabilityStatement."""
    one, asked = {"resourceType": type_, "meta": {"tag": [TAG]}}, "_tag=urn:x%7Cclaimed"
    made = [http.put(f"/{type_}?{asked}", json=one) for _ in "ab"]
    found = http.post(f"/{type_}", json=one, headers={"If-None-Exist": asked})
    place = f"/{type_}/{made[0].json()['id']}"
    again = http.get(place, headers={"If-None-Match": 'W/"1"'})
    later = http.get(place, headers={"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})
    return {
        "conditionalUpdate": [answer.status_code for answer in made] == [201, 200],
        "conditionalCreate": found.status_code == 200 and found.json()["id"] == made[0].json()["id"],
        "conditionalRead": {(304, 200): "not-match"}.get((again.status_code, later.status_code)),
        "conditionalDelete": "single" if http.delete(f"/{type_}?{asked}").is_success else "not-supported",
        "updateCreate": http.put(f"/{type_}/own", json={**one, "id": "own"}).status_code == 201,
        "readHistory": http.get(f"{place}/_history/1").status_code == 200,
        "versioning": "versioned" if made[0].headers["ETag"] == 'W/"1"' else "no-version",
    }


def test_each_type_does_by_condition_what_is_claimed(http: httpx.Client, rest: Any) -> None:
    for claimed in rest["resource"]:
        done = conditions(http, claimed["type"])
        assert done == {name: claimed[name] for name in done}, claimed["type"]


def carrying(type_: str, name: str) -> tuple[Tree, str, str]:
    """A resource that a search parameter finds, the value that finds it, and one that does not."""
    if name in ("_id", "_tag", "_lastUpdated"):
        asked = {"_id": ("found", "other"), "_tag": ("urn:x|found", "urn:x|other")}
        asked["_lastUpdated"] = ("gt2020", "lt2020")
        tag = {"system": "urn:x", "code": "found"}
        return {"resourceType": type_, "id": "found", "meta": {"tag": [tag]}}, *asked[name]
    parameter = PARAMETERS[type_][name]
    target = parameter.target or "Device"
    kinds: dict[str, tuple[Any, str, str]] = {
        "token": ({"coding": [{"system": "urn:x", "code": "c"}]}, "urn:x|c", "urn:y|c"),
        "date": (DAY, DAY, "2023"),
        "uri": ("urn:u", "urn:u", "urn:v"),
        "reference": ({"reference": f"{target}/a"}, f"{target}/a", f"{target}/b"),
    }
    value, right, wrong = kinds[parameter.kind]
    *steps, last = parameter.path.split(".")
    if last == "identifier":
        value = {"system": "urn:x", "value": "c"}
    if last in ("status", "gender"):
        value, right, wrong = "c", "c", "d"
    if last == "class":
        value = {"system": "urn:x", "code": "c"}
    if last == "period" and type_ in PERIODS:
        value = {"start": DAY, "end": DAY}
    made: Any = {CHOICES.get(last, last): [value] if last in LISTS else value}
    for step in reversed(steps):
        made = {step: [made] if step in LISTS else made}
    return {"resourceType": type_, "id": "found", **made}, right, wrong


def test_each_parameter_that_is_claimed_finds_what_it_is_about_and_nothing_else(
    http: httpx.Client, rest: Any
) -> None:
    tried = 0
    for claimed in rest["resource"]:
        type_, names = claimed["type"], [one["name"] for one in claimed["searchParam"]]
        asked: list[Tree] = []
        for name in names:
            tree, *values = carrying(type_, name)
            asked.append({"resource": tree, "request": {"method": "PUT", "url": f"{type_}/found"}})
            for value in values:
                query = urlencode({name: value, "_count": "1000"})
                asked.append({"request": {"method": "GET", "url": f"{type_}?{query}"}})
        answers = batch(http, asked)
        for number, name in enumerate(names):
            written, right, wrong = answers[3 * number : 3 * number + 3]
            assert written["response"]["status"][:2] == "20"
            assert ("found" in ids(right), "found" in ids(wrong)) == (True, False), (type_, name)
            tried += 1
    assert tried > 500


def test_whatever_else_one_can_search_by_is_refused(http: httpx.Client, rest: Any) -> None:
    names = {one["name"] for claimed in rest["resource"] for one in claimed["searchParam"]}
    for claimed in rest["resource"]:
        type_, own = claimed["type"], {one["name"] for one in claimed["searchParam"]}
        others = sorted({*names, "_include", "_has", "code:text"} - own)
        asked = [{"request": {"method": "GET", "url": f"{type_}?{name}=x"}} for name in others]
        codes = [entry["response"]["status"][:3] for entry in batch(http, asked)]
        assert codes == ["400"] * len(others), (type_, others)


def batch(http: httpx.Client, entries: list[Tree]) -> list[Tree]:
    """What the server answers to each entry."""
    sent = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    answers: list[Tree] = http.post("", json=sent).json()["entry"]
    return answers


def ids(entry: Tree) -> list[str]:
    """The ids that a search in a batch found."""
    return [one["resource"]["id"] for one in entry["resource"].get("entry", [])]


def test_the_server_runs_the_bundles_that_are_claimed(http: httpx.Client, rest: Any) -> None:
    assert {one["code"] for one in rest["interaction"]} == {"transaction", "batch"}
    for kind in ("transaction", "batch"):
        answer = http.post("", json={"resourceType": "Bundle", "type": kind, "entry": []})
        assert answer.json()["type"] == f"{kind}-response"


def test_each_operation_that_is_claimed_starts_a_job(http: httpx.Client, rest: Any) -> None:
    http.put("/Group/g", json={"resourceType": "Group", "id": "g"})
    levels = {claimed["type"] for claimed in rest["resource"] if "operation" in claimed}
    assert levels == {"Group", "Patient"}
    assert [one["name"] for one in rest["operation"]] == ["export"]
    for address in ("/$export", "/Patient/$export", "/Group/g/$export"):
        assert http.get(address, headers=ASYNC).status_code == 202


@pytest.mark.parametrize("wanted", ["application/fhir+json", "json"])
def test_each_format_that_is_claimed_is_spoken(http: httpx.Client, wanted: str) -> None:
    assert wanted in http.get("/metadata").json()["format"]
    answer = http.get("/metadata", params={"_format": wanted})
    assert answer.headers["Content-Type"].startswith("application/fhir+json")
