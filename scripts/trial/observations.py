"""The Observations of the study as FHIR R4 JSON trees, in the many ways real servers write them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from trial.json_text import Number
from trial.plan import PEOPLE
from trial.rows import LABORATORY, Row, on_day
from trial.specials import JUDGEMENTS

Tree = dict[str, Any]

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
OWN = "urn:fhir-msct:codes"
SNOMED = "http://snomed.info/sct"
LOCAL = "https://lab.example.org/codes"
MIMIC = "http://mimic.mit.edu/fhir/mimic/CodeSystem"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
EXAMPLE = "https://example.org/fhir/StructureDefinition"

CODES = {
    "CK": (LOINC, "2157-6", "肌酸激酶 Creatine kinase", "K01"),
    "CKMBMASS": (LOINC, "13969-1", "CK-MB mass", "K02"),
    "CKMBACT": (LOINC, "32673-6", "CK-MB activity", "K03"),
    "CKMBCK": (LOINC, "20569-0", "CK-MB relative index", "K04"),
    "PTGVAS": (OWN, "PTGVAS", "Patient global, visual analogue scale", "F01"),
    "PTGNRS": (LOINC, "75844-1", "Patient global, 0-10 numeric rating", "F02"),
    "MMT8": (OWN, "MMT8", "MMT8, one side", "F03"),
    "MMT8BI": (OWN, "MMT8BI", "MMT8, both sides", "F04"),
}
SIDES = {"left": "419161000", "right": "419465000", "both": "51440002"}
LOWS = {"CK": "26", "CKMBMASS": "0", "CKMBACT": "0"}


def patient_id(patient: str) -> str:
    """The id of the Patient resource."""
    return f"msct-{patient}"


def observation(row: Row) -> Tree:
    """The resource of one planned row, without `meta`."""
    tree: Tree = {"resourceType": "Observation", "id": row.id}
    if row.marks.get("odd") == "implicit-rules":
        tree["implicitRules"] = f"{EXAMPLE}/rules-of-one-sender"
    _extras_before(row, tree)
    tree["status"] = row.marks.get("status", "final")
    tree["category"] = [_category(row.paramcd)]
    tree["code"] = _code(row)
    version = "/_history/1" if row.marks.get("extra") == "versioned" else ""
    tree["subject"] = {"reference": f"Patient/{patient_id(row.patient)}{version}"}
    tree |= _when(row)
    _value(row, tree)
    if row.marks.get("side"):
        tree["bodySite"] = {"coding": [{"system": SNOMED, "code": SIDES[row.marks["side"]]}]}
    if ranges := _ranges(row):
        tree["referenceRange"] = ranges
    return tree


def judgement(id_: str, patient: str, code: str, day: int, state: str) -> Tree:
    """An investigator's judgement of lung disease or of an ulcer."""
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"system": OWN, "code": code}], "text": "Investigator's judgement"},
        "subject": {"reference": f"Patient/{patient_id(patient)}"},
        "effectiveDateTime": on_day(patient, 1, day).isoformat(),
        "valueCodeableConcept": {"coding": [{"system": OWN, "code": state}]},
    }


def judgements() -> list[Tree]:
    """All of them."""
    return [judgement(*row) for row in JUDGEMENTS]


def _extras_before(row: Row, tree: Tree) -> None:
    extra, odd = row.marks.get("extra"), row.marks.get("odd")
    if extra == "contained":
        tree["contained"] = [
            {"resourceType": "Practitioner", "id": "dr", "name": [{"text": "Synthetic Clinician"}]}
        ]
        tree["performer"] = [{"reference": "#dr"}]
    if extra == "sender":
        tree["extension"] = [{"url": f"{EXAMPLE}/lab-priority", "valueString": "ROUTINE"}]
    if odd == "modifier":
        tree["modifierExtension"] = [{"url": f"{EXAMPLE}/specimen-hemolyzed", "valueBoolean": True}]
    if row.marks.get("identifier"):
        tree["identifier"] = [{"system": f"{LOCAL}/result-number", "value": row.marks["identifier"]}]
    if extra == "versioned":
        tree["identifier"] = [{"use": "official", "system": f"{LOCAL}/form-number", "value": "SYN-F-0101"}]


def _category(paramcd: str) -> Tree:
    code = "laboratory" if paramcd in LABORATORY else "exam" if paramcd.startswith("MMT") else "survey"
    return {"coding": [{"system": f"{TERMINOLOGY}/observation-category", "code": code}]}


def _code(row: Row) -> Tree:
    system, code, text, local = CODES[row.paramcd]
    plain: Tree = {"system": system, "code": code}
    own: Tree = {"system": LOCAL, "code": local, "display": text}
    if row.marks.get("odd") == "no-code":
        return {"text": text}
    how = row.marks.get("code", "")
    codings: dict[str, list[Tree]] = {
        "oid": [{"system": "urn:oid:2.16.840.1.113883.6.1", "code": code}],
        "slash": [{"system": "http://loinc.org/", "code": code}],
        "mimic": [
            {"system": f"{MIMIC}/mimic-d-labitems", "code": "50910", "display": "Creatine Kinase (CK)"}
        ],
        "local-first": [own, {**plain, "userSelected": False}],
        "two": [plain, {"system": LOINC, "code": "32673-6"}],
    }
    return {"coding": codings.get(how, [plain]), "text": text}


def _when(row: Row) -> Tree:
    style = row.marks.get("when") or (PEOPLE[row.patient].when if row.paramcd in LABORATORY else "date")
    day, clock = row.day.isoformat(), row.marks.get("clock", "07:40")
    if style != "-05:00" and row.marks.get("clock"):
        style = "local"
    forms: dict[str, Callable[[], Tree]] = {
        "date": lambda: {"effectiveDateTime": day},
        "local": lambda: {"effectiveDateTime": f"{day}T{clock}:00+08:00"},
        "-05:00": lambda: {"effectiveDateTime": f"{day}T{clock}:00-05:00"},
        "midnight": lambda: {"effectiveDateTime": f"{day}T00:00:00+08:00"},
        "Z": lambda: {"effectiveDateTime": f"{row.day - timedelta(days=1)}T23:40:00Z"},
        "month": lambda: {"effectiveDateTime": day[:7]},
        "instant": lambda: {"effectiveInstant": f"{day}T07:40:12.345+08:00"},
        "period": lambda: {
            "effectivePeriod": {"start": day, "end": (row.day + timedelta(days=1)).isoformat()}
        },
        "end": lambda: {"effectivePeriod": {"end": day}},
        "issued": lambda: {"issued": f"{day}T12:00:00+08:00"},
        "timing": lambda: {"effectiveTiming": {"event": [day]}},
    }
    tree = forms[style]()
    if row.marks.get("extra") == "sibling":
        tree["_effectiveDateTime"] = {
            "extension": [{"url": f"{EXAMPLE}/clock-source", "valueCode": "analyser"}]
        }
    return tree


def quantity(row: Row, number: str) -> Tree:
    """A Quantity in the unit and the spelling of this row."""
    tree: Tree = {"value": Number(number)}
    unit, how = row.unit, row.marks.get("unit", "")
    if unit.startswith("text "):
        return {**tree, "unit": row.unit_name}
    if unit == "none":
        return tree
    if how == "mimic":
        return {**tree, "unit": "IU/L", "system": f"{MIMIC}/mimic-units", "code": "IU/L"}
    if how == "coded":
        return {**tree, "system": UCUM, "code": unit}
    spelt = {"[IU]/L": "IU/L", "ukat/L": "µkat/L", "{score}": "score", "{points}": "points", "1": "score"}
    text = "unit per liter" if how == "spelt" else spelt.get(unit, unit)
    return {**tree, "unit": text, "system": UCUM, "code": unit}


def _value(row: Row, tree: Tree) -> None:
    odd = row.marks.get("odd", "")
    if odd in ("not-performed", "unknown"):
        codings = [{"system": f"{TERMINOLOGY}/data-absent-reason", "code": odd}]
        tree["dataAbsentReason"] = {"coding": codings}
    elif odd == "masked":
        tree["valueQuantity"] = {"extension": [{"url": ABSENT, "valueCode": "masked"}]}
    elif odd == "string":
        tree["valueString"] = "haemolysed"
    elif odd != "no-value":
        value = quantity(row, row.number)
        if row.comparator:
            value = {"value": value.pop("value"), "comparator": row.comparator, **value}
        _place(row, tree, value)


def _place(row: Row, tree: Tree, value: Tree) -> None:
    extra = row.marks.get("extra")
    if extra == "second-value":
        value["_value"] = {"extension": [{"url": f"{EXAMPLE}/precision", "valueInteger": 2}]}
        other = {"value": Number("0.0034"), "unit": "mkat/L", "system": UCUM, "code": "mkat/L"}
        value["extension"] = [{"url": f"{EXAMPLE}/as-reported", "valueQuantity": other}]
    if extra == "component":
        tree["component"] = [{"code": _code(row), "valueQuantity": value}]
    else:
        tree["valueQuantity"] = value


def _ranges(row: Row) -> list[Tree]:
    how = row.marks.get("range", "")
    if row.marks.get("odd") or row.paramcd not in LOWS or how == "none":
        return []
    if how == "zero":
        return [{"low": quantity(row, "0"), "high": quantity(row, "0")}]
    low = "0.4" if row.unit == "ukat/L" and row.paramcd == "CK" else LOWS[row.paramcd]
    if how == "bare":
        return [{"low": {"value": Number(low)}, "high": {"value": Number(row.high)}}]
    span: Tree = {"low": quantity(row, low), "high": quantity(row, row.high)}
    if how == "sexes":
        other = {"low": quantity(row, "39"), "high": quantity(row, "308")}
        return [{**other, "appliesTo": [_group("male")]}, {**span, "appliesTo": [_group("female")]}]
    if how == "therapeutic":
        wide = {"low": quantity(row, "0"), "high": quantity(row, "5000")}
        return [{**span, "type": _meaning("normal")}, {**wide, "type": _meaning("therapeutic")}]
    return [span]


def _group(sex: str) -> Tree:
    snomed = {"male": "248153007", "female": "248152002"}[sex]
    gender = {"system": "http://hl7.org/fhir/administrative-gender", "code": sex}
    return {"coding": [{"system": SNOMED, "code": snomed}, gender]}


def _meaning(code: str) -> Tree:
    return {"coding": [{"system": f"{TERMINOLOGY}/referencerange-meaning", "code": code}]}
