"""`--discover` finds what a hospital calls the study's values, and only that; its rows can be pasted."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from check.conftest import Examine
from check.hospital import CK, LOINC, VALUE, about, coded, names, observation, resources, study
from fhir_msct.errors import MappingError
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.lookalikes import LookAlikes
from fhir_msct.tasks import check_told
from fhir_msct.tasks.discover import Discovered
from lib.fake_fhir import FakeFhir, bundle, reply

LAB = "urn:hospital:lab"
PROCEDURES = "urn:hospital:procedures"

PLANTED = {
    "CK": [
        "CK total",
        "Kreatinkinase im Serum",
        "Créatine kinase",
        "肌酸激酶",
        "CK-NAC",
        "CPK",
        "血清肌酸激酶测定",
    ],
    "CK-MB": [
        "CK-MB mass",
        "Kreatinkinase-MB Masse",
        "créatine kinase MB",
        "肌酸激酶同工酶",
        "Creatine kinase.MB [Mass/volume] in Serum",
    ],
    "MMT": [
        "MMT-8",
        "Muskelkraft rechts",
        "Testing musculaire",
        "徒手肌力评定",
        "Manual muscle testing, 24 groups",
    ],
    "patient global": [
        "Patient global activity (VAS)",
        "Visuelle Analogskala Patient",
        "Évaluation globale par le patient",
        "患者总体评估",
    ],
    "cell transplant": [
        "Stem cell infusion",
        "Stammzelltransplantation",
        "Greffe de cellules souches",
        "间充质干细胞输注",
    ],
}

UNRELATED = [
    "Creatinine",
    "Kreatinin",
    "Créatinine",
    "肌酐",
    "Potassium",
    "Lactate dehydrogenase",
    "乳酸脱氢酶",
    "Pain VAS",
    "Schmerz VAS",
    "疼痛视觉模拟评分",
    "Handgrip strength",
    "Nierentransplantation",
    "Kidney transplant",
    "肾移植",
    "Greffe de rein",
    "MSCT thorax",
    "Multislice computed tomography (MSCT)",
    "MRSA screening",
    "Body weight",
    "Vasculitis",
    "Nickel",
]


def discovered(examine: Examine, trees: Iterable[dict[str, Any]], **options: Any) -> Discovered:
    """What is found where the server also holds these resources."""
    report = examine(FakeFhir([*resources(), *trees]), discover=True, **options)
    assert report.discovered is not None
    return report.discovered


def labelled(labels: Iterable[str], unit: str = "x") -> list[dict[str, Any]]:
    return [observation(f"o{n}", coded(LAB, f"L{n}", label), unit) for n, label in enumerate(labels)]


@pytest.mark.parametrize("kind", PLANTED)
def test_look_alikes_are_found_in_four_languages(examine: Examine, kind: str) -> None:
    found = discovered(examine, labelled(PLANTED[kind]))
    assert {one.text for one in found.look_alikes if one.kind == kind} == set(PLANTED[kind])
    assert {one.kind for one in found.look_alikes} == {kind}


def test_nothing_unrelated_and_nothing_mapped_is_found(examine: Examine) -> None:
    found = discovered(examine, labelled(UNRELATED))
    assert [one.text for one in found.look_alikes] == []
    assert found.resources == len(resources()) - 4 + len(UNRELATED)  # without Patients and Group
    assert found.whole


def test_look_alikes_are_counted_by_code_and_named_with_their_label(examine: Examine) -> None:
    trees = [
        observation(f"a{n}", coded(LAB, "4711", "Kreatinkinase"), patient=f"p{n % 3 + 1}") for n in range(7)
    ]
    trees.append(observation("b", coded(LAB, "4712", text="Muskelkraft nach MMT-8"), "{score}"))
    found = discovered(examine, trees)
    assert [(one.system, one.code, one.text, one.count, one.type) for one in found.look_alikes] == [
        (LAB, "4711", "Kreatinkinase", 7, "Observation"),
        (LAB, "4712", "Muskelkraft nach MMT-8", 1, "Observation"),
    ]


def test_infusions_are_looked_for_where_they_are_written_down(examine: Examine) -> None:
    given = {"medicationCodeableConcept": coded(LAB, "Z1", "Stammzellpräparat"), "status": "completed"}
    trees = [
        about("Procedure", "a", status="completed", code=coded(PROCEDURES, "8-805", "Stammzelltherapie")),
        about("MedicationAdministration", "b", **given),
        about("Condition", "c", code=coded(PROCEDURES, "Z94", "Status post stem cell therapy")),
    ]
    found = discovered(examine, trees)
    kinds = {"Procedure", "MedicationAdministration", "Condition"}
    assert {(one.kind, one.type) for one in found.look_alikes} == {
        ("cell transplant", kind) for kind in kinds
    }
    assert (found.codes_csv, found.choose_csv) == ("", "")  # what opens a course is not proposed


@pytest.mark.parametrize(
    ("label", "unit", "paramcd"),
    [
        ("CK-MB", "ug/L", "CKMBMASS"),
        ("CK-MB", "U/L", "CKMBACT"),
        ("CK-MB", "%", "CKMBCK"),
        ("Patient VAS", "mm", "PTGVAS"),
        ("Patient global", "{score}", "PTGNRS"),
        ("MMT24", "{score}", "MMT24"),
        ("Kreatinkinase", "furlong", "CK"),
    ],
)
def test_the_unit_tells_which_parameter_a_row_is_for(
    examine: Examine, label: str, unit: str, paramcd: str
) -> None:
    found = discovered(examine, [observation("o", coded(LAB, "1", label), unit)])
    assert found.codes_csv.splitlines()[1].split(",")[:4] == [paramcd, LAB, "1", "equivalent"]
    assert found.choose_csv == ""


def test_where_no_unit_tells_a_person_chooses_first(examine: Examine, tmp_path: Path) -> None:
    found = discovered(examine, [observation("o", coded(LAB, "1", "Muskelkraft"), "{score}")])
    assert found.codes_csv == ""
    folder = study(tmp_path / "pasted", None)
    paste(folder, "codes.csv", found.choose_csv)
    with pytest.raises(MappingError, match=r"MMT8\|MMT8BI\|MMT24"):
        Mapping.load(folder)
    paste(folder, "codes.csv", found.choose_csv.replace("MMT8|MMT8BI|MMT24", "MMT8"))
    assert Mapping.load(folder).tables["codes"].meaning(LAB, "1")


def paste(folder: Path, name: str, rows: str) -> None:
    (folder / "mappings").mkdir(exist_ok=True)
    (folder / "mappings" / name).write_text(rows, encoding="utf-8")


def test_pasted_rows_load_and_what_they_decide_is_flagged_until_somebody_approves(
    examine: Examine, tmp_path: Path
) -> None:
    local = observation("o", coded(LAB, "4711", 'Kreatinkinase, "gesamt"'), "U/L")
    odd = observation("u", CK, "U/l", unit_system="urn:hospital:units")
    found = discovered(examine, [local, odd])
    folder = study(tmp_path / "pasted", None)
    paste(folder, "codes.csv", found.codes_csv)
    paste(folder, "units.csv", found.units_csv)
    mapping = Mapping.load(folder)
    for tree in (local, odd):
        (record,) = mapping.read(tree).records
        assert (record.paramcd, str(record.aval)) == ("CK", VALUE)
        assert "unapproved" in record.flags
    assert "UNREVIEWED" in found.codes_csv
    again = discovered(examine, [local, odd], folder=with_server(folder))
    assert (again.look_alikes, again.units) == ((), ())


def with_server(folder: Path) -> Path:
    (folder / "study.toml").write_text(
        '[study]\nid = "x"\n[server]\nurl = "http://127.0.0.1:8099/fhir"\n[cohort]\ngroup = "trial"\n'
    )
    return folder


def test_a_unit_without_a_known_factor_is_left_to_a_person(examine: Examine, tmp_path: Path) -> None:
    found = discovered(examine, [observation("u", CK, "ukat/dL")])
    (unit,) = found.units
    assert (unit.paramcd, unit.unit, unit.study_unit, unit.factor) == ("CK", "ukat/dL", "U/L", "")
    folder = study(tmp_path / "pasted", None)
    paste(folder, "units.csv", found.factors_csv)
    with pytest.raises(MappingError, match="factor wants a fraction"):
        Mapping.load(folder)


def test_texts_without_a_code_are_counted_and_never_shown(examine: Examine, tmp_path: Path) -> None:
    typed = "CK of Mrs Canary was high"
    trees = [
        observation("t", coded("", "", text=typed)),
        observation("u", CK, "see letter of Mrs Canary of 12345", unit_system=""),
        observation("o", coded(LAB, "1", "Kreatinkinase", text=typed)) | {"note": [{"text": typed}]},
    ]
    report = examine(FakeFhir([*resources(), *trees]), discover=True)
    assert report.discovered is not None
    assert report.discovered.free_texts == {"CK": 1}
    told = "\n".join(check_told.checked(report, tmp_path)) + str(report)
    assert "Canary" not in told
    assert VALUE not in told
    assert {"free-texts", "unlisted-units"} <= names(report)


def test_a_label_is_one_line_and_not_endless(examine: Examine) -> None:
    label = "CK\n\x1b[31m total " + "x" * 200
    (one,) = discovered(examine, [observation("o", coded(LAB, "1", label))]).look_alikes
    assert one.text.startswith("CK [31m total xxx")
    assert (len(one.text), one.text[-1]) == (80, "…")


def test_a_component_is_shown_and_gives_no_row(examine: Examine) -> None:
    panel = observation("panel", coded(LAB, "P", "Muscle panel"))
    panel["component"] = [{"code": coded(LAB, "C", "CK total"), "valueQuantity": {"value": 5}}]
    found = discovered(examine, [panel])
    assert [(one.code, one.in_component) for one in found.look_alikes] == [("C", True)]
    assert found.codes_csv + found.choose_csv == ""


def test_our_own_answers_are_no_look_alikes(examine: Examine) -> None:
    own = next(iter(Mapping.load().tables["outcome_codes"].rows))
    answer = observation("own", coded(own["system"], own["code"], "Change of CK"))
    assert discovered(examine, [answer]).look_alikes == ()


def test_it_stops_at_the_limit_and_says_that_there_is_more(examine: Examine) -> None:
    server = FakeFhir(resources())
    endless = [observation(f"e{n}", coded(LAB, str(n), "Kreatinkinase")) for n in range(3)]

    def pages(request: Any) -> Any:
        step = len(server.requests)
        following = f"{server.base}?_getpages=endless&step={step}"
        return reply(200, bundle([json.dumps(one).encode() for one in endless], following))

    server.bend("_count=500|endless", pages, times=1000)
    report = examine(server, discover=True)
    assert report.discovered is not None
    assert not report.discovered.whole
    assert "not-all-seen" in names(report)
    assert len(server.requests) <= 60


def test_only_the_cohort_is_looked_at(examine: Examine) -> None:
    stranger = observation("s", coded(LAB, "1", "Kreatinkinase"), patient="p9")
    assert discovered(examine, [stranger]).look_alikes == ()


def test_a_study_can_add_words_of_its_own(examine: Examine, tmp_path: Path) -> None:
    folder = with_server(study(tmp_path / "own", None))
    header = "kind,paramcd,words,unless_words,language,source,status"
    paste(folder, "discover.csv", f"{header}\nCK,CK,kreatiinikinaasi*,,fi,the laboratory,C\n")
    found = discovered(examine, labelled(["S-Kreatiinikinaasi"]), folder=folder)
    assert [one.kind for one in found.look_alikes] == ["CK"]


@pytest.mark.parametrize("code", ["2157-6", "13969-1"])
def test_the_names_that_codes_have_in_public_tables_are_heard(code: str) -> None:
    """LOINC's long common names, as far as our own rows quote them."""
    long_names = {
        "2157-6": ("Creatine kinase [Enzymatic activity/volume] in Serum or Plasma", "CK"),
        "13969-1": ("Creatine kinase.MB [Mass/volume] in Serum or Plasma", "CK-MB"),
    }
    name, kind = long_names[code]
    assert list(LookAlikes.load().kinds(name)) == [kind], LOINC
