"""The laws over public real-world data: every resource that a mapping reads, untouched and edited."""

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fhir_msct.client.folder import read_folder
from fhir_msct.data import mappings
from fhir_msct.errors import Refused
from fhir_msct.mapping.library import Mapping
from fhir_msct.records import Resource, When
from laws.differences import differences, tree

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
LOINC = "http://loinc.org"
LOCAL = (
    *("8302-2", "29463-7", "39156-5", "2085-9", "2093-3", "2571-8", "785-6", "786-4", "789-8", "718-7"),
    *("17861-6", "13457-7", "2823-3", "2075-0", "2028-9", "2951-2", "1920-8", "1742-6", "2160-0", "6299-2"),
    *("3094-0", "2345-7", "15074-8"),
)
"""What the samples measure: rows of a study folder's own, so that more than CK is read."""

if not SAMPLES.is_dir():
    pytest.skip("the public sample data is not beside this checkout", allow_module_level=True)


@pytest.fixture(scope="module")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> Mapping:
    study = tmp_path_factory.mktemp("study")
    (study / "mappings").mkdir()
    columns = ["paramcd", "system", "code", "relation", "preferred", "source", "status"]
    codes = [[f"P{n}", LOINC, code, "equivalent", "", "a sample", "C"] for n, code in enumerate(LOCAL)]
    write(study / "mappings" / "codes.csv", [columns, *codes])
    header = (mappings() / "parameters.csv").read_text("utf-8").splitlines()[0].split(",")
    blank = dict.fromkeys(header, "") | {"study_unit": "1", "baseline_from": "-30", "baseline_to": "1"}
    described = [[*(blank | {"paramcd": f"P{n}"}).values()] for n in range(len(LOCAL))]
    write(study / "mappings" / "parameters.csv", [header, *described])
    (study / "study.toml").write_text('[study]\nid = "samples"\n', "utf-8")
    return Mapping.load(study)


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def resources() -> list[Resource]:
    return [found for found in read_folder(SAMPLES) if isinstance(found, Resource) and not found.deleted]


def readings(mapping: Mapping) -> list[tuple[Any, Any, bytes]]:
    """(shape, what stands in its holes, bytes) for everything that a mapping can read."""
    found = []
    for resource in resources():
        for shape in mapping.shapes.values():
            if shape.template.kind == resource.type and shape.name != "outcome":
                if shape.template.scope_field is not None and shape.known(resource.body) is None:
                    continue
                reading = shape.found(resource.body)
                if isinstance(reading, tuple) and b"SUBSETTED" not in resource.body:
                    found += [(shape, one, resource.body) for one in reading]
    return found


def test_many_real_resources_are_read(mapping: Mapping) -> None:
    assert len(readings(mapping)) > 100


def test_writing_onto_the_untouched_original_gives_its_bytes(mapping: Mapping) -> None:
    for shape, reading, body in readings(mapping):
        assert shape.write({name: getattr(reading, name) for name in shape.holes}, onto=body) == body


def test_an_edit_of_a_real_resource_changes_that_value_alone(mapping: Mapping) -> None:
    edits = 0
    for shape, reading, body in readings(mapping):
        before = {name: getattr(reading, name) for name in shape.holes}
        for hole, old in before.items():
            new = edited(shape, hole, old)
            if new is None:
                continue
            try:
                written = shape.write({**before, hole: new}, onto=body)
            except Refused as refusal:
                assert "holds no id" in str(refusal), (hole, str(refusal))
                continue
            changed = [*differences(tree(body), tree(written))]
            assert len(changed) == 1, (hole, changed)
            edits += 1
    assert edits > 400


def edited(shape: Any, hole: str, old: Any) -> Any:
    """Another value for a hole that is there."""
    field, place = shape.holes[hole]
    if old is None or place.table or field.element.many:
        return None
    if isinstance(old, When):
        return (
            When(old.kind, not old.value)
            if isinstance(old.value, bool)
            else When(old.kind, "2031-07", old.end)
        )
    if isinstance(old, Decimal):
        return old * 10 + Decimal("1.50")
    if place.allowed:
        return next(value for value in place.allowed if value != old)
    return "another-one" if field.key in ("id", "reference") else old + ' "é/'
