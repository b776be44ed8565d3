"""The gate refuses what fhir.resources lets through, and says where without quoting a value."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from fhir_msct.errors import InputError
from fhir_msct.mapping import gate

CODES = "urn:fhir-msct:codes"
UCUM = "http://unitsofmeasure.org"
Edit = Callable[[dict[str, Any]], Any]


def outcome() -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": "msct-abc",
        "meta": {"tag": [{"system": "urn:fhir-msct:tags", "code": "derived"}]},
        "status": "final",
        "code": {"coding": [{"system": CODES, "code": "CHG_CK"}]},
        "subject": {"reference": "Patient/p01"},
        "effectivePeriod": {"start": "2011-01-01", "end": "2011-07-02"},
        "issued": "2011-07-02T10:00:00+08:00",
        "valueQuantity": {"value": -1506.5, "system": UCUM, "code": "U/L"},
        "device": {"reference": "Device/msct-tool"},
        "partOf": [{"reference": "Procedure/t1/_history/1"}],
        "derivedFrom": [{"reference": "Observation/ck1/_history/3"}],
        "component": [
            {
                "code": {"coding": [{"system": CODES, "code": "baseline"}]},
                "valueQuantity": {"value": 1681, "system": UCUM, "code": "U/L"},
            }
        ],
    }


def body(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree).encode()


def edited(edit: Edit) -> bytes:
    tree = outcome()
    edit(tree)
    return body(tree)


def test_a_good_derived_outcome_passes() -> None:
    assert gate.check(body(outcome())) == []


WRONG: dict[str, tuple[Edit, str]] = {
    "a status nobody defined": (lambda o: o.update(status="done"), "Observation.status"),
    "no status": (lambda o: o.pop("status"), "Observation.status"),
    "an id of 65 characters": (lambda o: o.update(id="a" * 65), "Observation.id"),
    "an id with an underscore": (lambda o: o.update(id="a_b"), "Observation.id"),
    "an id without a letter": (lambda o: o.update(id="123"), "Observation.id"),
    "no id": (lambda o: o.pop("id"), "Observation.id"),
    "no tag of ours": (lambda o: o.pop("meta"), "Observation.meta.tag"),
    "another's tag": (lambda o: o["meta"]["tag"][0].update(system="urn:x"), "Observation.meta.tag"),
    "an invented comparator": (
        lambda o: o["valueQuantity"].update(comparator="~"),
        "Observation.valueQuantity.comparator",
    ),
    "a number sent as text": (
        lambda o: o["valueQuantity"].update(value="5.4"),
        "Observation.valueQuantity.value",
    ),
    "a boolean for a number": (
        lambda o: o["component"][0]["valueQuantity"].update(value=True),
        "Observation.component[0].valueQuantity.value",
    ),
    "a unit code without system": (
        lambda o: o["valueQuantity"].pop("system"),
        "Observation.valueQuantity.system",
    ),
    "a UCUM code nobody reviewed": (
        lambda o: o["valueQuantity"].update(code="furlong"),
        "Observation.valueQuantity.code",
    ),
    "obs-6": (
        lambda o: o.update(dataAbsentReason={"text": "x"}),
        "Observation.valueQuantity: a value beside a reason",
    ),
    "obs-6 in a component": (
        lambda o: o["component"][0].update(dataAbsentReason={"text": "x"}),
        "Observation.component[0].valueQuantity: a value beside a reason",
    ),
    "two values": (lambda o: o.update(valueString="x"), "a second value"),
    "obs-7": (lambda o: o["component"][0].update(code=o["code"]), "Observation.component[0].code"),
    "a subject of the wrong type": (
        lambda o: o.update(subject={"reference": "Encounter/1"}),
        "Observation.subject: R4 does not allow a Encounter here",
    ),
    "derived from a Procedure": (
        lambda o: o.update(derivedFrom=o["partOf"]),
        "Observation.derivedFrom[0]: R4 does not allow a Procedure here",
    ),
    "part of an Observation": (
        lambda o: o.update(partOf=o["derivedFrom"]),
        "Observation.partOf[0]: R4 does not allow a Observation here",
    ),
    "no reference": (lambda o: o.update(subject={"reference": "not a ref"}), "Observation.subject"),
    "a reference to nothing": (lambda o: o.update(subject={"display": "x"}), "Observation.subject"),
    "a period that ends first": (
        lambda o: o["effectivePeriod"].update(end="2010-12"),
        "Observation.effectivePeriod.end",
    ),
    "a period that ends first, by zone": (
        lambda o: o.update(
            effectivePeriod={"start": "2011-01-01T01:00:00+00:00", "end": "2011-01-01T02:00:00+08:00"}
        ),
        "Observation.effectivePeriod.end",
    ),
    "an empty object": (lambda o: o.update(method={}), "Observation.method: an empty object"),
    "an empty list": (lambda o: o.update(component=[]), "Observation.component: empty"),
    "an empty text": (lambda o: o.update(valueQuantity={"unit": ""}), "Observation.valueQuantity.unit"),
    "an extension with both": (
        lambda o: o.update(extension=[{"url": "urn:x", "valueString": "a", "extension": [{"url": "b"}]}]),
        "Observation.extension[0]: an extension with",
    ),
    "a modifier": (
        lambda o: o.update(modifierExtension=[{"url": "urn:x", "valueString": "a"}]),
        "Observation.modifierExtension",
    ),
    "contained": (
        lambda o: o.update(contained=[{"resourceType": "Patient", "id": "x"}]),
        "Observation.contained",
    ),
    "a script": (
        lambda o: o.update(
            text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><Script/></div>'}
        ),
        "Observation.text",
    ),
    "an unknown element": (lambda o: o.update(occurrence="2011"), "Observation.occurrence"),
    "an instant without a time": (lambda o: o.update(issued="2011-07-02"), "Observation.issued"),
    "a derived result coded as what it is derived from": (
        lambda o: o.update(code={"coding": [{"system": "http://loinc.org", "code": "2157-6"}]}),
        "Observation.code: a derived result",
    ),
    "a derived result under our own measurement code": (
        lambda o: o.update(code={"coding": [{"system": CODES, "code": "MMT8"}]}),
        "Observation.code: a derived result",
    ),
    "a type that is never sent": (lambda o: o.update(resourceType="Patient"), "resourceType"),
    "too large": (lambda o: o["code"].update(text="x" * gate.LARGEST), "larger than"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_gate_refuses(wrong: str) -> None:
    edit, where = WRONG[wrong]
    problems = gate.check(edited(edit))
    assert any(where in problem for problem in problems), problems


@pytest.mark.parametrize(
    "damaged",
    [b"", b"[]", b"{", b'{"resourceType": "Observation", "id": "a", "id": "b"}', b'{"x": NaN}', b"\xff"],
)
def test_what_is_no_json_object_is_refused_without_a_traceback(damaged: bytes) -> None:
    assert len(gate.check(damaged)) == 1


def test_no_problem_quotes_a_value() -> None:
    def secret(tree: dict[str, Any]) -> None:
        tree.update(issued="SECRET", status="SECRET", effectivePeriod={"start": "SECRET", "end": "SECRET"})
        tree["valueQuantity"].update(value="SECRET", code="SECRET", comparator="SECRET")
        tree["subject"].update(reference="SECRET")

    problems = gate.check(edited(secret))
    assert len(problems) > 5
    assert "SECRET" not in " ".join(problems)


def test_a_partial_date_is_no_disorder() -> None:
    assert gate.check(edited(lambda o: o["effectivePeriod"].update(start="2011", end="2011-07-02"))) == []


def test_a_study_s_own_units_count_as_known(tmp_path: Any) -> None:
    (tmp_path / "units.csv").write_text(
        f"paramcd,system,unit,factor,study_unit,source,status\nCK,{UCUM},mkat/L,60000,U/L,ours,C\n", "utf-8"
    )
    sent = edited(lambda o: o["valueQuantity"].update(code="mkat/L"))
    assert gate.check(sent) == ["Observation.valueQuantity.code: not a UCUM code that our tables name"]
    assert gate.check(sent, tmp_path) == []


def test_a_provenance_may_point_at_anything_and_its_roles_are_bound() -> None:
    tree = {
        "resourceType": "Provenance",
        "id": "msct-p",
        "meta": {"tag": [{"system": "urn:fhir-msct:tags", "code": "derived"}]},
        "target": [{"reference": "Observation/msct-abc"}],
        "recorded": "2011-07-02T10:00:00Z",
        "agent": [{"who": {"reference": "Device/msct-tool"}}],
        "entity": [{"role": "source", "what": {"reference": "Condition/c1/_history/1"}}],
    }
    assert gate.check(body(tree)) == []
    tree["entity"][0]["role"] = "origin"  # type: ignore[index]
    assert gate.check(body(tree)) == ["Provenance.entity[0].role: not a role of an entity"]
    tree["agent"][0]["who"]["reference"] = "Observation/x"  # type: ignore[index]
    assert any("Provenance.agent[0].who" in problem for problem in gate.check(body(tree)))


def test_a_model_is_returned_validated_or_refused() -> None:
    assert gate.model(body(outcome())).id == "msct-abc"
    with pytest.raises(InputError, match=r"not a valid Observation: Observation\.status"):
        gate.model(edited(lambda o: o.pop("status")))
    with pytest.raises(InputError, match="not a resource that R4B has"):
        gate.model(b'{"resourceType": "Stethoscope"}')
