"""The unit of work, and what proves it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.client.windows import Gauge, Window, instant_text, patient_of, verdict, windows
from fhir_msct.plan import Cohort, Wanted
from fhir_msct.records import Resource
from lib.fake_fhir import BASE, observation, patient

CK = "http://loinc.org|2157-6"


def wanted(*types: str, **codes: tuple[str, ...]) -> Wanted:
    return Wanted(types=types, cohort=Cohort(), codes=codes)


def found(tree: dict[str, Any]) -> Resource:
    return Resource(tree["resourceType"], tree.get("id"), json.dumps(tree).encode())


def test_patients_come_first_and_each_patient_is_asked_for_once() -> None:
    work = windows(wanted("Observation", "Patient"), [f"p{n:02}" for n in range(60)] + ["p00"])
    assert [one.type for one in work] == ["Patient"] * 3 + ["Observation"] * 3
    assert [len(one.patients) for one in work] == [25, 25, 10] * 2
    assert sorted(id_ for one in work[:3] for id_ in one.patients) == [f"p{n:02}" for n in range(60)]


@pytest.mark.parametrize(
    ("type_", "name", "value"),
    [
        ("Patient", "_id", "a,b"),
        ("Observation", "patient", "a,b"),
        ("AdverseEvent", "subject", "Patient/a,Patient/b"),
        ("ResearchSubject", "individual", "Patient/a,Patient/b"),
    ],
)
def test_each_type_is_asked_by_the_parameter_it_has(type_: str, name: str, value: str) -> None:
    params = Window(type=type_, patients=("a", "b")).params(50)
    assert params == ((name, value), ("_count", "50"))


def test_codes_are_one_list_and_their_commas_are_escaped() -> None:
    window = Window(type="Observation", patients=("a",), codes=(CK, "urn:x|a,b$c\\d"))
    assert ("code", f"{CK},urn:x|a\\,b\\$c\\\\d") in window.params(50)


def test_halves_are_the_same_work() -> None:
    window = Window(type="Observation", patients=("a", "b", "c"), codes=(CK,))
    one, other = window.halves()
    assert one.patients + other.patients == window.patients
    assert one.codes == other.codes == (CK,)
    assert one.halves() == ()


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 25), st.integers(1, 40))
def test_parts_by_patients_hold_every_patient_exactly_once(patients: int, number: int) -> None:
    ids = tuple(f"p{n:02}" for n in range(patients))
    parts = Window(type="Observation", patients=ids, codes=(CK,), lo="2024-01-01T00:00:00.000Z").parts(number)
    assert [id_ for part in parts for id_ in part.patients] == list(ids)
    sizes = [len(part.patients) for part in parts]
    assert len(parts) == min(number, patients) and max(sizes) - min(sizes) <= 1
    assert {(part.codes, part.lo) for part in parts} == {((CK,), "2024-01-01T00:00:00.000Z")}


@settings(derandomize=True, deadline=None)
@given(st.lists(st.datetimes(datetime(1999, 1, 1), datetime(2031, 1, 1)), max_size=8), st.integers(0, 7))
def test_parts_by_time_hold_every_instant_exactly_once(stamps: list[datetime], depth: int) -> None:
    until, parts = datetime(2024, 6, 30, tzinfo=UTC), [Window(type="Observation", patients=("a",))]
    for _ in range(depth):
        parts = [half for part in parts for half in (part.halves(until) or (part,))]
    for stamp in stamps:
        text = instant_text(stamp.replace(tzinfo=UTC))
        assert sum((not one.lo or one.lo <= text) and (not one.hi or text < one.hi) for one in parts) == 1
    assert len({(one.lo, one.hi) for one in parts}) == len(parts) == 2**depth


def test_seconds_are_not_parted_by_time_and_nothing_is_without_a_clock() -> None:
    window = Window(type="Observation", patients=("a",), lo="2024-01-01T00:00:00.000Z")
    assert window.halves() == ()
    assert window.halves(datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC)) == ()
    assert len(window.halves(datetime(2024, 1, 2, tzinfo=UTC))) == 2


def test_bounds_are_full_instants_and_half_open() -> None:
    window = Window(
        type="Observation", patients=("a",), lo="2024-01-01T00:00:00.000Z", hi="2024-02-01T00:00:00.000Z"
    )
    assert window.params(5)[1:3] == (
        ("_lastUpdated", "ge2024-01-01T00:00:00.000Z"),
        ("_lastUpdated", "lt2024-02-01T00:00:00.000Z"),
    )


def test_a_window_names_itself_by_its_patients() -> None:
    assert str(Window(type="Observation", patients=("a",))) == "Observation of a"
    assert str(Window(type="Observation", patients=("a", "b", "c"))) == "Observation of 3 patients (a to c)"


@pytest.mark.parametrize(
    ("before", "after", "distinct", "proved"),
    [
        *((5, 5, 5, True), (0, 0, 0, True)),
        *((5, 5, 4, False), (5, 5, 6, False), (5, 6, 6, False), (6, 5, 5, False)),
        *((None, 5, 5, False), (5, None, 5, False), (None, None, 0, False)),
    ],
)
def test_a_window_is_proved_by_three_equal_numbers(
    before: int | None, after: int | None, distinct: int, proved: bool
) -> None:
    assert (verdict(before, after, distinct) == "") is proved


@pytest.mark.parametrize(
    ("reference", "owner"),
    [
        ("Patient/a", "a"),
        (f"{BASE}/Patient/a", "a"),
        ("Patient/a/_history/3", "a"),
        ("https://elsewhere.test/fhir/Patient/a", None),
        ("urn:uuid:1", None),
        ("#inside", None),
        ("Group/a", None),
        (5, None),
    ],
)
def test_the_patient_of_a_resource(reference: Any, owner: str | None) -> None:
    for element in ("subject", "patient", "individual"):
        tree = {"resourceType": "X", element: {"reference": reference}}
        assert patient_of(json.dumps(tree).encode(), BASE) == owner


@pytest.mark.parametrize(
    "body", [b"{}", b'{"subject":5}', b'{"subject":{"reference":"Patient/a","x":1e400}}']
)
def test_the_patient_of_an_odd_resource_is_unknown(body: bytes) -> None:
    assert patient_of(body, BASE) is None


def coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}, {"code": "local"}]}


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (observation("o", "a"), None),
        (observation("o", "z"), "cohort"),
        (patient("a"), "type"),
        ({"resourceType": "Observation", "id": "o", "subject": {"identifier": {"value": "1"}}}, None),
    ],
)
def test_what_was_not_asked_for_is_outside(tree: dict[str, Any], why: str | None) -> None:
    outside = Gauge(["a", "b"], BASE).outside(Window(type="Observation", patients=("a",)), found(tree))
    assert (outside.why if outside else None) == why


def test_a_patient_outside_the_cohort_is_outside() -> None:
    gauge, window = Gauge(["a"], BASE), Window(type="Patient", patients=("a",))
    assert gauge.outside(window, found(patient("a"))) is None
    outside = gauge.outside(window, found(patient("z")))
    assert outside is not None and outside.why == "cohort" and len(outside.sha256) == 64


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (observation("o", "a", code=coded("http://loinc.org", "2157-6")), None),
        (observation("o", "a", code=coded("http://loinc.org", "9999-9")), "codes"),
        (observation("o", "a", code=coded("http://other.test", "2157-6")), "codes"),
        (observation("o", "a"), "codes"),
    ],
)
def test_where_only_codes_may_be_asked_for_others_are_outside(tree: dict[str, Any], why: str | None) -> None:
    window = Window(type="Observation", patients=("a",), codes=(CK,))
    outside = Gauge(["a"], BASE).outside(window, found(tree))
    assert (outside.why if outside else None) == why


def test_a_medication_is_coded_in_its_own_element() -> None:
    window = Window(type="MedicationAdministration", patients=("a",), codes=("urn:x|1",))
    tree = {"resourceType": "MedicationAdministration", "id": "m", "subject": {"reference": "Patient/a"}}
    given = tree | {"medicationCodeableConcept": coded("urn:x", "1")}
    assert Gauge(["a"], BASE).outside(window, found(given)) is None
    assert Gauge(["a"], BASE).outside(window, found(tree)) is not None


def test_a_part_of_time_is_not_parted_again_where_time_is_of_no_use() -> None:
    window = Window(type="Observation", patients=("a",), lo="2020-01-01T00:00:00Z", hi="2024-01-01T00:00:00Z")
    assert window.halves() == ()
    assert len(window.halves(datetime(2024, 1, 2, tzinfo=UTC))) == 2
