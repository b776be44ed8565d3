"""A key that stands twice: nobody knows which was meant, so it is set aside and never guessed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.errors import Refused
from fhir_msct.records import Resource
from mapping.test_quick import MAPPING, PATIENTS, both, observation

LIMITS = [{"high": {"value": 190.0, "unit": "U/L"}}]
PLAIN = observation(
    referenceRange=LIMITS, meta={"versionId": "2"}, identifier=[{"system": "urn:x", "value": "a"}]
)
SCORE = observation(
    code={"coding": [{"system": "urn:fhir-msct:codes", "code": "MMT8"}]},
    valueQuantity={"value": 72, "unit": "{score}", "system": "http://unitsofmeasure.org", "code": "{score}"},
)
PERIOD = {key: value for key, value in PLAIN.items() if not key.startswith("effective")} | {
    "effectivePeriod": {"start": "2024-01-02", "end": "2024-01-03"}
}
BODIES = [json.dumps(one).encode() for one in (PLAIN, SCORE, PERIOD)]
UNREAD_BY_THE_QUICK = ("identifier", "meta", "subject")
"""Below these only the way in looks, or nobody: docs/decisions/0018."""


def doubled(tree: Any, path: tuple[Any, ...]) -> str:
    """JSON in which the member at this path stands twice, first as null."""
    if isinstance(tree, list):
        return "[" + ", ".join(doubled(one, _rest(path, n)) for n, one in enumerate(tree)) + "]"
    if not isinstance(tree, dict):
        return json.dumps(tree)
    named = []
    for key, value in tree.items():
        if path == (key,):
            named.append(f"{json.dumps(key)}: null")
        named.append(f"{json.dumps(key)}: {doubled(value, _rest(path, key))}")
    return "{" + ", ".join(named) + "}"


def _rest(path: tuple[Any, ...], key: Any) -> tuple[Any, ...]:
    return path[1:] if path[:1] == (key,) else ()


def paths(tree: Any) -> list[tuple[Any, ...]]:
    """Every member of every object."""
    if isinstance(tree, list):
        return [(n, *path) for n, one in enumerate(tree) for path in paths(one)]
    if not isinstance(tree, dict):
        return []
    return [path for key, value in tree.items() for path in ((key,), *((key, *p) for p in paths(value)))]


EVERY = [(json.loads(body), path) for body in BODIES for path in paths(json.loads(body))]


@pytest.mark.parametrize("body", BODIES)
def test_each_resource_is_read_while_every_key_stands_once(body: bytes) -> None:
    assert len(MAPPING.read(body).records) == 1


def test_a_key_twice_anywhere_is_set_aside() -> None:
    for tree, path in EVERY:
        reading = MAPPING.read(doubled(tree, path))
        assert [one.reason for one in reading.set_aside] == ["key-twice"], path


def test_what_a_pull_lets_in_is_set_aside_where_it_is_read() -> None:
    context = MAPPING.context_for(PATIENTS)
    for tree, path in EVERY:
        if len(path) > 1 and path[0] not in UNREAD_BY_THE_QUICK:
            reading = MAPPING.reading(Resource("Observation", "o1", doubled(tree, path).encode()), context)
            assert [one.reason for one in reading.set_aside] == ["key-twice"], path


def test_what_hospitals_send_by_the_million_still_takes_the_quick_road() -> None:
    assert all(both(body)[0] is not None for body in BODIES)


@given(st.sampled_from(["unit", "code", "value", "x"]), st.text('{}"\\a,:', max_size=6), st.booleans())
@settings(derandomize=True, deadline=None)
def test_no_text_hides_a_second_value(name: str, text: str, first: bool) -> None:
    value = {"unit": "U/L", "code": "U/L", "system": "http://unitsofmeasure.org", name: text}
    members = [json.dumps({key: one})[1:-1] for key, one in value.items()]
    numbers = ['"value": 1', '"value": 2']
    quantity = ", ".join([*numbers, *members] if first else [numbers[0], *members, numbers[1]])
    body = json.dumps(observation(valueQuantity=0)).replace(
        '"valueQuantity": 0', f'"valueQuantity": {{{quantity}}}'
    )
    assert MAPPING.reading(Resource("Observation", "o1", body.encode()), MAPPING.context).records == ()


@pytest.mark.parametrize("number", ["9" * 5000, "1e4000", "-" + "9" * 5000, "0." + "1" * 5000])
def test_a_number_that_nobody_measures_is_set_aside(number: str, tmp_path: Path) -> None:
    good = BODIES[0]
    odd = good.replace(b'"value": 72', f'"value": {number}'.encode())
    (tmp_path / "a.ndjson").write_bytes(good + b"\n" + odd + b"\n" + good)
    read = list(MAPPING.read_ndjson(tmp_path / "a.ndjson"))
    assert [len(one.records) for one in read] == [1, 0, 1]
    assert [one.reason for one in read[1].set_aside] == ["not-a-number"]


def test_nothing_is_written_onto_what_is_set_aside() -> None:
    (record,) = MAPPING.read(BODIES[0]).records
    with pytest.raises(Refused, match="key-twice"):
        MAPPING.write(record, onto=doubled(PLAIN, ("valueQuantity", "value")).encode())
