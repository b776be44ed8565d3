"""Read, create, update, delete: the answers a HAPI server gives, status by status."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from fhir_msct.sandbox import Sandbox

MRN = "urn:mrn"


def patient(name: str = "", /, **more: object) -> dict[str, object]:
    return {"resourceType": "Patient", **({"id": name} if name else {}), **more}


def identified(value: str, name: str = "", /, **more: object) -> dict[str, object]:
    return patient(name, identifier=[{"system": MRN, "value": value}], **more)


def outcome(answer: httpx.Response) -> dict[str, object]:
    """The issue of an answer, which must be an OperationOutcome."""
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome"
    return body["issue"][0]


def test_an_update_with_a_new_id_creates_the_first_version(server: Sandbox, http: httpx.Client) -> None:
    answer = http.put("/Patient/p1", json=patient("p1"))
    assert answer.status_code == 201
    assert answer.headers["ETag"] == 'W/"1"'
    assert answer.headers["Content-Location"] == f"{server.url}/Patient/p1/_history/1"
    assert "Location" not in answer.headers
    assert answer.headers["Last-Modified"] == "Sat, 01 Jun 2024 12:00:00 GMT"
    assert answer.json()["meta"] == {"versionId": "1", "lastUpdated": "2024-06-01T12:00:00.000+00:00"}


def test_an_update_of_what_is_there_makes_the_next_version(http: httpx.Client, clock) -> None:
    http.put("/Patient/p1", json=patient("p1"))
    clock.tick(minutes=1)
    answer = http.put("/Patient/p1", json=patient("p1", gender="female"))
    assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"2"')
    assert http.get("/Patient/p1").json()["meta"]["lastUpdated"] == "2024-06-01T12:01:00.000+00:00"


def test_an_identical_update_changes_nothing(server: Sandbox, http: httpx.Client, clock) -> None:
    first = http.put("/Patient/p1", json=patient("p1", gender="male", active=True))
    clock.tick(minutes=1)
    again = http.put("/Patient/p1", json=patient("p1", active=True, gender="male"))
    read_and_sent_back = http.put("/Patient/p1", content=http.get("/Patient/p1").content)
    assert [a.headers["ETag"] for a in (first, again, read_and_sent_back)] == ['W/"1"'] * 3
    assert again.status_code == 200
    assert server.versions == 1


def test_another_spelling_of_a_number_is_a_new_version(http: httpx.Client) -> None:
    body = '{"resourceType":"Observation","id":"o","valueQuantity":{"value":%s}}'
    http.put("/Observation/o", content=body % "5.4")
    assert http.put("/Observation/o", content=body % "5.40").headers["ETag"] == 'W/"2"'
    assert http.put("/Observation/o", content=body % '"5.40"').headers["ETag"] == 'W/"3"'


def test_a_stale_if_match_is_a_conflict_and_changes_nothing(http: httpx.Client) -> None:
    http.put("/Patient/p1", json=patient("p1"))
    http.put("/Patient/p1", json=patient("p1", gender="male"))
    stale = http.put("/Patient/p1", json=patient("p1", gender="other"), headers={"If-Match": 'W/"1"'})
    assert stale.status_code == 409
    assert outcome(stale)["code"] == "processing"
    assert http.get("/Patient/p1").json()["gender"] == "male"
    fresh = http.put("/Patient/p1", json=patient("p1", gender="other"), headers={"If-Match": 'W/"2"'})
    assert fresh.headers["ETag"] == 'W/"3"'


def test_if_match_on_an_id_that_does_not_exist_creates_it(http: httpx.Client) -> None:
    assert http.put("/Patient/p1", json=patient("p1"), headers={"If-Match": 'W/"1"'}).status_code == 201


def test_a_create_gets_a_number_for_an_id_whatever_it_brings(server: Sandbox, http: httpx.Client) -> None:
    answer = http.post("/Patient", json=patient("mine"))
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{server.url}/Patient/1/_history/1"
    assert answer.json()["id"] == "1"
    assert http.get("/Patient/mine").status_code == 404


def test_a_conditional_create_finds_what_is_there(server: Sandbox, http: httpx.Client) -> None:
    condition = {"If-None-Exist": f"identifier={MRN}|7"}
    first = http.post("/Patient", json=identified("7"), headers=condition)
    second = http.post("/Patient", json=identified("7", gender="male"), headers=condition)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    assert server.versions == 1


def test_a_condition_that_several_meet_is_refused(http: httpx.Client) -> None:
    http.post("/Patient", json=identified("7"))
    http.post("/Patient", json=identified("7", gender="male"))
    condition = f"identifier={MRN}|7"
    assert (
        http.post("/Patient", json=identified("7"), headers={"If-None-Exist": condition}).status_code == 412
    )
    assert http.put(f"/Patient?{condition}", json=identified("7")).status_code == 412


@pytest.mark.parametrize("condition", ["", "_count=1", "favourite=red"])
def test_a_condition_that_says_nothing_is_refused(http: httpx.Client, condition: str) -> None:
    http.post("/Patient", json=patient())
    answer = http.put(f"/Patient?{condition}", json=patient(gender="male"))
    assert answer.status_code in (400, 412)
    assert "gender" not in http.get("/Patient/1").json()


def test_a_conditional_update_creates_then_updates_the_same_resource(http: httpx.Client) -> None:
    url = f"/Patient?identifier={MRN}|7"
    first = http.put(url, json=identified("7", "ignored"))
    second = http.put(url, json=identified("7", gender="male"))
    assert (first.status_code, first.json()["id"]) == (201, "1")
    assert (second.status_code, second.json()["id"], second.headers["ETag"]) == (200, "1", 'W/"2"')
    other = http.put(url, json=identified("7", "other"))
    assert (other.status_code, other.json()["id"]) == (200, "1")


def test_what_was_deleted_is_gone_and_its_history_stays(http: httpx.Client) -> None:
    http.put("/Patient/p1", json=patient("p1"))
    assert http.delete("/Patient/p1").status_code == 200
    assert http.get("/Patient/p1").status_code == 410
    assert http.get("/Patient/p1/_history/2").status_code == 410
    assert http.get("/Patient/p1/_history/1").json()["id"] == "p1"
    entries = http.get("/Patient/p1/_history").json()["entry"]
    assert [entry["request"]["method"] for entry in entries] == ["DELETE", "POST"]
    assert "resource" not in entries[0]
    assert http.get("/Patient").json()["total"] == 0


def test_deleting_twice_or_what_never_was_is_no_error(server: Sandbox, http: httpx.Client) -> None:
    http.put("/Patient/p1", json=patient("p1"))
    assert [http.delete(f"/Patient/{name}").status_code for name in ("p1", "p1", "never")] == [200] * 3
    assert server.versions == 2


def test_a_deleted_resource_comes_back_as_its_next_version(http: httpx.Client) -> None:
    http.put("/Patient/p1", json=patient("p1"))
    http.delete("/Patient/p1")
    answer = http.put("/Patient/p1", json=patient("p1"))
    assert (answer.status_code, answer.headers["ETag"]) == (201, 'W/"3"')


def test_a_read_of_the_version_one_has_is_not_modified(http: httpx.Client) -> None:
    http.put("/Patient/p1", json=patient("p1"))
    assert http.get("/Patient/p1", headers={"If-None-Match": 'W/"1"'}).status_code == 304
    assert http.get("/Patient/p1", headers={"If-None-Match": 'W/"2"'}).status_code == 200


@pytest.mark.parametrize(
    ("method", "url", "body", "status"),
    [
        ("GET", "/Patient/none", None, 404),
        ("GET", "/Patient/none/_history", None, 404),
        ("GET", "/Patient/none/_history/1", None, 404),
        ("GET", "/Pacient/p1", None, 404),
        ("GET", "/Pacient", None, 404),
        ("GET", "/Patient/p1/$everything", None, 404),
        ("GET", "", None, 400),
        ("PATCH", "/Patient/p1", {}, 405),
        ("DELETE", "/Patient", None, 405),
        ("PUT", "/Patient/p1", patient("p2"), 400),
        ("PUT", "/Patient/p1", patient(), 400),
        ("PUT", "/Patient/p1", {"resourceType": "Observation", "id": "p1"}, 400),
        ("PUT", "/Patient/123", patient("123"), 400),
        ("PUT", "/Patient/a_b", patient("a_b"), 400),
        ("PUT", "/Patient/" + 65 * "a", patient(65 * "a"), 400),
        ("POST", "/Patient", {"id": "p1"}, 400),
        ("POST", "/Patient", {"resourceType": "Patient", "meta": "x"}, 400),
        ("POST", "/Patient", [], 400),
        ("POST", "/Pacient", {"resourceType": "Pacient"}, 404),
    ],
)
def test_a_wrong_request_gets_its_status_and_an_outcome(
    server: Sandbox, http: httpx.Client, method: str, url: str, body: object, status: int
) -> None:
    answer = http.request(method, url, json=body)
    assert answer.status_code == status
    assert outcome(answer)["severity"] == "error"
    assert server.versions == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"resourceType":"Patient"} {}', b'{"resourceType":"Patient","x":"\xff"}']
)
def test_a_body_that_is_not_json_is_refused_without_quoting_it(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/Patient", content=body)
    assert answer.status_code == 400
    assert "not a JSON resource" in outcome(answer)["diagnostics"]


def test_the_formats_asked_for_and_sent_are_checked(http: httpx.Client) -> None:
    text = json.dumps(patient("p1"))

    def send(kind: str) -> int:
        return http.put("/Patient/p1", content=text, headers={"Content-Type": kind}).status_code

    def ask(kind: str) -> httpx.Response:
        return http.get("/Patient/p1", headers={"Accept": kind})

    assert [send(kind) for kind in ("application/fhir+json; charset=utf-8", "application/json")] == [201, 200]
    assert [send(kind) for kind in ("application/fhir+xml", "text/plain")] == [400, 400]
    assert (
        ask("application/fhir+json;fhirVersion=4.0, */*;q=0.1")
        .headers["Content-Type"]
        .startswith("application/fhir+json")
    )
    assert ask("application/fhir+xml").status_code == 406
    assert http.get("/Patient/p1?_format=xml").status_code == 406
    assert http.get("/Patient/p1?_format=json").status_code == 200


def test_gzip_goes_both_ways(http: httpx.Client) -> None:
    text = json.dumps(patient("p1", name=[{"text": "x" * 2000}])).encode()
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/fhir+json"}
    assert http.put("/Patient/p1", content=gzip.compress(text), headers=headers).status_code == 201
    assert http.put("/Patient/p1", content=gzip.compress(text)[:-9], headers=headers).status_code == 400
    assert http.put("/Patient/p1", content=text, headers=headers).status_code == 400
    packed = http.get("/Patient/p1")
    plain = http.get("/Patient/p1", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content


def test_every_answer_has_the_servers_date_and_a_request_id(http: httpx.Client, clock) -> None:
    clock.tick(days=1)
    for url in ("/metadata", "/Patient", "/Patient/none", "/nothing/at/all/here"):
        answer = http.get(url)
        assert answer.headers["Date"] == "Sun, 02 Jun 2024 12:00:00 GMT"
        assert answer.headers["X-Request-ID"]
    assert http.get("/Patient", headers={"X-Request-ID": "mine"}).headers["X-Request-ID"] == "mine"


def test_a_write_answers_with_as_much_as_is_preferred(http: httpx.Client) -> None:
    def prefer(how: str) -> httpx.Response:
        return http.put("/Patient/p1", json=patient("p1"), headers={"Prefer": f"return={how}"})

    assert prefer("minimal").content == b""
    assert prefer("OperationOutcome").json()["resourceType"] == "OperationOutcome"
    assert prefer("representation").json()["resourceType"] == "Patient"


def test_an_address_too_long_for_a_real_server_is_refused(http: httpx.Client) -> None:
    assert http.get("/Patient?_id=" + "a," * 4000).status_code == 414


def test_the_capability_statement_says_who_speaks(server: Sandbox, http: httpx.Client) -> None:
    statement = http.get("/metadata").json()
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["software"]["name"] == "fhir-msct sandbox"
    assert statement["implementation"]["url"] == server.url


def test_the_capability_statement_is_a_valid_r4_resource(http: httpx.Client) -> None:
    from fhir.resources.R4B.capabilitystatement import CapabilityStatement

    CapabilityStatement.model_validate_json(http.get("/metadata").content)


def test_of_many_writers_with_the_same_if_match_exactly_one_wins(http: httpx.Client) -> None:
    http.put("/Patient/p1", json=patient("p1"))
    for version in range(1, 6):
        statuses = at_once(
            lambda number, version=version: http.put(
                "/Patient/p1",
                json=patient("p1", multipleBirthInteger=10 * version + number),
                headers={"If-Match": f'W/"{version}"'},
            )
        )
        assert sorted(statuses) == [200] + [409] * 7
    assert http.get("/Patient/p1").headers["ETag"] == 'W/"6"'


def test_of_many_conditional_creates_exactly_one_creates(server: Sandbox, http: httpx.Client) -> None:
    condition = {"If-None-Exist": f"identifier={MRN}|7"}
    statuses = at_once(lambda _: http.post("/Patient", json=identified("7"), headers=condition))
    assert sorted(statuses) == [200] * 7 + [201]
    assert server.versions == 1


def at_once(send) -> list[int]:
    """The statuses of eight requests sent together."""
    barrier = Barrier(8)

    def one(number: int) -> int:
        barrier.wait()
        return send(number).status_code

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(one, range(8)))


def test_an_id_that_the_server_gives_is_nobodys_yet(server: Sandbox, http: httpx.Client) -> None:
    largest = "9" * 64
    server.load([json.dumps(patient(one, active=True)).encode() for one in ("1", "2", largest)])
    answer = http.post("/Patient", json=patient(gender="male"))
    assert (answer.status_code, answer.json()["id"]) == (201, "3")
    assert http.get("/Patient/1").json()["active"] is True
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [
        {"resource": patient(), "request": {"method": "POST", "url": "Patient"}} for _ in range(2)
    ]}  # fmt: skip
    places = [one["response"]["location"] for one in http.post("", json=bundle).json()["entry"]]
    assert [place.split("/_history")[0].rpartition("/")[2] for place in places] == ["4", "5"]
    assert len(server.dump("Patient")) == 6


@pytest.mark.parametrize("place", ["/Patient?_count=", "/Patient/p1/_history?_count="])
def test_a_number_with_thousands_of_digits_is_refused(http: httpx.Client, place: str) -> None:
    http.put("/Patient/p1", json=patient("p1"))
    answer = http.get(place + "9" * 5000)
    assert (answer.status_code, outcome(answer)["severity"]) == (400, "error")
