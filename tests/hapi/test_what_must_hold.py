"""What every server that we trust must do, asked of the embedded sandbox and of HAPI: neither may drift."""

import json
from typing import Any

import pytest

from fhir_msct.client.failures import Declined
from hapi.ground import FHIR, FRESH, Ground, Tree, exact, place, put, text

DIGITS = ["5.40", "1.10", "100.00", "0.00", "0.1234567890123456789", "12345678901234567890.123"]
MOMENTS = ["2024", "2024-03", "2024-03-31", "2024-03-31T08:00:00.123+08:00", "2024-03-31T08:00:00-00:00"]


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


def test_every_match_comes_once_over_all_pages_and_the_links_are_below_the_base(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(45)))
    asked = {"patient": either.id("p"), "_count": "10"}
    pages = list(either.client.search("Observation", asked))
    links = [page.next for page in pages if page.next]
    assert all(link.startswith(f"{either.url}?") for link in links)
    assert len(pages) == 5
    ids = [one.id for page in pages for one in page.resources]
    assert sorted(ids) == sorted(either.id(number) for number in range(45))


def test_a_count_is_a_bundle_without_entries_and_without_links(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(7)))
    answer = either.get("Observation", {**either.tagged, "_summary": "count"}, **FRESH).json()
    assert (answer["type"], answer["total"]) == ("searchset", 7)
    assert "entry" not in answer and "link" not in answer
    assert either.client.count("Observation", either.tagged) == 7


def test_a_count_of_chosen_elements_is_refused_and_ours_leaves_the_elements_out(either: Ground) -> None:
    either.put(either.patient())
    asked = {**either.tagged, "_elements": "id"}
    assert either.get("Patient", {**asked, "_summary": "count"}).status_code == 400
    assert either.client.count("Patient", asked) == 1


def test_a_search_finds_by_id_patient_code_and_tag(either: Ground) -> None:
    either.put(
        either.patient(), either.patient("q"), either.observation("o"), either.observation("r", of="q")
    )
    for asked in (
        {"_id": either.id("o")},
        {"patient": either.id("p")},
        {"patient": f"Patient/{either.id('p')}", "code": "http://loinc.org|2157-6"},
        {"patient": either.id("p"), **either.tagged},
    ):
        found = [one.id for page in either.client.search("Observation", asked) for one in page.resources]
        assert found == [either.id("o")], asked
    assert either.client.count("Observation", {**either.tagged, "code": "http://loinc.org|1-8"}) == 0


def test_a_parameter_that_the_server_does_not_know_is_refused_when_we_ask_for_strictness(
    either: Ground,
) -> None:
    strict = {"Prefer": "handling=strict"}
    assert either.get("Observation", {"nonsense": "1"}, **strict).status_code == 400


def test_an_address_of_more_than_8_kb_is_refused_and_the_client_posts_it_instead(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(3)))
    many = ",".join(
        [*(either.id(number) for number in range(3)), *(f"no-{'x' * 40}-{n}" for n in range(300))]
    )
    assert either.get("Observation", {"_id": many}).status_code in (400, 414)
    found = [one.id for page in either.client.search("Observation", {"_id": many}) for one in page.resources]
    assert sorted(found) == [either.id(number) for number in range(3)]
    assert either.client.count("Observation", {"_id": many}) == 3


def test_a_transaction_answers_each_entry_in_its_place_with_its_new_version(either: Ground) -> None:
    sent = [either.patient(), *(either.observation(number) for number in range(5))]
    answer = json.loads(either.client.transaction(text(bundle(*(put(tree) for tree in sent)))))
    said = [entry["response"] for entry in answer["entry"]]
    assert [one["status"][:3] for one in said] == ["201"] * 6
    assert [f"{place(tree)}/_history/1" in one["location"] for tree, one in zip(sent, said, strict=True)] == [
        True
    ] * 6
    assert {one["etag"].strip('W/"') for one in said} == {"1"}


def test_a_transaction_is_done_whole_or_not_at_all(either: Ground) -> None:
    either.put(either.patient(gender="female"))
    changed = either.patient(gender="male")
    stale = put(changed, ifMatch='W/"7"')
    with pytest.raises(Declined) as refused:
        either.client.transaction(text(bundle(put(either.patient("new")), stale)))
    assert refused.value.status == 409
    assert either.version(either.patient("new")) is None
    assert either.version(changed) == "1"


def test_a_transaction_that_names_one_resource_twice_is_refused(either: Ground) -> None:
    one = either.patient()
    assert either.bundle("transaction", put(one), put(one)).status_code == 400
    assert either.version(one) is None


def test_a_batch_does_what_it_can(either: Ground) -> None:
    either.put(either.patient())
    answer = either.bundle(
        "batch", put(either.patient("new")), put(either.patient(gender="male"), ifMatch='W/"7"')
    )
    assert answer.status_code == 200
    assert [entry["response"]["status"][:3] for entry in entries(answer)] == ["201", "409"]
    assert either.version(either.patient("new")) == "1"


def test_a_create_gets_an_id_of_the_servers_choice_and_says_where_it_is(either: Ground) -> None:
    sent = either.patient("mine")
    answer = either.http.post(f"{either.url}/Patient", content=text(sent), headers=FHIR)
    assert answer.status_code == 201
    own = answer.json()["id"]
    assert own != sent["id"]
    assert answer.headers["Location"].endswith(f"/Patient/{own}/_history/1")
    assert either.get(place(sent)).status_code == 404


def test_a_next_link_that_has_expired_is_gone(either: Ground) -> None:
    link = f"?_getpages=00000000-0000-4000-8000-{either.prefix[1:]}&_getpagesoffset=10&_count=10"
    assert either.http.get(f"{either.url}{link}").status_code == 410


def bundle(*entries: Tree) -> Tree:
    """A transaction."""
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
