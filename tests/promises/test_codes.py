"""Every code that we ship can be trusted: its check digit, its source, and that it means one thing.

LOINC check digit: https://loinc.org/kb/faq/structure/ (mod 10, Luhn); SNOMED CT check digit: Verhoeff,
https://confluence.ihtsdotools.org/display/DOCRELFMT/6.4+Check-digit
"""

import json
import re

import pytest

from promises.mapping_rows import FOLDER, Row, coded, rows, tables

LOINC, SNOMED, OURS = "http://loinc.org", "http://snomed.info/sct", "urn:fhir-msct:codes"

MEANINGS = {
    "codes.csv": "paramcd",
    "findings.csv": "term",
    "judgements.csv": "term",
    "sides.csv": "side",
    "states.csv": "state",
    "verifications.csv": "verification",
    "cell_sources.csv": "cell_source",
    "outcome_codes.csv": "endpoint",
}


def loinc_is_sound(code: str) -> bool:
    """Whether the digit after the hyphen is the Luhn check digit of the digits before it."""
    if not re.fullmatch(r"\d{1,7}-\d", code):
        return False
    number, check = code.split("-")
    total = 0
    for place, digit in enumerate(reversed(number)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return (10 - total % 10) % 10 == int(check)


def snomed_is_sound(code: str) -> bool:
    """Whether the last digit is the Verhoeff check digit, computed with the symmetries of a pentagon."""
    if not re.fullmatch(r"\d{6,18}", code):
        return False
    shuffle, state = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4], 0
    for place, digit in enumerate(reversed(code)):
        value = int(digit)
        for _ in range(place % 8):
            value = shuffle[value]
        state = _turned(state, value)
    return state == 0


def _turned(a: int, b: int) -> int:
    """The product of two symmetries of a pentagon, 0-4 turned and 5-9 flipped."""
    turn = (a % 5 - b % 5) % 5 if a >= 5 else (a % 5 + b % 5) % 5
    return turn + 5 * ((a >= 5) != (b >= 5))


CODED = [pytest.param(name, row, id=f"{name}:{row['system']}|{row['code']}") for name, row in coded()]


def test_the_check_digits_themselves_are_judged_right() -> None:
    assert [loinc_is_sound(code) for code in ("2157-6", "13969-1", "20569-0", "74728-7")] == [True] * 4
    assert [snomed_is_sound(code) for code in ("73211009", "22298006", "420884001")] == [True] * 3
    assert [snomed_is_sound(code) for code in ("73211008", "22299006", "42088400")] == [False] * 3


def test_20569_4_is_refused_as_no_loinc_code() -> None:
    assert not loinc_is_sound("20569-4")
    assert "20569-4" not in {row["code"] for _, row in coded()}


@pytest.mark.parametrize(("name", "row"), CODED)
def test_every_loinc_and_snomed_code_has_its_right_check_digit(name: str, row: Row) -> None:
    sound = {LOINC: loinc_is_sound, SNOMED: snomed_is_sound}.get(row["system"], bool)
    assert sound(row["code"]), f"{name}: {row['code']} of {row['system']} has a wrong check digit"


@pytest.mark.parametrize(("name", "lines"), [pytest.param(n, r, id=n) for n, r in tables()])
def test_every_row_says_where_it_comes_from(name: str, lines: list[Row]) -> None:
    assert lines, f"{name} is empty"
    for number, row in enumerate(lines, 2):
        assert row.get("source", "").strip(), f"{name}:{number} has no source"


@pytest.mark.parametrize(("name", "row"), CODED)
def test_every_coded_row_is_seen_in_a_source_or_computed(name: str, row: Row) -> None:
    assert row["status"] in ("V", "V1", "C"), f"{name}: {row['code']}: {row['status']!r} may not be shipped"
    if row["status"] == "V1":
        assert len(row["source"]) > 20, f"{name}: {row['code']}: seen once only, and no word on where"


def test_no_table_ships_what_was_only_recalled() -> None:
    marks = {row["status"] for _, lines in tables() for row in lines if "status" in row}
    assert marks <= {"V", "V1", "C"}


@pytest.mark.parametrize("name", MEANINGS)
def test_a_system_and_code_mean_one_thing(name: str) -> None:
    meanings: dict[tuple[str, str], set[str]] = {}
    for row in rows(name):
        meanings.setdefault((row["system"], row["code"]), set()).add(row[MEANINGS[name]])
    assert [key for key, values in meanings.items() if len(values) > 1] == []


def test_no_code_of_an_observation_stands_in_two_tables() -> None:
    names = ("codes.csv", "judgements.csv", "outcome_codes.csv")
    found = [(row["system"], row["code"]) for name in names for row in rows(name)]
    assert len(found) == len(set(found))


def test_every_parameter_that_is_coded_is_a_parameter_of_the_study() -> None:
    known = {row["paramcd"] for row in rows("parameters.csv")}
    for name in ("codes.csv", "units.csv", "unitless.csv"):
        assert {row["paramcd"] for row in rows(name)} <= known, name
    assert known == {row["paramcd"] for row in rows("codes.csv")}, "a parameter that no code can bring"
    assert all(len(paramcd) <= 8 for paramcd in known)


def test_each_parameter_has_one_code_to_write() -> None:
    preferred = [row["paramcd"] for row in rows("codes.csv") if row["preferred"] == "Y"]
    assert sorted(preferred) == sorted({row["paramcd"] for row in rows("codes.csv")})


def test_the_traps_among_the_ck_mb_codes_are_not_mapped() -> None:
    mapped = {row["code"]: row["paramcd"] for row in rows("codes.csv") if row["system"] == LOINC}
    assert {code: mapped[code] for code in ("20569-0", "49136-5", "12189-7")} == {
        "20569-0": "CKMBCK",
        "49136-5": "CKMBCK",
        "12189-7": "CKMBCK",
    }
    assert not {"2158-4", "12187-1", "50756-6", "24335-2", "38214-3", "72514-3"} & mapped.keys()


def test_every_local_code_is_in_our_code_system() -> None:
    system = json.loads((FOLDER / "codesystem.json").read_text(encoding="utf-8"))
    defined = [concept["code"] for concept in system["concept"]]
    assert system["url"] == OURS
    assert len(defined) == len(set(defined))
    assert {row["code"] for _, row in coded() if row["system"] == OURS} <= set(defined)


def test_a_billing_code_with_a_licence_is_not_shipped() -> None:
    assert not [row for _, row in coded() if "ama-assn" in row["system"]]
