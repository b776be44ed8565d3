"""The laws of every mapping: what was written reads back, no edit touches another byte."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.errors import Refused
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.shape import Shape
from fhir_msct.mapping.subjects import Patients
from fhir_msct.records import When
from laws import resources
from laws.differences import differences, tree

MAPPING = Mapping.load()
PATIENTS = Patients(base="https://our.example/fhir")
NAMES = sorted(resources.MAKERS)
SEEDS = st.integers(0, 2**32)


def found(shape: Shape, body: bytes) -> Any:
    """What stands in the holes of a strange resource; the maker promises that it is readable."""
    reading = shape.found(body, PATIENTS)
    assert isinstance(reading, tuple), reading
    return reading[0]


def values(shape: Shape, reading: Any) -> dict[str, Any]:
    return {name: getattr(reading, name) for name in shape.holes}


def test_every_mapping_has_a_maker_of_strange_resources() -> None:
    assert {*MAPPING.shapes} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_strange_resources_cover_what_the_laws_are_about(name: str) -> None:
    seen = set().union(*(resources.features(resources.body(name, seed)) for seed in range(300)))
    assert seen >= resources.FEATURES - ({"extra codings"} if name == "subject" else set())


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_writing_what_was_read_onto_the_original_gives_its_bytes(name: str, seed: int) -> None:
    shape, body = MAPPING.shapes[name], resources.body(name, seed)
    assert shape.write(values(shape, found(shape, body)), onto=body, patients=PATIENTS) == body


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_what_was_written_new_reads_back_as_it_was(name: str, seed: int) -> None:
    shape = MAPPING.shapes[name]
    before = values(shape, found(shape, resources.body(name, seed)))
    after = values(shape, found(shape, shape.write(before)))
    assert {key: repr(value) for key, value in after.items()} == {
        key: repr(value) for key, value in before.items()
    }


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_an_edit_changes_the_bytes_of_that_value_and_no_other_byte(name: str, seed: int) -> None:
    shape, body = MAPPING.shapes[name], resources.body(name, seed)
    before = values(shape, found(shape, body))
    for hole, old in before.items():
        new = edited(shape, hole, old)
        if new is None:
            continue
        try:
            written = shape.write({**before, hole: new}, onto=body, patients=PATIENTS)
        except Refused:
            assert old is None, f"an edit of {hole} was refused"
            continue
        assert values(shape, found(shape, written)) | {hole: None} == before | {hole: None}
        if old is None:
            assert_only_added(body, written)
        elif not shape.holes[hole][0].element.many:
            assert_only_replaced(body, written, old)


def edited(shape: Shape, hole: str, old: Any) -> Any:
    """Another value for a hole, of the kind that may stand there."""
    field, place = shape.holes[hole]
    if place.table:
        return None
    if isinstance(old, When):
        if isinstance(old.value, bool):
            return When(old.kind, not old.value)
        return When(old.kind, "2031-07", old.end and "2032")
    if isinstance(old, Decimal):
        return old + Decimal("1.50")
    if place.allowed:
        return next(value for value in place.allowed if value != old)
    if field.element.many:
        return '[{"reference":"Observation/another"}]'  # a whole list as one hole
    if isinstance(old, str):
        return "another-one" if field.key in ("id", "reference") else old + ' "é/😀'
    if field.key.endswith("[x]"):
        return When("dateTime", "2031")
    return Decimal("1.50") if field.element.kind == "decimal" else "added"


def assert_only_added(body: bytes, written: bytes) -> None:
    """The new text is the old one with one piece put in."""
    head = common(body, written)
    tail = common(body[::-1], written[::-1])
    assert head + tail >= len(body)


def assert_only_replaced(body: bytes, written: bytes, old: Any) -> None:
    """Exactly one leaf of the tree is another one (two for a Period), and all bytes round it stay."""
    changed = [*differences(tree(body), tree(written))]
    both_ends = isinstance(old, When) and old.end is not None
    assert len(changed) == (2 if both_ends else 1), changed
    if both_ends:
        return
    head = common(body, written)
    tail = common(body[head:][::-1], written[head:][::-1])
    replaced = body[head : len(body) - tail]
    longest = max(len(json.dumps(_text(old))) * 6, 12)
    assert len(replaced) <= longest


def _text(value: Any) -> str:
    return str(value.value if isinstance(value, When) else value)


def common(one: bytes, other: bytes) -> int:
    """How many bytes two texts begin with alike."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_removing_a_value_is_refused(name: str, seed: int) -> None:
    shape, body = MAPPING.shapes[name], resources.body(name, seed)
    before = values(shape, found(shape, body))
    for hole, old in before.items():
        if old is not None:
            with pytest.raises(Refused):
                shape.write({**before, hole: None}, onto=body, patients=PATIENTS)


def test_an_edit_of_a_computed_field_is_refused() -> None:
    record = MAPPING.read(resources.body("measurement", 4), base="https://our.example/fhir").records[0]
    body = resources.body("measurement", 4)
    with pytest.raises(Refused, match="aval"):
        MAPPING.write(msgspec.structs.replace(record, aval=Decimal(1)), onto=body, patients=PATIENTS)
