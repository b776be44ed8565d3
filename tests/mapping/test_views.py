"""The exported ViewDefinitions, run by another engine: the same resources, the same raw columns."""

import json
from decimal import Decimal
from typing import Any

import pytest

from fhir_msct import data
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.shape import Shape
from fhir_msct.records import When
from mapping.view_runner import rows

MAPPING = Mapping.load()
VIEWS = MAPPING.views()
READ = ["finding", "finding-judgement", "measurement", "subject", "transplant", "transplant-medication"]


EACH = {"measurement": 3}
"""Every how many-th resource the other engine reads: where most are in scope it takes 20 ms for each."""


def bodies(name: str) -> list[bytes]:
    """Resources of the fixtures, of the type that a view is of."""
    kind = MAPPING.shapes[name].template.kind
    lines = (data.fixtures() / "resources" / f"{kind}.ndjson").read_bytes().splitlines()
    return [line for line in lines if line.strip()][:: EACH.get(name, 1)]


@pytest.mark.parametrize("name", READ)
def test_another_engine_reads_the_same_columns_from_the_fixtures(name: str) -> None:
    shape, view = MAPPING.shapes[name], VIEWS[name]
    compared = 0
    for body in bodies(name):
        read = [*rows(view, body)]
        ours = in_scope(shape, body)
        if not isinstance(ours, tuple):
            continue
        assert len(read) == 1, json.loads(body)["id"]
        for column, value in expected(shape, ours[0]).items():
            assert same(read[0][column], value), (json.loads(body)["id"], column)
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("name", ["measurement", "finding", "finding-judgement"])
def test_a_view_selects_exactly_what_our_scope_selects(name: str) -> None:
    shape, view = MAPPING.shapes[name], VIEWS[name]
    for body in bodies(name):
        assert bool([*rows(view, body)]) == listed(shape, body), json.loads(body)["id"]


def listed(shape: Shape, body: bytes) -> bool:
    """Whether one of the codings stands in the table of this mapping, by plain look-up."""
    field = shape.template.scope_field
    assert field is not None
    table = shape.tables[field.node.table]  # type: ignore[union-attr]
    codings = json.loads(body).get(field.key, {}).get("coding", [])
    return any(table.meaning(coding.get("system"), coding.get("code")) for coding in codings)


def in_scope(shape: Shape, body: bytes) -> Any:
    """Our own raw reading, where this mapping reads the resource at all."""
    reading = MAPPING.read(body)
    if not reading.records or not _is(shape, reading.records[0]):
        return None
    if shape.template.scope and reading.records[0].recognised_by not in ("product code", "local code"):
        return None  # words are beyond a view
    return shape.found(body)


def _is(shape: Shape, record: Any) -> bool:
    return MAPPING.shape_of(record).name.split("-")[0] == shape.name.split("-")[0] and (
        not hasattr(record, "term") or MAPPING.shape_of(record) is shape
    )


def expected(shape: Shape, reading: Any) -> dict[str, Any]:
    """The columns of a view as our reading has them."""
    found: dict[str, Any] = {}
    for name, (field, hole) in shape.holes.items():
        value = getattr(reading, name)
        if hole.table or (value is None and field.key.endswith("[x]")):
            continue
        if isinstance(value, When):
            if value.kind == "Period":
                found |= {f"{name}_Period_start": value.value, f"{name}_Period_end": value.end}
            else:
                found[f"{name}_{value.kind}"] = value.value
        elif name not in component_holes(shape) or value is not None:
            found[name] = value
    return {
        key: value for key, value in found.items() if key in columns(shape) and not in_component(reading, key)
    }


def component_holes(shape: Shape) -> set[str]:
    return {h.name for part in shape.template.root.alternatives for _, h in part.holes()}


def in_component(reading: Any, key: str) -> bool:
    """A value that our reader took from a component stands in the view's numbered column."""
    alternatives = {"value", "comparator", "unit_text", "unit_system", "unit"}
    return key in alternatives and getattr(reading.o, "f_valueQuantity", None) is None


def columns(shape: Shape) -> set[str]:
    return {column["name"] for column in VIEWS[shape.name]["select"][0]["column"]}


def same(theirs: Any, ours: Any) -> bool:
    """Another engine's number is a float or a Decimal: equal as numbers is all that it can say."""
    if isinstance(ours, Decimal):
        return theirs is not None and Decimal(str(theirs)) == Decimal(str(float(ours)))
    return bool(theirs == ours)


def test_a_component_is_read_into_the_numbered_columns() -> None:
    part = {"code": {"coding": [{"system": "http://loinc.org", "code": "2157-6"}]}}
    body = {
        "resourceType": "Observation",
        "status": "final",
        "code": part["code"],
        "component": [{**part, "valueQuantity": {"value": 7, "code": "U/L"}}],
    }
    (row,) = rows(VIEWS["measurement"], json.dumps(body).encode())
    assert (row["value"], row["value_2"], row["unit_2"]) == (None, 7, "U/L")
