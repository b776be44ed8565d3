"""A study folder's own rows and templates: added to the shipped ones, never in their place."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fhir_msct.data import mappings
from fhir_msct.errors import ConfigError, MappingError, UsageError
from fhir_msct.mapping import template
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.shape import Shape
from fhir_msct.plan import load

LOCAL = "https://hospital.example/codes"
COLUMNS = "paramcd,system,code,relation,preferred,source,status,approved_by,approved_on\n"


def resource(value: dict[str, Any], code: str = "KRAFT") -> bytes:
    """A muscle test as one hospital's system sends it: a local code, a whole number without a unit."""
    return json.dumps(
        {
            "resourceType": "Observation",
            "id": "o1",
            "status": "final",
            "code": {"coding": [{"system": LOCAL, "code": code}]},
            "subject": {"reference": "Patient/p1"},
            "effectiveDateTime": "2024-03-05",
            **value,
        }
    ).encode()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A study folder that maps the hospital's muscle test (approved) and its global scale (not yet)."""
    folder = tmp_path / "mappings"
    folder.mkdir()
    (folder / "codes.csv").write_text(
        f"{COLUMNS}MMT8,{LOCAL},KRAFT,equivalent,,the hospital's catalogue,C,Dr A,2024-01-02\n"
        f"PTGVAS,{LOCAL},GLOBAL,equivalent,,the hospital's catalogue,C,,\n",
        "utf-8",
    )
    (folder / "unitless.csv").write_text(
        f"system,code,paramcd,unit,source,status\n{LOCAL},KRAFT,MMT8,{{score}},the catalogue,C\n", "utf-8"
    )
    return tmp_path


def whole_numbers(own: Path) -> Mapping:
    """The same folder with a template that takes a whole number for the value."""
    shipped = json.loads((mappings() / "measurement.json").read_text(encoding="utf-8"))
    del shipped["@one"], shipped["referenceRange"]
    shipped["valueInteger"] = "{value?}"
    (own / "mappings" / "measurement-whole.json").write_text(json.dumps(shipped), encoding="utf-8")
    return Mapping.load(own)


def test_a_hospitals_local_codes_give_muscle_strength_and_patient_global(own: Path) -> None:
    mapping = Mapping.load(own)
    strength = mapping.read(resource({"valueQuantity": {"value": 45}})).records[0]
    vas = mapping.read(resource({"valueQuantity": {"value": 63, "unit": "mm"}}, "GLOBAL")).records[0]
    assert (strength.paramcd, strength.aval, strength.avalu) == ("MMT8", Decimal(45), "{score}")
    assert (vas.paramcd, vas.aval, vas.avalu) == ("PTGVAS", Decimal("6.3"), "cm")
    assert (strength.code_row, vas.code_row) == ("own codes.csv:2", "own codes.csv:3")


def test_a_row_that_nobody_approved_works_and_is_flagged(own: Path) -> None:
    mapping = Mapping.load(own)
    assert (
        "unapproved"
        in mapping.read(resource({"valueQuantity": {"value": 6, "unit": "cm"}}, "GLOBAL")).records[0].flags
    )
    assert "unapproved" not in mapping.read(resource({"valueQuantity": {"value": 45}})).records[0].flags


def test_without_the_template_a_whole_number_is_another_kind_of_value(own: Path) -> None:
    assert Mapping.load(own).read(resource({"valueInteger": 45})).set_aside[0].reason == "value-kind"


def test_an_own_template_reads_what_the_shipped_one_cannot(own: Path) -> None:
    record = whole_numbers(own).read(resource({"valueInteger": 45})).records[0]
    assert (record.paramcd, record.aval) == ("MMT8", Decimal(45))


def test_an_own_template_leaves_the_shipped_one_in_place(own: Path) -> None:
    assert len(whole_numbers(own).read(resource({"valueQuantity": {"value": 45}})).records) == 1


def test_where_no_template_reads_it_the_shipped_ones_reason_stands(own: Path) -> None:
    reading = whole_numbers(own).read(resource({"valueString": "strong"}))
    assert reading.set_aside[0].reason == "value-kind"


@pytest.mark.parametrize(("given", "reason"), [("Device", "constant"), ("Patient", ""), (None, "")])
def test_a_constant_outside_a_list_is_an_expectation(given: str | None, reason: str) -> None:
    document = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient/{subject}", "type": "Patient"},
    }
    shape = Shape(template.parse("strict", document, frozenset()), {})
    body = {"resourceType": "Observation", "subject": {"reference": "Patient/p1", "type": given}}
    assert getattr(shape.found(json.dumps(body).encode()), "reason", "") == reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "{colour?}"}, "R4 has no Observation.colour"),
        ({"component": {"code": "{paramcd:codes}"}}, "is a list in R4"),
        ({"status": "{a b}"}, "not a hole"),
        ({"code": "{paramcd:kodes}"}, "no table kodes.csv"),
        ({"@sometimes": []}, "no key of the mapping grammar"),
    ],
)
def test_a_template_that_r4_or_the_grammar_does_not_fit_names_file_and_path(
    own: Path, change: dict[str, Any], words: str
) -> None:
    shipped = json.loads((mappings() / "measurement.json").read_text(encoding="utf-8"))
    (own / "mappings" / "measurement-own.json").write_text(json.dumps(shipped | change), encoding="utf-8")
    with pytest.raises(MappingError, match="measurement-own") as error:
        Mapping.load(own)
    assert words in str(error.value)


def test_a_template_without_a_hole_that_its_record_needs_is_refused(own: Path) -> None:
    shipped = json.loads((mappings() / "measurement.json").read_text(encoding="utf-8"))
    del shipped["effective[x]"]
    (own / "mappings" / "measurement-own.json").write_text(json.dumps(shipped), encoding="utf-8")
    with pytest.raises(MappingError, match="when"):
        Mapping.load(own)


def test_a_row_that_contradicts_a_shipped_one_names_both(own: Path) -> None:
    (own / "mappings" / "codes.csv").write_text(
        f"{COLUMNS}CKMBACT,http://loinc.org,2157-6,equivalent,,a mistake,C,,\n", "utf-8"
    )
    with pytest.raises(MappingError, match=r"own codes\.csv:2 contradicts codes\.csv:2"):
        Mapping.load(own)


def test_a_misspelt_table_is_refused_and_not_silently_unread(own: Path) -> None:
    (own / "mappings" / "codes.cvs").write_text("", "utf-8")
    with pytest.raises(MappingError, match=r"codes\.cvs: no table has this name"):
        Mapping.load(own)


def test_a_code_of_a_parameter_that_nobody_described_is_refused(own: Path) -> None:
    (own / "mappings" / "codes.csv").write_text(f"{COLUMNS}GRIP,{LOCAL},GRIFF,equivalent,,x,C,,\n", "utf-8")
    with pytest.raises(MappingError, match=r"own codes\.csv:2: no parameter GRIP"):
        Mapping.load(own)


def test_a_study_describes_parameters_and_endpoints_of_its_own(own: Path) -> None:
    (own / "study.toml").write_text('[study]\nid = "grip"\n', "utf-8")
    header = (mappings() / "parameters.csv").read_text("utf-8").splitlines()[0]
    (own / "mappings" / "parameters.csv").write_text(
        f"{header}\nGRIP,Grip strength (kg),kg,higher,0,,,,,-30,1,the study's protocol\n", "utf-8"
    )
    (own / "mappings" / "codes.csv").write_text(f"{COLUMNS}GRIP,{LOCAL},GRIFF,equivalent,,x,C,,\n", "utf-8")
    (own / "mappings" / "units.csv").write_text(
        "paramcd,system,unit,factor,study_unit,source,status\nGRIP,,kg,1,kg,the device's manual,C\n", "utf-8"
    )
    (own / "mappings" / "endpoints.toml").write_text(
        '[[endpoint]]\nid = "RESP20"\nrule = "response"\nthreshold = 30\nparamcds = ["GRIP", "CK"]\n'
        'course = 1\navisit = "M6"\npopulations = ["INFUSED"]\nwords = "stronger"\nsource = "protocol"\n',
        "utf-8",
    )
    plan = load(own)
    record = (
        Mapping.load(own).read(resource({"valueQuantity": {"value": 21, "unit": "kg"}}, "GRIFF")).records[0]
    )
    assert (record.paramcd, record.aval, record.param) == ("GRIP", Decimal(21), "Grip strength (kg)")
    mine = {endpoint.id: endpoint for endpoint in plan.endpoints}
    assert (mine["RESP20"].threshold, mine["RESP20"].paramcds) == (30, ("GRIP", "CK"))
    assert mine["CHG"].rule == "change"


def test_a_parameter_that_says_another_thing_of_a_shipped_one_is_refused(own: Path) -> None:
    (own / "study.toml").write_text('[study]\nid = "x"\n', "utf-8")
    header = (mappings() / "parameters.csv").read_text("utf-8").splitlines()[0]
    (own / "mappings" / "parameters.csv").write_text(f"{header}\nCK,CK,ukat/L,lower,,,,Y,,-30,1,x\n", "utf-8")
    with pytest.raises(ConfigError, match=r"parameters\.csv:2: CK is a parameter already"):
        load(own)


def test_a_folder_that_is_not_there_holds_no_mappings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        Mapping.load(tmp_path / "none")
