"""A result on its way out: its id, its time, its status, its references, and the Provenance beside it."""

import json
from datetime import date
from typing import Any

import msgspec
import pytest

from fhir_msct import plan
from fhir_msct.archive.digest import digest
from fhir_msct.mapping import gate, lineage, outgoing
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.outgoing import Input
from fhir_msct.results import Outcome

ENDPOINTS = {e.name(p): e for e in plan.load().endpoints for p in (e.paramcds or ("",))}
BEFORE, AFTER = "Observation/a/_history/1", "Observation/b/_history/7"
MAPPING = Mapping.load()


def row(**fields: Any) -> Outcome:
    given = {"usubjid": "p01", "course": 1, "endpoint": "CHG_CK", "paramcd": "CK", "avisit": "M6"}
    said = {
        "status": "value",
        "value": "-750",
        "unit": "U/L",
        "source": f"{BEFORE} {AFTER} Procedure/t/_history/1",
    }
    dates = {"base_adt": date(2024, 2, 28), "adt": date(2024, 8, 30), "base": "1000", "aval": "250"}
    return Outcome(**(given | said | dates | fields))


def tree(
    one: Outcome, inputs: dict[str, Input] | None = None, study: str = "small", subject: str = "p01"
) -> dict[str, Any]:
    record = outgoing.outcome(
        one,
        ENDPOINTS[one.endpoint],
        study=study,
        subject=subject,
        category="laboratory",
        unit="U/L",
        infusions=["Procedure/t/_history/1"],
        inputs=inputs
        or {BEFORE: Input("final", "2024-02-28"), AFTER: Input("final", "2024-08-30T08:00:00Z")},
    )
    body = MAPPING.write(record)
    assert gate.check(body) == []
    found: dict[str, Any] = json.loads(body)
    return found


def test_an_id_is_made_of_what_the_answer_is_about() -> None:
    own = tree(row())["id"]
    assert own.startswith("msct-")
    assert len(own) == 5 + 32
    assert set(own[5:]) <= set("abcdefghijklmnopqrstuvwxyz234567")
    others = [
        tree(row(usubjid="p02")),
        tree(row(course=2)),
        tree(row(endpoint="CHG_MMT8", paramcd="MMT8")),
        tree(row(), study="other"),
    ]
    assert len({own, *(other["id"] for other in others)}) == 5


def test_an_id_does_not_depend_on_input_versions_values_or_the_visit_that_was_met() -> None:
    ever = row(endpoint="IMP_EVER_CK", status="met", value="M1", unit="", avisit="M1")
    later = row(endpoint="IMP_EVER_CK", status="met", value="M3", unit="", avisit="M3", aval="300")
    assert tree(ever)["id"] == tree(later)["id"]
    assert tree(row())["id"] == tree(row(value="-1", source=""), {})["id"]
    assert outgoing.identity("a", "b|c") != outgoing.identity("a|b", "c")


def test_the_same_answer_has_the_same_id_for_ever() -> None:
    assert outgoing.identity("outcome", "small", "p01", "CHG_CK", 1, "M6") == tree(row())["id"]
    # printf '["x"]' | sha256sum | cut -c-64 | xxd -r -p | base32 | head -c 32
    assert outgoing.identity("x") == "msct-" + "zvs6ulbk3gpjjkc3dnw7olx67hfs5ufo"


def test_the_ids_of_a_demo_on_a_server_begin_with_its_run() -> None:
    assert outgoing.device_id("demo-abcdefgh").startswith("demo-abcdefgh-")
    assert len(outgoing.device_id("demo-abcdefgh")) == 46
    assert outgoing.device_id("demo-abcdefghi").startswith("msct-")
    assert outgoing.identity("demo-abcdefgh", "small").startswith("msct-")


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        (("final", "final"), "final"),
        (("corrected", "amended"), "final"),
        (("final", "preliminary"), "preliminary"),
        (("registered", "final"), "preliminary"),
    ],
)
def test_a_result_is_final_when_every_input_is(statuses: tuple[str, str], wanted: str) -> None:
    inputs = {BEFORE: Input(statuses[0]), AFTER: Input(statuses[1])}
    assert tree(row(), inputs)["status"] == wanted


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (["2024-08-30T08:00:00+08:00", "2024-08-30T01:00:00Z"], "2024-08-30T01:00:00Z"),
        (["2024-08-30T08:00:00.5Z", "2024-02-28"], "2024-08-30T08:00:00.5Z"),
        (["2024-02-28T08:00:00Z", "2024-08-30"], None),
        (["2024-02-28", "2024-08-30"], None),
        (["2024-08-30T08:00Z"], None),
        (["", ""], None),
        ([], None),
    ],
)
def test_issued_is_the_newest_moment_that_somebody_wrote(said: list[str], wanted: str | None) -> None:
    assert outgoing.issued([Input("final", text) for text in said]) == wanted


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({"issued": "2024-01-02T00:00:00Z", "effectiveDateTime": "2024-01-01"}, "2024-01-02T00:00:00Z"),
        ({"effectiveDateTime": "2024-01-01"}, "2024-01-01"),
        ({"effectiveInstant": "2024-01-01T00:00:00Z"}, "2024-01-01T00:00:00Z"),
        ({"effectivePeriod": {"start": "2024-01-01", "end": "2024-01-03"}}, "2024-01-03"),
        ({"effectivePeriod": {"start": "2024-01-01"}}, "2024-01-01"),
        ({}, ""),
    ],
)
def test_the_time_of_an_input_is_when_it_was_issued_else_when_it_was_measured(
    elements: dict[str, Any], said: str
) -> None:
    assert outgoing.input_of(json.dumps({"status": "final", **elements}).encode()) == Input("final", said)


def test_a_reference_carries_the_version_twice_and_one_of_ours_carries_none() -> None:
    assert outgoing.reference(AFTER) == {
        "extension": [{"url": "urn:fhir-msct:input-version", "valueString": AFTER}],
        "reference": AFTER,
    }
    assert outgoing.reference(AFTER, entered=True)["reference"] == "Observation/b"
    assert outgoing.reference("Observation/b")["reference"] == "Observation/b"


def test_an_input_without_an_id_is_referred_to_by_its_hash() -> None:
    found = outgoing.reference("Observation/#00ff")
    assert found == {"type": "Observation", "identifier": {"system": "urn:fhir-msct:sha256", "value": "00ff"}}


def test_a_hand_entered_input_says_the_same_before_and_after_a_server_gave_it_a_version() -> None:
    local, returned = "Observation/msct-x", "Observation/msct-x/_history/1"
    before = tree(row(source=local), {local: Input("final", "2024-08-30", entered=True)})
    after = tree(row(source=returned), {returned: Input("final", "2024-08-30", entered=True)})
    assert before == after


VALUES: dict[str, tuple[dict[str, Any], str, Any]] = {
    "a number": ({}, "valueQuantity", -750),
    "met": ({"endpoint": "RESP20_CK", "status": "met", "unit": "%"}, "valueCodeableConcept", "met"),
    "not met": (
        {"endpoint": "RESP20_CK", "status": "not met", "unit": "%"},
        "valueCodeableConcept",
        "not-met",
    ),
    "a date": ({"endpoint": "RECUR", "value": "2024-08-01", "unit": ""}, "valueDateTime", "2024-08-01"),
    "a word": ({"endpoint": "DEATH", "value": "Y", "unit": ""}, "valueString", "Y"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_an_answer_has_one_value_of_its_own_kind(kind: str) -> None:
    fields, key, wanted = VALUES[kind]
    found = tree(row(**fields))
    assert [name for name in found if name.startswith("value")] == [key]
    value = found[key]
    if key == "valueQuantity":
        value = value["value"]
    elif key == "valueCodeableConcept":
        value = value["coding"][0]["code"]
    assert value == wanted


@pytest.mark.parametrize(
    ("value", "unit", "key"),
    [("-75.5", "%", "valueQuantity"), ("2024-08-01", "", "valueDateTime"), ("M6", "", "valueString")],
)
def test_met_says_beside_it_what_it_rests_on(value: str, unit: str, key: str) -> None:
    found = tree(row(endpoint="RESP20_CK", status="met", value=value, unit=unit, base="", aval=""))
    (detail,) = found["component"]
    assert detail["code"]["coding"][0]["code"] == "detail"
    assert [name for name in detail if name.startswith("value")] == [key]


def test_a_limit_goes_out_as_a_limit_and_never_as_a_number() -> None:
    censored = {"base_comparator": ">", "comparator": "<=", "value_comparator": "<"}
    change = tree(row(**censored))
    assert (change["valueQuantity"]["comparator"], change["valueQuantity"]["value"]) == ("<", -750)
    assert [part["valueQuantity"]["comparator"] for part in change["component"]] == [">", "<="]
    response = tree(row(endpoint="RESP20_CK", status="met", value="-75", unit="%", **censored))
    assert [part["valueQuantity"]["comparator"] for part in response["component"]] == [">", "<=", "<"]
    exact = tree(row())
    assert "comparator" not in json.dumps(exact)


def test_digits_stay_as_the_outcome_has_them() -> None:
    found = outgoing.outcome(
        row(value="-0.10", base="5.40"),
        ENDPOINTS["CHG_CK"],
        study="small",
        subject="p01",
        category="",
        unit="U/L",
        infusions=[],
        inputs={BEFORE: Input("final"), AFTER: Input("final")},
    )
    body = MAPPING.write(found)
    assert b'"value":-0.10,' in body
    assert b'"value":5.40,' in body
    assert b'"value":-0.10,' in outgoing.with_status(body, "entered-in-error")


def test_a_status_is_changed_and_nothing_else() -> None:
    body = json.dumps({**tree(row()), "note": [{"text": "é"}]}).encode()
    held = json.loads(body)
    held["meta"] |= {"versionId": "3", "lastUpdated": "2024-01-01T00:00:00Z"}
    changed = json.loads(outgoing.with_status(json.dumps(held).encode(), "entered-in-error"))
    assert changed == {**json.loads(body), "status": "entered-in-error"}


def test_the_tool_s_version_is_in_the_device_and_not_in_its_id() -> None:
    old, new = (json.loads(lineage.device("small", number)) for number in ("1.0", "1.1"))
    assert old["id"] == new["id"] == tree(row())["device"]["reference"].removeprefix("Device/")
    assert (old["version"], new["version"]) == ([{"value": "1.0"}], [{"value": "1.1"}])


def test_a_provenance_is_the_same_for_the_same_change_and_another_for_another() -> None:
    targets = [lineage.Target("msct-a", "00"), lineage.Target("msct-b", "11")]
    same = lineage.provenance_id("small", list(reversed(targets)), False)
    assert lineage.provenance_id("small", targets, False) == same
    changed = [targets[0], msgspec.structs.replace(targets[1], sha256="22")]
    again = [targets[0], msgspec.structs.replace(targets[1], replaces="Observation/msct-b/_history/2")]
    ids = {
        same,
        lineage.provenance_id("small", targets, True),
        lineage.provenance_id("small", changed, False),
        lineage.provenance_id("small", again, False),
        lineage.provenance_id("other", targets, False),
    }
    assert len(ids) == 5


def test_whatever_we_write_beside_the_results_is_valid() -> None:
    target = lineage.Target(
        "msct-a", "00", (BEFORE, "Observation/#ff", "Patient/p"), "Observation/msct-a/_history/1"
    )
    for retracted in (False, True):
        body = lineage.provenance(
            "small", [target], recorded="2024-01-01T00:00:00Z", protocol="ab", retracted=retracted
        )
        assert gate.check(body) == []
    assert gate.check(lineage.device("a study / of ours", "1")) == []
    assert gate.check(lineage.research_study("a study / of ours", "")) == []


def test_a_study_s_name_may_hold_anything() -> None:
    found = tree(row(), study="MSCT in PM/DM, 2011")
    assert found["identifier"][0]["system"] == "urn:fhir-msct:MSCT%20in%20PM%2FDM%2C%202011"
    assert outgoing.system("MSCT in PM/DM, 2011") == found["identifier"][0]["system"]


def test_the_hash_of_a_result_does_not_see_what_a_server_adds() -> None:
    sent = json.dumps(tree(row())).encode()
    held = json.loads(sent)
    held["meta"] |= {"versionId": "1"}
    assert digest(json.dumps(held).encode()) == digest(sent)
    held["derivedFrom"].pop()
    assert digest(json.dumps(held).encode()) != digest(sent)
