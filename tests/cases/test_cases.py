"""What the reader makes of each resource of `fixtures/cases/`, one test a sentence."""

import csv
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cases.case_files import FOLDER, Case, cases, read
from fhir_msct import Mapping
from fhir_msct.mapping.reading import Reading
from fhir_msct.records import Resource
from fhir_msct.tables import COLUMNS, cell

CASES = list(cases())

TOPICS = {
    *("code-contradictions", "codes-and-systems", "comparators", "components", "damaged-bytes", "dates"),
    *("decimals-and-odd-numbers", "findings", "judgements", "missing-values", "mmt-scale-and-side"),
    *("modifier-and-implicit-rules", "own-outcomes", "reference-ranges", "statuses", "subject-references"),
    *("subjects", "subsetted", "transplants", "units", "vas"),
}

REASONS = {
    *("not-json", "not-utf8", "shape", "no-type", "implicit-rules", "modifier", "no-code"),
    *("codes-contradict", "value-kind", "not-a-number", "ambiguous", "not-allowed", "missing"),
    *("no-value", "unit-unknown", "unit-missing", "subject-unresolved", "no-usubjid", "no-date"),
    *("date-kind", "choice-twice", "key-twice", "transplant-not-msc", "history-not-event"),
}
"""The closed list, without those that other tests must show: `same-id` needs an archive (test_bundles.py),
`constant` a template that expects one (test_own_templates.py); `absent-` and `status-` are families."""

FAMILIES = ("absent-", "status-")

RECORD_FLAGS = {
    *("utc_date", "partial_date", "review", "rounded", "no_side", "code_text_differs", "system_alias"),
    *("unit_text", "unit_assumed", "subsetted", "replaced_by", "status_accepted", "outside_scale"),
    *("no_uln", "unapproved", "recorded_date"),
}


@pytest.fixture(scope="session")
def mappings(tmp_path_factory: pytest.TempPathFactory) -> dict[bytes, Mapping]:
    """One compiled mapping for all cases that share their study's own rows and keys."""
    found: dict[bytes, Mapping] = {}
    for case in CASES:
        key = msgspec.json.encode([case.own_mappings, case.study])
        if key not in found:
            found[key] = Mapping.load(study_folder(tmp_path_factory.mktemp("study"), case))
    return found


def study_folder(folder: Path, case: Case) -> Path:
    """A study folder with the case's own rows and keys."""
    (folder / "study.toml").write_text(case.study.toml(), encoding="utf-8")
    (folder / "mappings").mkdir()
    for name, rows in case.own_mappings.items():
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (folder / "mappings" / name).write_text(text.getvalue(), encoding="utf-8")
    return folder


def reading(mapping: Mapping, case: Case) -> Reading:
    """What the mapping makes of a case's resource, among the case's patients."""
    people = [
        Resource("Patient", person["id"], patient_body(person), full_url=person.get("fullUrl"))
        for person in case.patients
    ]
    return mapping.read(case.bytes, base=case.base, patients=mapping.patients(people, case.base))


def patient_body(person: dict[str, Any]) -> bytes:
    """The Patient resource of a case's patient."""
    return msgspec.json.encode(
        {"resourceType": "Patient", **{k: v for k, v in person.items() if k != "fullUrl"}}
    )


def said(found: Reading, case: Case) -> dict[str, Any]:
    """A reading in the words of the case's expectation, so that the two can be compared whole."""
    if found.set_aside:
        row = found.set_aside[0]
        parts = {"where": row.where, "detail": row.detail}
        wanted = {k: v for k, v in parts.items() if getattr(case.expect, k) is not None}
        return {"set_aside": row.reason, **wanted}
    if not found.records:
        return {"out_of_scope": found.out}
    wanted_fields = case.expect.records or []
    pairs = zip(found.records, [*wanted_fields, *({} for _ in found.records)], strict=False)
    return {"records": [cells(record, fields) for record, fields in pairs]}


def cells(record: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The cells of a record that an expectation names."""
    names = [name for name in fields if name not in ("type", "flags")]
    flags = {"flags": sorted(record.flags)} if "flags" in fields else {}
    return {"type": type(record).__name__, **{n: cell(getattr(record, n)) for n in names}, **flags}


def expected(case: Case) -> dict[str, Any]:
    """The expectation, with its flags in order."""
    tree: dict[str, Any] = msgspec.to_builtins(case.expect)
    for record in tree.get("records", ()):
        if "flags" in record:
            record["flags"] = sorted(record["flags"])
    return tree


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c.topic}: {c.title}") for c in CASES])
def test_case(case: Case, mappings: dict[bytes, Mapping]) -> None:
    mapping = mappings[msgspec.json.encode([case.own_mappings, case.study])]
    found = reading(mapping, case)
    assert said(found, case) == expected(case), case.why
    assert bool(found.records) + bool(found.set_aside) <= 1, "one of three, never two"
    assert found.in_scope == (case.expect.out_of_scope is None)


def test_every_topic_has_its_file() -> None:
    assert {read(path).topic for path in FOLDER.glob("*.json")} == TOPICS
    assert all(read(path).topic == path.stem for path in FOLDER.glob("*.json"))
    assert len(CASES) >= 150


def test_titles_are_sentences_that_stand_once() -> None:
    titles = [case.title for case in CASES]
    assert len(titles) == len(set(titles))
    assert [title for title in titles if len(title.split()) < 3] == []
    assert [case.title for case in CASES if not case.why] == []


def test_each_case_gives_one_resource_and_expects_one_thing() -> None:
    for case in CASES:
        given = [bool(bytes(case.resource)), case.body is not None, case.body_hex is not None]
        assert sum(given) == 1, case.title
        wanted = [case.expect.records, case.expect.set_aside, case.expect.out_of_scope]
        assert sum(part is not None for part in wanted) == 1, case.title


def test_every_field_that_a_case_names_is_a_column_of_its_file() -> None:
    columns = {kind.__name__: set(names) for kind, names in COLUMNS.items()}
    for case in CASES:
        for record in case.expect.records or ():
            kind = str(record["type"])
            assert set(record) - {"type"} <= columns[kind], case.title


def test_every_reason_of_the_closed_list_has_a_case() -> None:
    shown = {case.expect.set_aside for case in CASES if case.expect.set_aside}
    families = {reason for reason in shown if reason.startswith(FAMILIES)}
    assert shown - families == REASONS
    for family in FAMILIES:
        assert sum(reason.startswith(family) for reason in families) >= 3, family


def test_every_flag_of_a_record_has_a_case() -> None:
    shown = {
        flag for case in CASES for record in case.expect.records or () for flag in record.get("flags", ())
    }
    assert shown == RECORD_FLAGS


def test_a_resource_nested_a_hundred_thousand_levels_deep_is_set_aside_and_not_fatal() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    body = b'{"resourceType": "Observation", "extension": ' + deep + b"}"
    assert [row.reason for row in Mapping.load().read(body).set_aside] == ["not-json"]


@pytest.mark.parametrize(
    "number",
    ["0." + "1" * 20_000, "1" * 20_000, "1e999999999", "1e-999999999"],
    ids=["decimals", "digits", "exponent", "negative exponent"],
)
@pytest.mark.parametrize("topic", ["value", "limit"])
def test_a_number_of_absurd_length_is_set_aside_and_neither_fatal_nor_expanded(
    number: str, topic: str
) -> None:
    case = next(case for case in CASES if case.title.startswith("Microkatal per litre is 60"))
    old = b"28.0167" if topic == "value" else b"308"
    assert case.bytes.count(old) == 1
    body = case.bytes.replace(old, number.encode())
    assert [row.reason for row in Mapping.load().read(body).set_aside] == ["not-a-number"]


def test_a_resource_without_an_id_is_known_by_the_hash_of_its_bytes() -> None:
    plain = next(c for c in CASES if c.title.startswith("Total creatine kinase"))
    record = Mapping.load().read(plain.bytes.replace(b'"id": "o1",', b"")).records[0]
    assert record.source.startswith("Observation/#")
    assert len(record.source) == len("Observation/#") + 64
