"""What every server that we trust must do, asked of the embedded sandbox and of HAPI: neither may drift.

Reads and writes; searches and exports stand in files of their own.
"""

import gzip
from typing import Any

import httpx
import pytest

from hapi.ground import FHIR, Ground, Tree, delete, exact, identified, place, put, text

DIGITS = ["5.40", "1.10", "100.00", "0.00", "0.1234567890123456789", "12345678901234567890.123"]
MOMENTS = [
    *("2024", "2024-03", "2024-03-31", "2024-03-31T08:00:00.123+08:00", "2024-03-31T08:00:00-00:00"),
    *("2024-03-31T08:00:00.1Z", "2024-03-31T08:00:00.123456789Z", "2024-03-31T23:59:60Z"),
]


def entries(answer: Any) -> list[Tree]:
    found: list[Tree] = answer.json().get("entry", [])
    return found


def test_the_server_says_that_it_speaks_r4_and_takes_transactions_and_our_ids(either: Ground) -> None:
    said = either.client.metadata()
    assert said["fhirVersion"] == "4.0.1"
    (rest,) = said["rest"]
    assert "transaction" in [one["code"] for one in rest["interaction"]]
    (observations,) = [one for one in rest["resource"] if one["type"] == "Observation"]
    assert observations.get("updateCreate") is not False  # HAPI takes our ids and does not say so
    assert {"_id", "_tag", "_lastUpdated", "patient", "code"} <= {
        one["name"] for one in observations["searchParam"]
    }


@pytest.mark.parametrize("digits", DIGITS)
def test_a_number_keeps_its_digits(either: Ground, digits: str) -> None:
    either.put(either.patient())
    sent = either.observation("o", digits)
    either.put(sent)
    held = either.client.read("Observation", sent["id"])
    assert held is not None
    assert exact(held.body)["valueQuantity"]["value"] == digits


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_keeps_its_precision_and_its_zone(either: Ground, moment: str) -> None:
    either.put(either.patient())
    sent = either.observation("o", effectiveDateTime=moment)
    either.put(sent)
    assert either.get(place(sent)).json()["effectiveDateTime"] == moment


def test_a_resource_is_created_under_the_id_we_choose_and_its_versions_count_up(either: Ground) -> None:
    first = either.send(either.patient(gender="female"))
    assert (first.status_code, first.headers["ETag"]) == (201, 'W/"1"')
    second = either.send(either.patient(gender="male"))
    assert (second.status_code, second.headers["ETag"]) == (200, 'W/"2"')


def test_writing_the_same_again_makes_no_version(either: Ground) -> None:
    sent = either.patient(gender="female", birthDate="1970-01-01")
    either.put(sent)
    backwards = {"resourceType": "Patient", **dict(reversed(sent.items()))}
    assert either.send(sent).status_code == 200
    assert either.send(backwards).status_code == 200
    assert either.version(sent) == "1"


def test_version_and_time_are_the_servers_whatever_we_send(either: Ground) -> None:
    meta = {"versionId": "77", "lastUpdated": "1999-01-01T00:00:00Z", "tag": [either.tag]}
    either.put(either.patient(meta=meta))
    held = either.get(place(either.patient())).json()["meta"]
    assert held["versionId"] == "1"
    assert held["lastUpdated"] > "2024"
    assert held["tag"] == [either.tag]


def test_a_stale_if_match_is_a_conflict_and_writes_nothing(either: Ground) -> None:
    either.put(either.patient(gender="female"))
    either.put(either.patient(gender="male"))
    assert either.send(either.patient(gender="other"), **{"If-Match": 'W/"1"'}).status_code == 409
    assert either.get(place(either.patient())).json()["gender"] == "male"
    assert either.send(either.patient(gender="other"), **{"If-Match": 'W/"2"'}).status_code == 200


def test_an_if_match_does_not_keep_an_absent_resource_from_being_created(either: Ground) -> None:
    """Which is why a push reads before it writes, and never trusts If-Match to mean `update`."""
    assert either.send(either.patient(), **{"If-Match": 'W/"1"'}).status_code == 201


@pytest.mark.parametrize("bad", ["12345", "a_b", "x" * 65])
def test_an_id_that_is_a_number_or_no_id_at_all_is_refused(either: Ground, bad: str) -> None:
    assert either.send({**either.patient(), "id": bad}).status_code == 400


def test_an_id_of_64_characters_is_taken(either: Ground) -> None:
    own = either.id("x" * 64)[:64]
    assert either.send({**either.patient(), "id": own}).status_code == 201


def test_what_never_was_is_not_found_and_what_was_deleted_is_gone(either: Ground) -> None:
    sent = either.patient()
    assert either.get(place(sent)).status_code == 404
    either.put(sent)
    either.delete(sent)
    assert either.get(place(sent)).status_code == 410
    assert either.client.read("Patient", sent["id"]) is None


def test_deleting_what_never_was_is_no_error(either: Ground) -> None:
    assert either.client.delete("Patient", either.id("never")).status == 200


def test_a_deletion_is_a_version_and_what_is_written_afterwards_the_next(either: Ground) -> None:
    sent = either.patient()
    either.put(sent)
    either.delete(sent)
    assert either.send(sent).status_code == 201
    assert either.version(sent) == "3"


def test_a_read_of_the_version_we_have_says_only_that_it_is_the_same(either: Ground) -> None:
    either.put(either.patient())
    again = either.get(place(either.patient()), **{"If-None-Match": 'W/"1"'})
    assert (again.status_code, again.content) == (304, b"")


def test_a_create_gets_an_id_of_the_servers_choice_and_says_where_it_is(either: Ground) -> None:
    sent = either.patient("mine")
    answer = either.http.post(f"{either.url}/Patient", content=text(sent), headers=FHIR)
    assert answer.status_code == 201
    own = answer.json()["id"]
    assert own != sent["id"]
    assert answer.headers["Location"].endswith(f"/Patient/{own}/_history/1")
    assert either.get(place(sent)).status_code == 404


# --- by condition --------------------------------------------------------------------------------------


def test_a_create_by_condition_makes_one_and_then_finds_it(either: Ground) -> None:
    asked = {"If-None-Exist": f"identifier=urn:x|{either.id('i')}"}
    first, again = (post(either, identified(either), **asked) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["Location"] == again.headers["Location"]
    assert again.headers["ETag"] == 'W/"1"'


def test_an_update_by_condition_makes_one_and_then_changes_it_whatever_id_it_brings(either: Ground) -> None:
    first = put_where(either, identified(either, id=either.id("mine")))
    second = put_where(either, identified(either, id=either.id("other"), gender="male"))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"] not in (either.id("mine"), either.id("other"))
    assert second.headers["ETag"] == 'W/"2"'


def test_an_update_by_condition_does_not_mind_an_if_match(either: Ground) -> None:
    put_where(either, identified(either))
    changed = put_where(either, identified(either, gender="male"), **{"If-Match": 'W/"7"'})
    assert changed.status_code == 200


def test_a_condition_that_two_meet_is_refused(either: Ground) -> None:
    for _ in range(2):
        post(either, identified(either))
    asked = {"If-None-Exist": f"identifier=urn:x|{either.id('i')}"}
    assert post(either, identified(either), **asked).status_code == 412
    assert put_where(either, identified(either)).status_code == 412


def test_an_update_of_nothing_in_particular_is_refused(either: Ground) -> None:
    sent = text(identified(either))
    assert either.http.put(f"{either.url}/Patient", content=sent, headers=FHIR).status_code == 400


def test_an_update_whose_id_is_not_that_of_its_address_is_refused(either: Ground) -> None:
    address = f"{either.url}/Patient/{either.id('a')}"
    for sent in (either.patient("b"), identified(either)):
        assert either.http.put(address, content=text(sent), headers=FHIR).status_code == 400


# --- versions ------------------------------------------------------------------------------------------


def test_the_history_is_told_newest_first_with_its_deletions_and_page_by_page(either: Ground) -> None:
    one = either.patient()
    either.put(one)
    either.put({**one, "gender": "male"})
    either.delete(one)
    either.put(one)
    whole = either.get(f"{place(one)}/_history").json()
    assert (whole["type"], whole["total"]) == ("history", 4)
    assert [entry["request"]["method"] for entry in whole["entry"]] == ["PUT", "DELETE", "PUT", "POST"]
    assert [entry["response"]["etag"] for entry in whole["entry"]] == [f'W/"{n}"' for n in (4, 3, 2, 1)]
    assert ["resource" in entry for entry in whole["entry"]] == [True, False, True, True]
    first = either.get(f"{place(one)}/_history?_count=2").json()
    (following,) = [link["url"] for link in first["link"] if link["relation"] == "next"]
    rest = either.http.get(following).json()
    assert [*first["entry"], *rest["entry"]] == whole["entry"]
    assert [link for link in rest["link"] if link["relation"] == "next"] == []


def test_a_deletion_is_the_newest_of_its_history(either: Ground) -> None:
    one = either.patient()
    either.put(one)
    assert either.client.deletion("Patient", one["id"]) is None
    either.delete(one)
    gone = either.client.deletion("Patient", one["id"])
    assert gone is not None and (gone.version, gone.deleted) == ("2", True)


def test_a_version_is_read_by_its_number_and_that_of_a_deletion_is_gone(either: Ground) -> None:
    one = either.patient(gender="female")
    either.put(one)
    either.put({**one, "gender": "male"})
    either.delete(one)
    history = f"{place(one)}/_history"
    assert either.get(f"{history}/1").json()["gender"] == "female"
    codes = [either.get(f"{history}/{number}").status_code for number in (2, 3, 9)]
    assert codes == [200, 410, 404]
    assert either.get(f"Patient/{either.id('never')}/_history").status_code == 404


def test_what_was_deleted_and_written_again_goes_on_counting(either: Ground) -> None:
    one = either.patient()
    either.put(one)
    for _ in range(2):
        assert either.bundle("transaction", delete(one)).status_code == 200
        assert either.bundle("transaction", put(one)).status_code == 200
    assert either.version(one) == "5"
    either.delete(one)
    assert either.send(one, **{"If-Match": 'W/"1"'}).status_code == 409
    assert either.send(one).status_code == 201


# --- how it is said ------------------------------------------------------------------------------------


def test_an_update_is_zipped_if_we_like(either: Ground) -> None:
    address, zipped = f"{either.url}/{place(either.patient())}", gzip.compress(text(either.patient()))
    said = {**FHIR, "Content-Encoding": "gzip"}
    assert either.http.put(address, content=zipped, headers=said).status_code == 201


@pytest.mark.parametrize("wanted", ["application/fhir+json", "application/json", "*/*", "text/html"])
def test_json_is_what_comes_whatever_is_accepted(either: Ground, wanted: str) -> None:
    either.put(either.patient())
    answer = either.get(place(either.patient()), Accept=wanted)
    assert (answer.status_code, answer.headers["Content-Type"][:21]) == (200, "application/fhir+json")


def test_what_is_no_resource_is_refused_and_so_is_what_is_no_type(either: Ground) -> None:
    for sent in (b"", b"{", text(either.observation("o"))):
        assert either.http.post(f"{either.url}/Patient", content=sent, headers=FHIR).status_code == 400
    plain = {"Content-Type": "text/plain"}
    sent = text(identified(either))
    assert either.http.post(f"{either.url}/Patient", content=sent, headers=plain).status_code == 400
    assert either.get("Nonsense").status_code == either.get("Nonsense/x").status_code == 404


def test_a_refusal_says_processing_whatever_it_was(either: Ground) -> None:
    """So the client goes by the status; a code decides only where it says that this will pass."""
    either.put(either.patient())
    answers = [
        either.get(f"Patient/{either.id('never')}"),
        either.get("Patient", {"nonsense": "1"}),
        either.send(either.patient(gender="male"), **{"If-Match": 'W/"7"'}),
        either.bundle("transaction", put(either.patient("d")), put(either.patient("d"))),
    ]
    assert [one.status_code for one in answers] == [404, 400, 409, 400]
    assert {one.json()["issue"][0]["code"] for one in answers} == {"processing"}


def test_an_answer_names_the_version_it_left(either: Ground) -> None:
    answer = either.send(either.patient())
    assert answer.headers["Content-Location"] == f"{either.url}/{place(either.patient())}/_history/1"
    assert "Location" not in answer.headers and "Last-Modified" in answer.headers
    small = either.send(either.patient(gender="male"), Prefer="return=minimal")
    assert (small.status_code, small.content, small.headers["ETag"]) == (200, b"", 'W/"2"')


def post(ground: Ground, tree: Tree, **headers: str) -> httpx.Response:
    """A create, whatever comes of it."""
    return ground.http.post(f"{ground.url}/Patient", content=text(tree), headers={**FHIR, **headers})


def put_where(ground: Ground, tree: Tree, **headers: str) -> httpx.Response:
    """An update of the Patient with this test's identifier."""
    address = f"{ground.url}/Patient?identifier=urn:x%7C{ground.id('i')}"
    return ground.http.put(address, content=text(tree), headers={**FHIR, **headers})
