"""Invented Observations as a hospital sends them: one in four is in scope, the rest is everything else."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
ANALYTES = (
    # code, display, unit, high, share
    ("2157-6", "Creatine kinase [Enzymatic activity/volume] in Serum or Plasma", "U/L", 190, 16),
    ("13969-1", "Creatine kinase.MB [Mass/volume] in Serum or Plasma", "ng/mL", 5, 10),
    ("2339-0", "Glucose [Mass/volume] in Blood", "mg/dL", 110, 18),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 1, 18),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 11, 14),
    ("8867-4", "Heart rate", "/min", 110, 12),
    ("29463-7", "Body weight", "kg", 120, 12),
)


def line(chance: random.Random, number: int, patients: int = 5000) -> str:
    """One Observation of about 1.3 kB, of one of so many patients, as JSON text."""
    code, display, unit, high, _ = chance.choices(ANALYTES, [analyte[4] for analyte in ANALYTES])[0]
    patient = f"p{chance.randrange(patients):05}"
    year, month, day = chance.randrange(2012, 2024), chance.randrange(1, 13), chance.randrange(1, 29)
    when = f"{year}-{month:02}-{day:02}T08:30:00+01:00"
    amount = f"{chance.lognormvariate(0, 0.6) * high:.2f}"
    quantity = f'{{"value": {amount}, "unit": "{unit}", "system": "{UCUM}", "code": "{unit}"}}'
    limit = f'{{"value": {high}.0, "unit": "{unit}", "system": "{UCUM}", "code": "{unit}"}}'
    local = f"LAB-{chance.randrange(900) + 100}"
    before = {
        "resourceType": "Observation",
        "id": f"o{number:08}",
        "meta": {"versionId": "2", "lastUpdated": "2024-01-02T03:04:05.678+01:00", "source": "#lis"},
        "extension": [{"url": "https://hospital.example/priority", "valueCode": chance.choice(["R", "S"])}],
        "identifier": [{"system": "https://hospital.example/results", "value": f"R-{number}"}],
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                    }
                ]
            }
        ],
        "code": {"coding": [{"system": LOINC, "code": code, "display": display}], "text": display},
        "subject": {"reference": f"Patient/{patient}", "display": "Invented Person"},
        "encounter": {"reference": f"Encounter/e{number % 30000:06}"},
        "effectiveDateTime": when,
        "issued": "2024-01-02T03:04:05.678+01:00",
        "performer": [{"reference": "Organization/laboratory", "display": "Central laboratory"}],
    }
    after = {
        "interpretation": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
                        "code": "N",
                    }
                ]
            }
        ],
        "note": [{"text": f"Analyser {local}; no remarks by the laboratory."}],
        "specimen": {"reference": f"Specimen/s{number:08}"},
    }
    head, tail = json.dumps(before, separators=(",", ":"))[:-1], json.dumps(after, separators=(",", ":"))[1:]
    return f'{head},"valueQuantity":{quantity},"referenceRange":[{{"high":{limit}}}],{tail}'


def lines(count: int, patients: int = 5000, seed: int = 7) -> Iterator[str]:
    """So many Observations of so many patients."""
    chance = random.Random(seed)
    return (line(chance, number, patients) for number in range(count))


def patient(number: int) -> str:
    """The Patient of that number."""
    return f'{{"resourceType":"Patient","id":"p{number:05}","birthDate":"1970-01-01"}}'


def write(path: Path, count: int, seed: int = 7) -> None:
    """An NDJSON file of so many Observations."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(one + "\n" for one in lines(count, seed=seed))
