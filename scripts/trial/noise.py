"""What else a hospital holds: hundreds of resources that the study must count and leave alone."""

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple

from trial.json_text import Number
from trial.observations import LOCAL, LOINC, SNOMED, TERMINOLOGY, UCUM, patient_id
from trial.plan import DATA_CUT, DAYS, PEOPLE
from trial.rows import on_day

Tree = dict[str, Any]
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
RACE = "urn:oid:2.16.840.1.113883.6.238"


class Test(NamedTuple):
    """A laboratory test or vital sign that is none of the study's."""

    key: str
    loinc: str
    low: float
    high: float
    places: int
    unit: str


TESTS = (
    Test("glu", "2345-7", 74, 148, 0, "mg/dL"),
    Test("na", "2951-2", 134, 146, 0, "mmol/L"),
    Test("k", "2823-3", 3.2, 5.1, 1, "mmol/L"),
    Test("crea", "2160-0", 0.3, 1.1, 2, "mg/dL"),
    Test("hb", "718-7", 10.1, 15.4, 1, "g/dL"),
    Test("wbc", "6690-2", 4.2, 13.5, 2, "10*3/uL"),
    Test("plt", "777-3", 140, 410, 0, "10*3/uL"),
    Test("hr", "8867-4", 58, 104, 0, "/min"),
    Test("temp", "8310-5", 36.1, 37.8, 1, "Cel"),
    Test("weight", "29463-7", 44, 81, 1, "kg"),
    Test("spo2", "59408-5", 91, 100, 0, "%"),
)
CONDITIONS = ("38341003", "44054006", "64859006", "55822004", "40930008", "35489007", "235595009", "82272006")
PROCEDURES = ("29303009", "40701008", "241541005", "86273004", "127783003")
DRUGS = ("6902", "8640")


def noise(chance: Random) -> list[Tree]:
    """All of it, in order of patient and day."""
    return [tree for key in PEOPLE for tree in _of(key, chance)] + list(_look_alikes())


def code_of(tree: Tree) -> tuple[str, str]:
    """System and code under which such a resource is counted as out of scope."""
    concept = tree.get("code") or tree["medicationCodeableConcept"]
    coding = concept["coding"][0]
    return coding["system"], coding["code"]


def _of(key: str, chance: Random) -> Iterator[Tree]:
    days = _days(key)
    for n, day in enumerate(days):
        for test in TESTS:
            if chance.random() < 0.6:
                yield _result(key, test, day, chance, f"{test.key}-{key}-{n:02}")
        yield _blood_pressure(key, day, chance, f"bp-{key}-{n:02}")
        yield _pain(key, day, chance, f"pain-{key}-{n:02}")
        yield _drug(key, day, chance, f"drug-{key}-{n:02}")
    for n in range(3):
        yield _condition(key, CONDITIONS[int(chance.random() * len(CONDITIONS))], days[0], f"cond-{key}-{n}")
        yield _procedure(key, PROCEDURES[int(chance.random() * len(PROCEDURES))], days[n], f"proc-{key}-{n}")


def _days(key: str) -> list[date]:
    if not PEOPLE[key].infusions:
        return [date(2022, 5, 9), date(2022, 11, 21), date(2023, 5, 16), date(2023, 9, 12)]
    found = [
        on_day(key, course, day) for (who, course), days in DAYS.items() if who == key for day in days if day
    ]
    return [day for day in sorted(found) if day <= DATA_CUT]


def _between(chance: Random, low: float, high: float, places: int) -> Number:
    return Number(f"{low + chance.random() * (high - low):.{places}f}")


def _quantity(number: Number, unit: str) -> Tree:
    return {"value": number, "unit": unit, "system": UCUM, "code": unit}


def _observation(id_: str, key: str, day: date, system: str, code: str, category: str = "laboratory") -> Tree:
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "category": [{"coding": [{"system": f"{TERMINOLOGY}/observation-category", "code": category}]}],
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": f"Patient/{patient_id(key)}"},
        "effectiveDateTime": day.isoformat(),
    }


def _result(key: str, test: Test, day: date, chance: Random, id_: str) -> Tree:
    vital = test.key in ("hr", "temp", "weight", "spo2")
    tree = _observation(id_, key, day, LOINC, test.loinc, "vital-signs" if vital else "laboratory")
    tree["valueQuantity"] = _quantity(_between(chance, test.low, test.high, test.places), test.unit)
    return tree


def _blood_pressure(key: str, day: date, chance: Random, id_: str) -> Tree:
    tree = _observation(id_, key, day, LOINC, "85354-9", "vital-signs")
    parts = (("8480-6", 98, 152), ("8462-4", 58, 94))
    tree["component"] = [
        {
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "valueQuantity": _quantity(_between(chance, low, high, 0), "mm[Hg]"),
        }
        for code, low, high in parts
    ]
    return tree


def _pain(key: str, day: date, chance: Random, id_: str) -> Tree:
    """Pain on a visual analogue scale: a scale like the patient global's, and not the patient global."""
    tree = _observation(id_, key, day, LOINC, "38214-3", "survey")
    tree["valueQuantity"] = _quantity(_between(chance, 0, 7, 1), "cm")
    return tree


def _drug(key: str, day: date, chance: Random, id_: str) -> Tree:
    return {
        "resourceType": "MedicationAdministration",
        "id": id_,
        "status": "completed",
        "medicationCodeableConcept": {
            "coding": [{"system": RXNORM, "code": DRUGS[int(chance.random() * 2)]}]
        },
        "subject": {"reference": f"Patient/{patient_id(key)}"},
        "effectiveDateTime": day.isoformat(),
        "dosage": {"dose": _quantity(_between(chance, 4, 40, 0), "mg")},
    }


def _condition(key: str, code: str, day: date, id_: str) -> Tree:
    state = {"coding": [{"system": f"{TERMINOLOGY}/condition-clinical", "code": "active"}]}
    return {
        "resourceType": "Condition",
        "id": id_,
        "clinicalStatus": state,
        "code": {"coding": [{"system": SNOMED, "code": code}]},
        "subject": {"reference": f"Patient/{patient_id(key)}"},
        "recordedDate": (day - timedelta(days=90)).isoformat(),
    }


def _procedure(key: str, code: str, day: date, id_: str) -> Tree:
    return {
        "resourceType": "Procedure",
        "id": id_,
        "status": "completed",
        "code": {"coding": [{"system": SNOMED, "code": code}]},
        "subject": {"reference": f"Patient/{patient_id(key)}"},
        "performedDateTime": day.isoformat(),
    }


def _look_alikes() -> Iterator[Tree]:
    """Codes and words that a careless reader would take for the study's."""
    day = date(2022, 5, 9)
    ratio = _observation("ratio-p03", "p03", day, LOINC, "2158-4")
    ratio["valueQuantity"] = _quantity(Number("11"), "{ratio}")
    yield ratio
    heritage = _observation("heritage-p11", "p11", day, RACE, "2157-6", "survey")
    heritage["valueString"] = "asked"
    yield heritage
    blood = _observation("ckmass-p05", "p05", day, LOINC, "50756-6")
    blood["valueQuantity"] = _quantity(Number("88"), "ug/L")
    yield blood
    panel = _observation("panel-p01", "p01", date(2021, 3, 15), LOINC, "24335-2")
    panel["hasMember"] = [
        {"reference": "Observation/ck-p01-base"},
        {"reference": "Observation/ckmbm-p01-base"},
    ]
    yield panel
    dated = _observation("hsctdate-p11", "p11", day, LOCAL, "HSCT-DATE", "survey")
    dated["code"]["text"] = "HEMATOPOIETIC STEM CELL TRANSPLANT - TRANSPLANT DATE"
    dated["valueDateTime"] = "2016-02-03"
    yield dated
    biopsy = _procedure("p04", "86273004", date(2021, 8, 20), "proc-p04-biopsy")
    biopsy["code"]["text"] = "Biopsy of bone marrow, evaluation before MSC harvest"
    yield biopsy
