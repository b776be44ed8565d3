"""What a FHIR date covers, and that every search parameter looks at an element that exists."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import given
from hypothesis import strategies as st

from fhir_msct.sandbox.moments import moment
from fhir_msct.sandbox.parameters import PARAMETERS, TYPES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=offsets)


@given(instants, st.sampled_from(["seconds", "milliseconds", "microseconds", "minutes"]))
def test_an_instant_begins_when_python_says_and_lasts_as_long_as_its_last_digit(
    when: datetime, timespec: str
) -> None:
    width = {"minutes": 60 * SECOND, "seconds": SECOND, "milliseconds": 1000, "microseconds": 1}[timespec]
    text = when.isoformat(timespec=timespec)
    found = moment(text)
    assert found is not None
    assert found.start == (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)
    assert found.stop - found.start == width
    assert found.wall_start == found.start + when.utcoffset() // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2023", "2023-01-01", "2023-12-31"),
        ("2024", "2024-01-01", "2024-12-31"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2023-02", "2023-02-01", "2023-02-28"),
        ("2024-12-31", "2024-12-31", "2024-12-31"),
        ("9999-12", "9999-12-01", "9999-12-31"),
    ],
)
def test_a_partial_date_covers_all_its_days(text: str, first: str, last: str) -> None:
    found, begin, end = moment(text), moment(first), moment(last)
    assert found is not None and begin is not None and end is not None
    assert (found.start, found.stop) == (begin.start, end.stop)
    assert not found.timed


def test_a_leap_second_is_the_second_before_it() -> None:
    assert moment("2016-12-31T23:59:60Z") == moment("2016-12-31T23:59:59Z")


@pytest.mark.parametrize(
    "text",
    ["", "24", "2024-13", "2023-02-29", "2024-1-1", "2024-01-01T24:00:00Z", "2024-01-01T10:60Z", "0000",
     "2024-01-01T10:00:61Z", "2024-01-01 10:00", "2024-01-01T10:00:00+1", "2024-01-01T", "yesterday"],
)  # fmt: skip
def test_what_is_no_date_covers_nothing(text: str) -> None:
    assert moment(text) is None


def test_every_search_parameter_looks_at_an_element_of_its_type() -> None:
    for kind, parameters in PARAMETERS.items():
        assert kind in TYPES
        elements = {field.alias or name for name, field in get_fhir_model_class(kind).model_fields.items()}
        for name, parameter in parameters.items():
            first = parameter.path.partition(".")[0]
            assert any(element.startswith(first) for element in elements), f"{kind}.{name}"
