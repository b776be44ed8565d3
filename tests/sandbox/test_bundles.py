"""Transactions are all or nothing, batches each for itself."""

import httpx
import pytest

from fhir_msct.sandbox import Sandbox

MRN = "urn:mrn"


def entry(
    method: str, url: str, resource: object = None, full_url: str = "", **request: str
) -> dict[str, object]:
    rest = {"resource": resource} if resource is not None else {}
    named = {"fullUrl": full_url} if full_url else {}
    return {**named, **rest, "request": {"method": method, "url": url, **request}}


def send(http: httpx.Client, kind: str, *entries: dict[str, object]) -> httpx.Response:
    return http.post("", json={"resourceType": "Bundle", "type": kind, "entry": list(entries)})


def responses(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return [item["response"] for item in answer.json()["entry"]]


def patient(name: str = "", /, **more: object) -> dict[str, object]:
    return {"resourceType": "Patient", **({"id": name} if name else {}), **more}


def identified(value: str, **more: object) -> dict[str, object]:
    return patient(identifier=[{"system": MRN, "value": value}], **more)


def test_a_transaction_answers_entry_by_entry_with_bare_etags_and_relative_places(http) -> None:
    http.put("/Patient/old", json=patient("old"))
    answer = send(
        http,
        "transaction",
        entry("GET", "Patient/p1"),
        entry("PUT", "Patient/p1", patient("p1")),
        entry("POST", "Patient", patient(gender="male")),
        entry("DELETE", "Patient/old"),
        entry("GET", "Patient?gender=male"),
    )
    assert answer.json()["type"] == "transaction-response"
    got, put, posted, deleted, searched = responses(answer)
    when = "2024-06-01T12:00:00.000+00:00"
    assert put == {
        "status": "201 Created", "location": "Patient/p1/_history/1", "etag": "1", "lastModified": when,
    }  # fmt: skip
    assert posted["location"] == "Patient/1/_history/1"
    assert got == searched == {"status": "200 OK"}
    assert deleted == {"status": "204 No Content", "location": "Patient/old/_history/2", "etag": "2"}
    assert answer.json()["entry"][0]["resource"]["id"] == "p1"
    assert answer.json()["entry"][4]["resource"]["total"] == 1
    assert http.get("/Patient/old").status_code == 410


def test_a_urn_uuid_becomes_the_new_id_wherever_a_reference_names_it(http) -> None:
    mine, theirs = (
        "urn:uuid:11111111-1111-4111-8111-111111111111",
        "urn:uuid:22222222-2222-4222-8222-222222222222",
    )
    result = {"resourceType": "Observation", "id": "o1", "subject": {"reference": mine}}
    result |= {"note": [{"text": f'"reference":"{mine}"'}], "hasMember": [{"reference": theirs}]}
    answer = send(
        http,
        "transaction",
        entry("PUT", "Observation/o1", result),
        entry("POST", "Patient", patient(), mine),
        entry("PUT", "Observation/o2", {"resourceType": "Observation", "id": "o2"}, theirs),
    )
    assert responses(answer)[1]["location"] == "Patient/1/_history/1"
    stored = http.get("/Observation/o1").json()
    assert stored["subject"] == {"reference": "Patient/1"}
    assert stored["hasMember"] == [{"reference": "Observation/o2"}]
    assert stored["note"] == [{"text": f'"reference":"{mine}"'}]
    assert http.get("/Observation?patient=1").json()["total"] == 1


def test_a_conditional_create_in_a_transaction_links_to_what_is_there(server, http) -> None:
    http.post("/Patient", json=identified("7"))
    mine = "urn:uuid:11111111-1111-4111-8111-111111111111"
    answer = send(
        http,
        "transaction",
        entry("POST", "Patient", identified("7", gender="male"), mine, ifNoneExist=f"identifier={MRN}|7"),
        entry("POST", "Observation", {"resourceType": "Observation", "subject": {"reference": mine}}),
    )
    first, second = responses(answer)
    assert first == {"status": "200 OK", "location": "Patient/1/_history/1", "etag": "1"}
    assert second["status"] == "201 Created"
    assert http.get("/Observation").json()["entry"][0]["resource"]["subject"] == {"reference": "Patient/1"}
    assert server.versions == 2


def test_a_conditional_update_in_a_transaction_updates_the_match(http) -> None:
    http.post("/Patient", json=identified("7"))
    url = f"Patient?identifier={MRN}|7"
    [updated] = responses(send(http, "transaction", entry("PUT", url, identified("7", gender="male"))))
    assert updated["location"] == "Patient/1/_history/2"
    [created] = responses(
        send(http, "transaction", entry("PUT", url.replace("7", "8"), identified("8", id="mine")))
    )
    assert created["location"] == "Patient/2/_history/1"


def test_an_unchanged_entry_writes_nothing(server, http) -> None:
    entries = [entry("PUT", f"Patient/p{number}", patient(f"p{number}")) for number in range(3)]
    send(http, "transaction", *entries)
    again = responses(send(http, "transaction", *entries))
    assert again == [
        {"status": "200 OK", "location": f"Patient/p{n}/_history/1", "etag": "1"} for n in range(3)
    ]
    assert server.versions == 3


LOST = "urn:uuid:33333333-3333-4333-8333-333333333333"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (entry("PUT", "Patient/there", patient("there", gender="male"), ifMatch='W/"9"'), 409),
        (entry("PUT", "Patient/p2", patient("p3")), 400),
        (entry("PUT", "Patient/p2"), 400),
        (entry("PUT", "Patient/p2", {"resourceType": "Observation", "id": "p2"}), 400),
        (entry("PUT", "Patient/a_b", patient("a_b")), 400),
        (entry("POST", "Pacient", {"resourceType": "Pacient"}), 404),
        (entry("POST", "Patient/p2", patient("p2")), 400),
        (entry("PATCH", "Patient/p2", patient("p2")), 400),
        (entry("GET", "Patient/none"), 404),
        (entry("GET", "Patient/p1/a/b/c"), 400),
        (entry("POST", "Patient", identified("7"), ifNoneExist="_tag=twice"), 412),
        (entry("POST", "Observation", {"resourceType": "Observation", "subject": {"reference": LOST}}), 400),
        (entry("PUT", "Patient/p1", patient("p1", gender="male")), 400),
        (entry("DELETE", "Patient/p1"), 400),
    ],
)
def test_one_wrong_entry_undoes_the_whole_transaction(server, http, wrong: dict, status: int) -> None:
    twice = {"tag": [{"code": "twice"}]}
    for name in ("there", "also"):
        http.put(f"/Patient/{name}", json=patient(name, meta=twice))
    answer = send(
        http, "transaction", entry("PUT", "Patient/p1", patient("p1")), entry("DELETE", "Patient/also"), wrong
    )
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert server.versions == 2
    assert http.get("/Patient/p1").status_code == 404
    assert http.get("/Patient/also").status_code == 200


def test_a_refusal_names_the_entry(http) -> None:
    good = entry("PUT", "Patient/p1", patient("p1"))
    answer = send(http, "transaction", good, entry("PUT", "Patient/p2", patient("p3")))
    assert answer.json()["issue"][0]["diagnostics"].startswith("Bundle.entry[1]: ")


@pytest.mark.parametrize(
    "entries",
    [
        [entry("POST", "Patient", identified("7"), ifNoneExist=f"identifier={MRN}|7")] * 2,
        [entry("PUT", f"Patient?identifier={MRN}|7", identified("7"))] * 2,
        [
            entry("POST", "Patient", patient(), "urn:uuid:11111111-1111-4111-8111-111111111111"),
            entry("POST", "Patient", patient(), "urn:uuid:11111111-1111-4111-8111-111111111111"),
        ],
    ],
)
def test_one_identity_twice_in_a_transaction_is_refused(server, http, entries: list) -> None:
    assert send(http, "transaction", *entries).status_code == 400
    assert server.versions == 0


def test_a_batch_does_what_it_can(server, http) -> None:
    answer = send(
        http,
        "batch",
        entry("PUT", "Patient/p1", patient("p1")),
        entry("PUT", "Patient/p2", patient("p3")),
        entry("GET", "Patient/p1/_history/1"),
        entry("GET", "Patient/none"),
        entry("PUT", "/Patient/p1", patient("p1", gender="male"), ifMatch='W/"1"'),
        entry("PUT", f"{server.url}/Patient/p1", patient("p1"), ifMatch='W/"1"'),
    )
    assert answer.json()["type"] == "batch-response"
    statuses = [one["status"] for one in responses(answer)]
    assert statuses == ["201 Created", "400 Bad Request", "200 OK", "404 Not Found", "200 OK", "409 Conflict"]
    assert answer.json()["entry"][1]["response"]["outcome"]["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    "body",
    [
        {"resourceType": "Bundle", "type": "collection", "entry": []},
        {"resourceType": "Bundle"},
        {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": {"resourceType": "Patient"}}]},
        {"resourceType": "Bundle", "type": "batch", "entry": 5},
        {"resourceType": "Patient"},
    ],
)
def test_what_is_no_batch_or_transaction_is_refused(http, body: dict) -> None:
    assert http.post("", json=body).status_code == 400


def test_an_empty_transaction_is_answered(http) -> None:
    assert send(http, "transaction").json()["type"] == "transaction-response"


def test_the_bytes_of_an_entry_are_stored_as_they_were_sent(http) -> None:
    resource = '{ "resourceType":"Observation","id":"o1","valueQuantity":{"value":5.40,"unit":"\\u00b5g"} }'
    request = '"request":{"method":"PUT","url":"Observation/o1"}'
    body = f'{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{resource},{request}}}]}}'
    assert http.post("", content=body).status_code == 200
    stamp = '"meta":{"versionId":"1","lastUpdated":"2024-06-01T12:00:00.000+00:00"}'
    assert http.get("/Observation/o1").text == resource.replace('"o1",', f'"o1",{stamp},')


def test_a_stored_bundle_is_a_resource_like_any_other(server: Sandbox, http) -> None:
    bundle = {"resourceType": "Bundle", "id": "b", "type": "collection"}
    assert http.put("/Bundle/b", json=bundle).status_code == 201
    assert len(server.dump("Bundle")) == 1
