"""What HAPI does with writes that the standard does not tell, and that we lose nothing by it."""

from typing import Any

import pytest

from hapi.ground import FRESH, TAGS, Ground, exact, place, put


@pytest.mark.parametrize(
    ("typed", "held"), [("1e3", "1000"), ("1.0e-7", "0.00000010"), ("1E+2", "100"), ("-0.0", "0.0")]
)
def test_an_exponent_is_written_out_and_the_number_stays(ground: Ground, typed: str, held: str) -> None:
    ground.put(ground.patient(), ground.observation("o", typed))
    found = ground.client.read("Observation", ground.id("o"))
    assert found is not None
    assert exact(found.body)["valueQuantity"]["value"] == held


@pytest.mark.parametrize("moment", ["2024-03-31T08:00:00", "2024-03-31T08:00Z"])
def test_a_moment_that_is_none_of_fhirs_is_kept_as_it_was_written(ground: Ground, moment: str) -> None:
    """So that what comes from a server is read by our own rules, which set such a one aside."""
    ground.put(ground.patient(), ground.observation("o", effectiveDateTime=moment, issued="2024-03-31"))
    held = ground.get(f"Observation/{ground.id('o')}").json()
    assert (held["effectiveDateTime"], held["issued"]) == (moment, "2024-03-31")


def test_the_hour_24_is_refused(ground: Ground) -> None:
    ground.put(ground.patient())
    assert ground.send(ground.observation("o", effectiveDateTime="2024-03-31T24:00:00Z")).status_code == 400


@pytest.mark.parametrize(
    "again",
    [{"valueQuantity": {"value": 5.4}}, {"effectiveDateTime": "2024-03-31T10:00:00+02:00"}],
    ids=["5.4 for 5.40", "another zone"],
)
def test_the_same_number_or_moment_in_another_spelling_is_a_new_version(
    ground: Ground, again: dict[str, Any]
) -> None:
    """So that a push compares what is written, and not what it means."""
    ground.put(ground.patient())
    ground.put(ground.observation("o", "5.40", effectiveDateTime="2024-03-31T08:00:00Z"))
    changed = ground.observation("o", "5.40", effectiveDateTime="2024-03-31T08:00:00Z") | again
    ground.put(changed)
    assert ground.version(changed) == "2"


def test_tags_only_ever_add(ground: Ground) -> None:
    """So a push looks for its own tag among those that are there."""
    ground.put(ground.patient())
    ground.put(ground.patient(meta={"tag": [{"system": "urn:x", "code": "other"}]}, gender="male"))
    tags = ground.get(place(ground.patient())).json()["meta"]["tag"]
    assert {tag["code"] for tag in tags} == {ground.prefix, "other"}


def test_if_none_match_star_does_not_keep_a_resource_from_being_overwritten(ground: Ground) -> None:
    """So nothing of ours relies on it: a push reads first, and then says If-Match."""
    ground.put(ground.patient(gender="female"))
    answer = ground.send(ground.patient(gender="male"), **{"If-None-Match": "*"})
    assert (answer.status_code, ground.version(ground.patient())) == (200, "2")


def test_a_batch_is_refused_whole_for_one_code_that_fhir_does_not_have(ground: Ground) -> None:
    """So nothing of ours is written in a batch, and everything is checked before it is sent."""
    answer = ground.bundle("batch", put(ground.patient()), put(ground.patient("q", gender="nonsense")))
    assert answer.status_code == 400
    assert ground.version(ground.patient()) is None


def test_a_reference_to_what_is_not_there_is_refused_with_its_transaction(ground: Ground) -> None:
    """So Device and ResearchStudy are sent before the results that name them."""
    answer = ground.bundle("transaction", put(ground.patient()), put(ground.observation("o", of="nobody")))
    assert answer.status_code == 400
    assert ground.version(ground.patient()) is None
    assert (
        ground.bundle("transaction", put(ground.observation("o")), put(ground.patient())).status_code == 200
    )


def test_a_reference_loses_its_version(ground: Ground) -> None:
    ground.put(ground.patient(), ground.observation("a"))
    source = {"reference": f"Observation/{ground.id('a')}/_history/1"}
    ground.put(ground.observation("b", derivedFrom=[source]))
    held = ground.get(f"Observation/{ground.id('b')}").json()["derivedFrom"]
    assert held == [{"reference": f"Observation/{ground.id('a')}"}]


def test_what_others_refer_to_cannot_be_deleted_before_them(ground: Ground) -> None:
    ground.put(ground.patient(), ground.observation("a"))
    assert ground.delete(ground.patient()).status_code == 409
    assert ground.delete(ground.observation("a")).status_code == 200
    assert ground.delete(ground.patient()).status_code == 200


def test_of_two_conditional_entries_with_one_address_only_the_first_is_done_and_a_push_sends_none(
    ground: Ground,
) -> None:
    """One answer for two entries; a push counts the answers, and names each resource by its id."""
    own = {"identifier": [{"system": TAGS, "value": ground.prefix}]}
    condition = f"Patient?identifier={TAGS}|{ground.prefix}"
    twice = [
        {
            "fullUrl": f"urn:uuid:00000000-0000-4000-8000-00000000000{number}",
            "resource": {**ground.patient(number), **own, "gender": gender},
            "request": {"method": "PUT", "url": condition},
        }
        for number, gender in enumerate(("female", "male"))
    ]
    answer = ground.bundle("transaction", *twice)
    assert (answer.status_code, len(answer.json()["entry"])) == (200, 1)
    found = ground.get("Patient", {"identifier": f"{TAGS}|{ground.prefix}"}, **FRESH).json()
    assert [entry["resource"]["gender"] for entry in found["entry"]] == ["female"]


def test_two_entries_with_one_address_and_no_full_url_are_refused(ground: Ground) -> None:
    own = {"identifier": [{"system": TAGS, "value": ground.prefix}]}
    entry = {
        "resource": {**ground.patient(), **own},
        "request": {"method": "PUT", "url": f"Patient?identifier={TAGS}|{ground.prefix}"},
    }
    assert ground.bundle("transaction", entry, entry).status_code == 400


@pytest.mark.parametrize("together", [False, True])
def test_a_stale_if_match_is_409_and_not_412(ground: Ground, together: bool) -> None:
    """So a push takes either for a change under its hands, reads, and decides again."""
    ground.put(ground.patient(gender="female"))
    ground.put(ground.patient(gender="male"))
    changed = ground.patient(gender="other")
    if together:
        answer = ground.bundle("transaction", put(changed, ifMatch='W/"1"'))
    else:
        answer = ground.send(changed, **{"If-Match": 'W/"1"'})
    assert (answer.status_code, ground.version(changed)) == (409, "2")


def test_a_version_that_nothing_has_lets_a_transaction_create_and_never_overwrite(ground: Ground) -> None:
    """So what a push means to create overwrites nothing that came since it looked."""
    new = put(ground.patient(), ifMatch='W/"0"')
    assert ground.bundle("transaction", new).status_code == 200
    assert ground.bundle("transaction", new).status_code == 409
    ground.delete(ground.patient())
    assert ground.bundle("transaction", new).status_code == 409  # a deleted one is there as well
    assert ground.bundle("transaction", put(ground.patient())).status_code == 200


def test_a_history_is_cut_by_a_count_that_is_a_minute_old_and_ours_asks_only_for_its_end(
    ground: Ground,
) -> None:
    ground.put(ground.patient())
    history = f"{place(ground.patient())}/_history"
    assert ground.get(history).json()["total"] == 1
    ground.put(ground.patient(gender="male"))
    ground.delete(ground.patient())
    cut = ground.get(history, **FRESH).json()
    assert (cut["total"], len(cut["entry"])) == (1, 1)
    gone = ground.client.deletion("Patient", ground.id("p"))
    assert gone is not None
    assert (gone.version, gone.deleted) == ("3", True)
