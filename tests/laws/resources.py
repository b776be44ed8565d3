"""Resources that our writer could not have made, for the laws of the mappings.

Keys in any order, pretty print, escapes, extra codings, extensions everywhere, contained resources,
numbers in every spelling: what `features` finds in a text is what the laws have been tried on.
"""

import json
import random
import re
from collections.abc import Callable
from typing import Any

CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
LOINC, UCUM, SNOMED = "http://loinc.org", "http://unitsofmeasure.org", "http://snomed.info/sct"
NUMBERS = ("5", "5.40", "0.00", "1E+3", "1.0e-2", "-0", "0.1234567890123456789", "12345678901234567890.5")
TEXTS = (
    "x",
    'quote " and \\ slash /',
    "Müller µg/L",
    "肌酸激酶",
    "\u2028\u0085",
    "emoji 😀",
    "tab\tnew\nline",
)
WHENS: tuple[dict[str, Any], ...] = (
    {"DateTime": "2024-01-02"},
    {"DateTime": "2024"},
    {"DateTime": "2024-01-02T03:04:05.120+08:00"},
    {"Period": {"start": "2024-01", "end": "2024-02-03T04:05:06Z"}},
    {"Period": {"start": "2024-01-02"}},
)


class Number(str):
    """A number in exactly this spelling."""


class Maker:
    """One random resource of a kind, as a tree; the same seed gives the same resource."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def maybe(self, part: float, value: Callable[[], Any]) -> Any:
        """A value now and then."""
        return value() if self.chance.random() < part else None

    def number(self) -> Number:
        return Number(self.chance.choice(NUMBERS))

    def text(self) -> str:
        return self.chance.choice(TEXTS)

    def extension(self) -> list[dict[str, Any]]:
        return [
            {"url": "urn:someone:else", "valueDecimal": self.number()},
            {"url": "urn:deep", "extension": []},
        ]

    def concept(self, codings: list[tuple[str, str]]) -> dict[str, Any]:
        listed = [{"system": s, "code": c, "display": self.text()} for s, c in codings]
        extra = [{"system": "urn:local", "code": self.text()}, {"display": self.text()}]
        found = listed + [one for one in extra if self.chance.random() < 0.5]
        self.chance.shuffle(found)
        return _kept({"coding": found, "text": self.maybe(0.3, self.text)})

    def when(self, base: str) -> dict[str, Any]:
        kind, value = next(iter(self.chance.choice(WHENS).items()))
        sibling = {f"_{base}{kind}": {"extension": self.extension()}} if kind == "DateTime" else {}
        return {base + kind: value, **(sibling if self.chance.random() < 0.3 else {})}

    def subject(self) -> dict[str, Any]:
        shape = self.chance.choice(
            ("Patient/p-1", "Patient/p-1/_history/7", "https://our.example/fhir/Patient/p-1")
        )
        return _kept({"reference": shape, "display": self.maybe(0.4, self.text), "type": "Patient"})

    def quantity(self, unit: str) -> dict[str, Any]:
        return _kept(
            {
                "value": self.number(),
                "comparator": self.maybe(0.3, lambda: "<"),
                "unit": self.maybe(0.7, lambda: unit),
                "system": UCUM,
                "code": unit,
                "extension": self.maybe(0.3, self.extension),
                "_value": self.maybe(0.2, lambda: {"extension": self.extension()}),
            }
        )

    def bound(self, unit: str) -> dict[str, Any]:
        """A quantity that is exact, or only a limit."""
        limit = self.maybe(0.5, lambda: self.chance.choice(("<", "<=", ">=", ">")))
        return _kept({"value": self.number(), "comparator": limit, "system": UCUM, "code": unit})

    def around(self, tree: dict[str, Any]) -> dict[str, Any]:
        """What surrounds every resource: an id, a version, strangers, narrative, contained resources."""
        return _kept(
            {
                **tree,
                "id": self.maybe(0.9, lambda: "r-1"),
                "meta": {"versionId": "3", "lastUpdated": "2024-05-06T07:08:09.010Z", "profile": ["urn:p"]},
                "extension": [*(tree.get("extension") or []), *(self.maybe(0.4, self.extension) or [])]
                or None,
                "contained": self.maybe(0.3, lambda: [{"resourceType": "Device", "id": "d", "note": []}]),
                "text": self.maybe(0.3, lambda: {"status": "generated", "div": f"<div>{self.text()}</div>"}),
                "language": self.maybe(0.2, lambda: "de"),
                "unheardOf": self.maybe(0.3, lambda: {"value": [self.number(), None, True, self.text()]}),
            }
        )

    def measurement(self) -> dict[str, Any]:
        code, unit = self.chance.choice((("2157-6", "U/L"), ("2157-6", "ukat/L"), ("13969-1", "ng/mL")))
        value: dict[str, Any] = {"valueQuantity": self.quantity(unit)}
        if self.chance.random() < 0.3:
            part = {"code": self.concept([(LOINC, code)]), "valueQuantity": self.quantity(unit)}
            other = {"code": self.concept([(LOINC, "1-1")]), "valueString": self.text()}
            value = {"component": [other, part] if self.chance.random() < 0.5 else [part]}
        high = {"value": self.number(), "unit": unit, "system": UCUM, "code": unit}
        side = self.concept([(SNOMED, "419465000")])
        return {
            "resourceType": "Observation",
            "status": "final",
            "code": self.concept([(LOINC, code)]),
            "subject": self.subject(),
            **self.when("effective"),
            **value,
            "bodySite": self.maybe(0.3, lambda: side),
            "referenceRange": self.maybe(0.6, lambda: [{"high": high, "text": self.text()}]),
        }

    def subject_resource(self) -> dict[str, Any]:
        died = self.chance.choice(({}, {"deceasedBoolean": True}, {"deceasedDateTime": "2024-03"}))
        born = self.maybe(0.7, lambda: "1960-02-29")
        return {
            "resourceType": "Patient",
            "gender": self.maybe(0.8, lambda: "female"),
            "birthDate": born,
            **died,
        }

    def transplant(self) -> dict[str, Any]:
        source = {
            "url": "urn:fhir-msct:cell-source",
            "valueCodeableConcept": self.concept([(SNOMED, "29870000")]),
        }
        dose = {
            "url": "urn:fhir-msct:cell-dose",
            "valueQuantity": {"value": self.number(), "unit": "10*6/kg"},
        }
        return {
            "resourceType": "Procedure",
            "status": "completed",
            "code": self.concept([("urn:fhir-msct:codes", "MSCT")]),
            "subject": self.subject(),
            **self.when("performed"),
            "extension": [one for one in (source, dose) if self.chance.random() < 0.6],
        }

    def transplant_medication(self) -> dict[str, Any]:
        return {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": self.concept([(SNOMED, "420884001")]),
            "subject": self.subject(),
            **self.when("effective"),
            "dosage": self.maybe(0.6, lambda: {"dose": {"value": self.number(), "unit": "10*6"}}),
        }

    def finding(self) -> dict[str, Any]:
        active = self.concept([("http://terminology.hl7.org/CodeSystem/condition-clinical", "active")])
        ended = self.when("abatement")
        return {
            "resourceType": "Condition",
            "clinicalStatus": self.maybe(0.7, lambda: active),
            "code": self.concept([(SNOMED, "233703007")]),
            "subject": self.subject(),
            **self.when("onset"),
            **(ended if self.chance.random() < 0.4 else {}),
            "recordedDate": self.maybe(0.5, lambda: "2024-01-05"),
        }

    def finding_judgement(self) -> dict[str, Any]:
        return {
            "resourceType": "Observation",
            "status": "final",
            "code": self.concept([("urn:fhir-msct:codes", "ILDRESP")]),
            "subject": self.subject(),
            **self.when("effective"),
            "valueCodeableConcept": self.concept([("urn:fhir-msct:codes", "improved")]),
        }

    def outcome(self) -> dict[str, Any]:
        """A derived result as another program might have written it: own codes, someone's extensions."""
        own = "urn:fhir-msct:codes"
        answer = {
            "valueCodeableConcept": {"coding": [{"system": own, "code": "not-met"}], "text": self.text()}
        }
        amount = {"valueQuantity": self.bound("U/L")}
        study = "http://hl7.org/fhir/StructureDefinition/workflow-researchStudy"
        compared = {
            "code": {"coding": [{"system": own, "code": "baseline"}]},
            "valueQuantity": self.bound("U/L"),
        }
        return {
            "resourceType": "Observation",
            "extension": [{"url": study, "valueReference": {"reference": "ResearchStudy/s"}}],
            "identifier": [
                {"system": "urn:fhir-msct:trial", "value": "abc"},
                {"system": "urn:x", "value": "y"},
            ],
            "status": "preliminary",
            "category": [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}],
            "code": self.concept([(own, "RESP20_CK")]),
            "subject": self.subject(),
            **self.when("effective"),
            "issued": self.maybe(0.6, lambda: "2024-01-02T03:04:05.1Z"),
            **self.chance.choice((answer, amount)),
            "method": {"coding": [{"system": own, "code": "response"}], "text": self.text()},
            "device": {"reference": "Device/d"},
            "derivedFrom": self.maybe(0.7, lambda: [{"reference": "Observation/o", "display": self.text()}]),
            "component": self.maybe(0.5, lambda: [compared]),
        }


MAKERS: dict[str, Callable[[Maker], dict[str, Any]]] = {
    "measurement": Maker.measurement,
    "subject": Maker.subject_resource,
    "transplant": Maker.transplant,
    "transplant-medication": Maker.transplant_medication,
    "finding": Maker.finding,
    "finding-judgement": Maker.finding_judgement,
    "outcome": Maker.outcome,
}
"""A maker of strange resources for every mapping."""


def body(name: str, seed: int) -> bytes:
    """The JSON text of one strange resource of the mapping of this name."""
    maker = Maker(seed)
    tree = maker.around(MAKERS[name](maker))
    return Printer(maker.chance).text(tree).encode()


class Printer:
    """JSON as nobody would print it: keys shuffled, blanks anywhere, characters escaped for no reason."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.spaced, self.escaped = chance.random() < 0.5, chance.random() < 0.5

    def text(self, tree: Any) -> str:
        if isinstance(tree, dict):
            keys = list(tree)
            self.chance.shuffle(keys)
            inner = ",".join(f"{self.gap()}{self.string(k)}{self.gap()}:{self.text(tree[k])}" for k in keys)
            return f"{self.gap()}{{{inner}{self.gap()}}}"
        if isinstance(tree, list):
            return f"{self.gap()}[{','.join(map(self.text, tree))}{self.gap()}]"
        if isinstance(tree, Number):
            return f"{self.gap()}{tree}{self.gap()}"
        return self.gap() + (self.string(tree) if isinstance(tree, str) else json.dumps(tree))

    def gap(self) -> str:
        return self.chance.choice(("", " ", "\n  ", "\r\n\t")) if self.spaced else ""

    def string(self, text: str) -> str:
        if not self.escaped:
            return json.dumps(text, ensure_ascii=False)
        return '"' + "".join(map(self.character, text)) + '"'

    def character(self, one: str) -> str:
        if one == "/" and self.chance.random() < 0.5:
            return "\\/"
        if self.chance.random() < 0.2:
            units = one.encode("utf-16-be")
            return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))
        return json.dumps(one, ensure_ascii=False)[1:-1]


def features(text: bytes) -> set[str]:
    """Which of the strange things a text holds: what the strategy must cover."""
    tree = json.loads(text)
    found = {name for name, pattern in _PATTERNS.items() if re.search(pattern, text)}
    if next(iter(tree)) != "resourceType":
        found.add("shuffled keys")
    if "contained" in tree:
        found.add("contained")
    codings = [c for v in tree.values() if isinstance(v, dict) for c in v.get("coding", ())]
    if len(codings) > 1:
        found.add("extra codings")
    return found


_PATTERNS = {
    "pretty print": rb"\n",
    "carriage returns": rb"\r",
    "unicode escapes": rb"\\u[0-9a-f]{4}",
    "surrogate pairs": rb"\\ud83d",
    "escaped slashes": rb"\\/",
    "letters beyond ASCII": rb"[\xc0-\xff]",
    "foreign extensions": rb"urn:someone:else|\\u",
    "exponents": rb"1E\+3|1\.0e-2",
    "trailing zeros": rb"5\.40",
    "twenty digits": rb"12345678901234567890\.5",
    "unknown elements": rb"unheardOf|\\u",
}
FEATURES = {*_PATTERNS, "shuffled keys", "contained", "extra codings"}


def _kept(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if value is not None}
