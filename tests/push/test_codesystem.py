"""The local CodeSystem: every code of ours is defined in it, and none claims to be a standard one."""

import csv
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fhir.resources.R4B.codesystem import CodeSystem

from fhir_msct import data, plan

OURS = "urn:fhir-msct:codes"
PATH = data.mappings() / "codesystem.json"
DOCUMENT: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
CONCEPTS: dict[str, dict[str, Any]] = {concept["code"]: concept for concept in DOCUMENT["concept"]}


def rows(name: str) -> list[dict[str, str]]:
    with (data.mappings() / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def used() -> Iterator[tuple[str, str]]:
    """Every code of ours in a table or a template, with the file that uses it."""
    for path in sorted(data.mappings().glob("*.csv")):
        yield from ((path.name, row["code"]) for row in rows(path.name) if row.get("system") == OURS)
    for path in sorted(data.mappings().glob("*.json")):
        if path != PATH:
            yield from ((path.name, code) for code in _of(json.loads(path.read_text("utf-8"))))


def _of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("system") == OURS and "code" in value:
            yield value["code"]
        for inner in value.values():
            yield from _of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _of(inner)


def properties(concept: dict[str, Any], name: str) -> list[Any]:
    found = [one for one in concept["property"] if one["code"] == name]
    return [value for one in found for key, value in one.items() if key != "code"]


def test_it_is_a_valid_r4_codesystem_with_url_and_version() -> None:
    found = CodeSystem.model_validate_json(PATH.read_bytes())
    assert (found.url, found.status, found.content) == (OURS, "active", "complete")
    assert found.version
    assert DOCUMENT["count"] == len(DOCUMENT["concept"]) == len(CONCEPTS)


def test_every_code_of_ours_that_is_used_is_defined() -> None:
    codes = {(name, code) for name, code in used() if not code.startswith("{")}
    assert {name for name, _ in codes} >= {"codes.csv", "recognition.csv", "states.csv", "outcome.json"}
    assert [(name, code) for name, code in sorted(codes) if code not in CONCEPTS] == []


def test_what_a_hole_of_the_outcome_allows_is_defined() -> None:
    rules = {endpoint.rule for endpoint in plan.load().endpoints}
    assert rules | {"met", "not-met"} <= CONCEPTS.keys()


def test_every_endpoint_has_a_code_and_every_outcome_code_an_endpoint() -> None:
    endpoints = {e.name(p): (e.rule, p) for e in plan.load().endpoints for p in (e.paramcds or ("",))}
    coded = {row["endpoint"]: row for row in rows("outcome_codes.csv")}
    assert coded.keys() == endpoints.keys()
    outcomes = {code for code, concept in CONCEPTS.items() if properties(concept, "kind") == ["outcome"]}
    assert outcomes == endpoints.keys()
    for name, (rule, paramcd) in endpoints.items():
        assert coded[name]["code"] == name
        assert coded[name]["display"] == CONCEPTS[name]["display"]
        assert properties(CONCEPTS[name], "rule") == [rule]
        if len(name.split("_")) > 1:
            assert properties(CONCEPTS[name], "parameter") == [paramcd]


def test_a_category_fits_the_parameter() -> None:
    parameters = plan.load().parameters
    for row in rows("outcome_codes.csv"):
        for paramcd in properties(CONCEPTS[row["code"]], "parameter"):
            assert (row["category"] == "laboratory") == parameters[paramcd].enzyme


def test_an_outcome_never_shares_a_code_with_what_it_is_derived_from() -> None:
    measured = {(row["system"], row["code"]) for row in rows("codes.csv")}
    assert measured.isdisjoint((row["system"], row["code"]) for row in rows("outcome_codes.csv"))


@pytest.mark.parametrize("code", CONCEPTS)
def test_every_concept_is_named_defined_and_of_one_kind(code: str) -> None:
    concept = CONCEPTS[code]
    assert concept["display"]
    assert concept["definition"].endswith(".")
    assert len(properties(concept, "kind")) == 1
    declared = {one["code"]: one["type"] for one in DOCUMENT["property"]}
    for one in concept["property"]:
        kind = declared[one["code"]]
        assert set(one) == {"code", "value" + kind[0].upper() + kind[1:]}


def test_standard_codes_are_only_ever_related() -> None:
    related = {c: {(r["system"], r["code"]) for r in properties(CONCEPTS[c], "related")} for c in CONCEPTS}
    assert related["PTGVAS"] == {("http://loinc.org", "75844-1"), ("http://snomed.info/sct", "446661009")}
    standard = {coding for codings in related.values() for coding in codings}
    equivalent = {(r["system"], r["code"]) for r in rows("codes.csv") if r["paramcd"] in CONCEPTS}
    assert standard.isdisjoint(equivalent)
    assert all(system != OURS for system, _ in standard)
