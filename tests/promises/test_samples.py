"""Public sample data, pulled and read: the rows that must come, and every other resource counted.

The files stay where they are, beside the repository (`../shared/samples`), and are not copied; what they
teach stands as small cases of our own in `fixtures/cases/`. Every number here was counted by hand.
"""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fhir_msct import Study

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the public sample data do not lie at ../shared/samples"
)

UNKNOWN = "[records]\naccept_status = ['final', 'amended', 'corrected', 'unknown']\n"

COUNTS: dict[str, dict[str, tuple[int, int, int]]] = {
    # folder: type: mapped, set aside, out of scope
    "smart-stu3": {"Observation": (0, 10, 57), "Condition": (0, 0, 25)},
    "cda-converter": {"Patient": (1, 0, 0), "Observation": (5, 0, 0)},
    "german-polar": {"Patient": (10, 0, 0), "Observation": (5, 0, 3), "Procedure": (0, 0, 6)},
    "mii-testdata": {"Observation": (1, 0, 2)},
    "au-core": {"Observation": (0, 0, 11)},
    "r4-examples": {"Observation": (0, 0, 4), "Procedure": (0, 0, 3)},
    "cibmtr": {"Patient": (1, 0, 0), "Observation": (0, 0, 2)},
    "everything-pages": {
        "Patient": (1, 0, 0),
        "Observation": (0, 0, 92),
        "Condition": (0, 0, 4),
        "Procedure": (0, 0, 7),
    },
    "ndjson": {"Patient": (13, 0, 0), "Observation": (0, 0, 8)},
    "search-pages": {"Patient": (13, 0, 0), "Observation": (0, 0, 2), "Condition": (0, 0, 9)},
    "bulk-export": {},
}


def read(folder: str, home: Path, plan: str = "") -> Path:
    """Pulls one sample folder into a study folder and reads it; the records folder."""
    (home / "study.toml").write_text(plan, encoding="utf-8")
    study = Study(home)
    study.pull(SAMPLES / folder)
    study.records()
    return home / "records"


def rows(records: Path, name: str) -> list[dict[str, str]]:
    """The rows of one file."""
    with (records / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def accounting(records: Path) -> Any:
    """What became of every resource."""
    return json.loads((records / "accounting.json").read_text(encoding="utf-8"))


def test_every_sample_folder_is_expected_here() -> None:
    assert {path.name for path in SAMPLES.iterdir() if path.is_dir()} == COUNTS.keys()


@pytest.mark.parametrize("folder", COUNTS)
def test_every_resource_of_a_folder_is_mapped_set_aside_or_out_of_scope(folder: str, tmp_path: Path) -> None:
    found = accounting(read(folder, tmp_path))
    seen = {
        kind: (counts["mapped"], counts["set_aside"], counts["out_of_scope"])
        for kind, counts in found["types"].items()
        if counts["seen"]
    }
    asked = ("Patient", "Observation", "Condition", "Procedure", "MedicationAdministration")
    assert {kind: counts for kind, counts in seen.items() if kind in asked} == COUNTS[folder]
    assert [kind for kind, (mapped, aside, _) in seen.items() if kind not in asked and mapped + aside] == []
    for kind, counts in found["types"].items():
        assert counts["seen"] == counts["mapped"] + counts["set_aside"] + counts["out_of_scope"], kind
    listed: Counter[str] = Counter()
    for row in found["out_of_scope"]:
        listed[row["type"]] += row["count"]
    assert all(listed[kind] == counts["out_of_scope"] for kind, counts in found["types"].items())


def test_a_data_set_whose_every_status_is_unknown_is_set_aside_for_it(tmp_path: Path) -> None:
    records = read("smart-stu3", tmp_path)
    assert accounting(records)["set_aside"] == {"Observation": {"status-unknown": 10}}
    aside = rows(records, "set_aside")
    assert {row["reason"] for row in aside} == {"status-unknown"}
    numbers = (1004, 1006, 1007, 1012, 1014, 1017, 1018, 1020, 1022, 65)
    assert {row["id"] for row in aside} == {f"smart-{number}-lab" for number in numbers}
    assert rows(records, "measurements") == []


def test_its_rows_come_with_their_flags_once_the_study_accepts_the_status(tmp_path: Path) -> None:
    found = rows(read("smart-stu3", tmp_path, UNKNOWN), "measurements")
    values = Counter((row["paramcd"], row["adtc"], row["aval"], row["avalu"]) for row in found)
    assert values == Counter(
        [
            ("CK", "2007-06-08", "73", "U/L"),
            ("CK", "2007-06-09", "41", "U/L"),
            ("CK", "2007-06-09", "35", "U/L"),
            ("CKMBMASS", "2007-06-08", "1", "ug/L"),
            ("CKMBMASS", "2007-06-09", "0", "ug/L"),
            ("CKMBMASS", "2007-06-09", "2", "ug/L"),
            ("CKMBCK", "2007-06-08", "2", "%"),
            ("CKMBCK", "2007-06-09", "1", "%"),
            ("CKMBCK", "2007-06-09", "4", "%"),
            ("CK", "2012-11-17", "90", "U/L"),
        ]
    )
    assert all("status_accepted" in row["flags"].split() for row in found)
    limits = {row["usubjid"]: (row["anrlo"], row["anrhi"]) for row in found if row["paramcd"] == "CK"}
    assert limits == {"smart-2347217": ("", ""), "smart-1520204": ("26", "140")}
    none = [row for row in found if row["usubjid"] == "smart-2347217" and row["paramcd"] != "CKMBCK"]
    assert all("no_uln" in row["flags"].split() for row in none)


def test_a_document_converters_components_are_read_with_all_their_digits(tmp_path: Path) -> None:
    found = rows(read("cda-converter", tmp_path), "measurements")
    assert [(row["adtc"][:10], row["aval"]) for row in found] == [
        ("2020-02-13", "22.58740184171218"),
        ("2020-02-15", "48.50640557356901"),
        ("2020-02-17", "48.819218005368604"),
        ("2020-02-19", "50.81708840242254"),
        ("2020-02-21", "47.963768478385624"),
    ]
    for row in found:
        assert (row["paramcd"], row["orsystem"]) == ("CK", "urn:oid:2.16.840.1.113883.6.1")
        assert row["orres"] == row["aval"]
        assert sorted(row["flags"].split()) == ["no_uln", "system_alias", "unit_text"]


def test_a_german_hospitals_results_without_ids_are_known_by_their_bytes(tmp_path: Path) -> None:
    records = read("german-polar", tmp_path)
    found = rows(records, "measurements")
    assert [(row["usubjid"], row["adt"], row["aval"]) for row in found] == [
        ("UKFR1", "2000-01-01", "20"),
        ("UKFR1", "2000-01-07", "20"),
        ("UKFR4", "2000-01-01", "20"),
        ("UKFR5", "2000-01-01", "60"),
        ("UKFR6", "2000-01-01", "60"),
    ]
    assert {row["source"][:13] for row in found} == {"Observation/#"}
    assert len({row["source"] for row in found}) == 5
    assert {row["identifiers"] for row in found} == {
        f"Generated|UKFR{n}" for n in ("1-13181", "1-13223", "4-13350", "5-13481", "6-13549")
    }
    assert len(rows(records, "subjects")) == 10


def test_german_test_data_give_their_one_creatine_kinase(tmp_path: Path) -> None:
    (row,) = rows(read("mii-testdata", tmp_path), "measurements")
    assert (row["usubjid"], row["paramcd"], row["aval"]) == ("mii-exa-test-data-patient-8", "CK", "85")
    assert (row["adtc"], row["adt"]) == ("2023-11-12T06:30:00+01:00", "2023-11-12")
    assert row["flags"] == "no_uln"


def test_a_patient_whose_name_is_masked_is_a_subject(tmp_path: Path) -> None:
    (row,) = rows(read("cibmtr", tmp_path), "subjects")
    assert (row["usubjid"], row["sex"], row["infusedfl"]) == ("PatientExample6", "female", "N")


def test_thirteen_patients_beside_a_log_are_thirteen_subjects(tmp_path: Path) -> None:
    records = read("ndjson", tmp_path)
    assert len(rows(records, "subjects")) == 13
    assert accounting(records)["complete"] is True


def test_nothing_of_the_older_release_crashes_or_becomes_a_record(tmp_path: Path) -> None:
    records = read("everything-pages", tmp_path)
    assert [len(rows(records, name)) for name in ("measurements", "findings", "transplants")] == [0, 0, 0]
    assert len(rows(records, "subjects")) == 1
