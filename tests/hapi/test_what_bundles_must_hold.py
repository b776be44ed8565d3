"""What every server that we trust must do with a Bundle, asked of the embedded sandbox and of HAPI."""

import json
from typing import Any

import pytest

from fhir_msct.client.failures import Declined
from hapi.ground import Ground, Tree, delete, identified, place, put, text


def entries(answer: Any) -> list[Tree]:
    """The entries of a Bundle."""
    found: list[Tree] = answer.json().get("entry", [])
    return found


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


def test_a_new_id_stands_in_every_reference_to_its_entry(either: Ground) -> None:
    name = "urn:uuid:0e6c1d1e-5c41-4a8c-9d0a-1b1f8f0a0001"
    result = {**either.observation("o"), "subject": {"reference": name}}
    answer = either.bundle(
        "transaction",
        {"resource": result, "request": {"method": "POST", "url": "Observation"}},
        {"fullUrl": name, "resource": identified(either), "request": {"method": "POST", "url": "Patient"}},
    )
    made, person = (entry["response"]["location"].partition("/_history/")[0] for entry in entries(answer))
    assert either.get(made).json()["subject"]["reference"] == person


def test_only_what_was_created_says_when_and_what_was_deleted_says_204(either: Ground) -> None:
    either.put(either.patient(), either.patient("q"))
    sent = [put(either.patient("new")), put(either.patient(gender="male")), delete(either.patient("q"))]
    answer = either.bundle("transaction", *sent, delete(either.patient("never")))
    said = [entry["response"] for entry in entries(answer)]
    assert [one["status"][:3] for one in said] == ["201", "200", "204", "204"]
    assert ["lastModified" in one for one in said] == [True, False, False, False]
    assert [one.get("etag") for one in said] == ["1", "2", "2", None]


def test_reads_and_searches_of_a_batch_are_answered_in_their_place(either: Ground) -> None:
    either.put(either.patient(), either.observation(1), either.observation(2))
    asked = [place(either.patient()), place(either.patient("never")), f"Observation?patient={either.id('p')}"]
    answer = either.bundle("batch", *({"request": {"method": "GET", "url": url}} for url in asked))
    assert answer.json()["type"] == "batch-response"
    read, missed, searched = entries(answer)
    assert (read["resource"]["id"], read["response"]) == (either.id("p"), {"status": "200 OK"})
    assert missed["response"]["status"][:3] == "404"
    assert searched["resource"]["total"] == 2


def test_an_entry_is_created_by_condition_once(either: Ground) -> None:
    asked = {"method": "POST", "url": "Patient", "ifNoneExist": f"identifier=urn:x|{either.id('i')}"}
    answers = [either.bundle("transaction", {"resource": identified(either), "request": asked}) for _ in "ab"]
    first, again = (entries(answer)[0]["response"] for answer in answers)
    assert (first["status"][:3], again["status"][:3]) == ("201", "200")
    assert first["location"] == again["location"]


def test_a_bundle_that_is_neither_batch_nor_transaction_is_refused(either: Ground) -> None:
    assert either.bundle("collection", put(either.patient())).status_code == 400


def bundle(*entries: Tree) -> Tree:
    """A transaction."""
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
