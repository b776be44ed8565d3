"""Waiting: what a server asks for, up to five minutes; else full jitter under a bound that doubles."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fhir_msct.client.retry import LONGEST, Gate, asked_wait, http_date, retry_after
from lib.virtual_time import VirtualTime

NOW = datetime(2024, 6, 30, 8, 0, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10),
        (" 2.5 ", 2.5),
        ("0", 0),
        ("-5", 0),
        ("18000", 300),
        ("99999999", 300),
        ("Sun, 30 Jun 2024 08:00:42 GMT", 42),
        ("Sun, 30 Jun 2024 07:00:00 GMT", 0),
        ("Mon, 01 Jul 2024 08:00:00 GMT", 300),
        (str(EPOCH + 30), 30),
        (str((EPOCH + 30) * 1000), 30),
        (str(EPOCH - 30), 0),
        ("9" * 20, 300),
        ("abc", None),
        ("", None),
        (None, None),
        ("nan", None),
        ("1e9", None),
        ("9" * 400, None),
        ("Thu, 99 Foo 2024 99:99:99 GMT", None),
    ],
)
def test_retry_after_says(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


# --- laws: whatever a server writes, the wait is what it says, from nothing to five minutes --------------

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def fixdate(at: datetime) -> str:
    """`Sun, 06 Nov 1994 08:49:37 GMT`"""
    day, month = DAYS[at.weekday()][:3], MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year} {at.time()} GMT"


def rfc850(at: datetime) -> str:
    """`Sunday, 06-Nov-94 08:49:37 GMT`"""
    return f"{DAYS[at.weekday()]}, {at.day:02}-{MONTHS[at.month - 1]}-{at.year % 100:02} {at.time()} GMT"


def asctime(at: datetime) -> str:
    """`Sun Nov  6 08:49:37 1994`"""
    return f"{DAYS[at.weekday()][:3]} {MONTHS[at.month - 1]} {at.day:2} {at.time()} {at.year}"


def clamped(seconds: Fraction | int) -> float:
    return float(min(max(Fraction(seconds), Fraction(0)), Fraction(300)))


near = st.integers(-400, 400)
ahead = near | st.integers(-20 * 365 * 86_400, 40 * 365 * 86_400)
"""Seconds from the server's now to the moment that it names."""


def test_the_three_forms_are_those_of_the_standard() -> None:
    """https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7"""
    at = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
    assert fixdate(at) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert rfc850(at) == "Sunday, 06-Nov-94 08:49:37 GMT"
    assert asctime(at) == "Sun Nov  6 08:49:37 1994"
    assert {http_date(form(at)) for form in (fixdate, rfc850, asctime)} == {at}


@settings(max_examples=500)
@given(seconds=ahead, form=st.sampled_from((fixdate, rfc850, asctime)))
def test_a_date_in_any_form_is_the_time_until_then(seconds: int, form: Callable[[datetime], str]) -> None:
    text = form(NOW + timedelta(seconds=seconds))
    assert retry_after(text, NOW) == clamped(seconds)
    assert asked_wait({"retry-after": text, "date": fixdate(NOW)}) == clamped(seconds)


@settings(max_examples=500)
@given(st.integers(0, 999_999_999) | near, st.text("0123456789", max_size=9))
def test_a_number_is_seconds(whole: int, digits: str) -> None:
    text = f"{whole}.{digits}" if digits else f"{whole}"
    assert retry_after(text, NOW) == retry_after(text, None) == clamped(Fraction(text))


@settings(max_examples=500)
@given(ahead, st.integers(0, 999))
def test_a_point_in_time_is_the_time_until_then_in_seconds_and_in_milliseconds(s: int, ms: int) -> None:
    assert retry_after(f"{EPOCH + s}", NOW) == clamped(s)
    exact = clamped(s + Fraction(ms, 1000))
    assert retry_after(f"{(EPOCH + s) * 1000 + ms}", NOW) == pytest.approx(exact, abs=1e-6)


written = st.text(max_size=40) | st.text("0123456789-+.,: eE", max_size=30)
dated = st.text("0123456789:,-+ SunMJabGTZ", max_size=40) | st.from_regex(
    r"\A[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,5} \d{1,3}:\d{2}:\d{2} ([A-Z]{3}|[+-]\d{4,6})\Z"
)


@settings(max_examples=1000)
@given(text=written | dated, now=st.none() | st.just(NOW))
@example(text="-0", now=None)
@example(text="Fri, 31 Dec 9999 23:59:59 GMT", now=NOW)
@example(text="Thu, 01 Jan 1970 00:00:00 +2359", now=NOW)
@example(text="9" * 20 + "." + "9" * 9, now=NOW)
def test_no_wait_is_negative_or_longer_than_five_minutes(text: str, now: datetime | None) -> None:
    wait = retry_after(text, now)
    assert wait is None or 0 <= wait <= LONGEST == 300
    asked = asked_wait({"retry-after": text, "date": text})
    assert asked is None or 0 <= asked <= 300


# --- cases ------------------------------------------------------------------------------------------------


def test_a_point_in_time_means_nothing_without_a_clock() -> None:
    assert retry_after(str(EPOCH), None) is None
    assert retry_after("Sun, 30 Jun 2024 08:00:42 GMT", None) is None
    assert retry_after("7", None) == 7


def test_a_date_without_a_zone_is_utc() -> None:
    assert http_date("Sun, 30 Jun 2024 08:00:00 -0000") == NOW


def test_backoff_is_anywhere_under_a_bound_that_doubles() -> None:
    patience = VirtualTime(chance=1.0).patience()
    assert [patience.backoff(tried) for tried in (1, 2, 3, 4, 9)] == [0.5, 1, 2, 4, 30]
    assert VirtualTime(chance=0.0).patience().backoff(9) == 0


def test_the_gate_lets_five_requests_a_second_pass() -> None:
    time = VirtualTime()
    gate = Gate(time.patience(), per_second=5.0)
    for _ in range(11):
        gate.wait()
    assert time.now == pytest.approx(1000 + 10 * 0.2)


def test_a_closed_gate_keeps_everybody_waiting() -> None:
    time = VirtualTime()
    gate = Gate(time.patience(), per_second=None)
    gate.wait()
    gate.close_for(42)
    gate.wait()
    gate.wait()
    assert time.waits == [42]


def test_who_waits_already_when_the_gate_is_closed_waits_on() -> None:
    time = VirtualTime()

    def closed_while_asleep(seconds: float) -> None:
        time.sleep(seconds)
        if len(time.waits) == 1:
            gate.close_for(5)

    gate = Gate(msgspec.structs.replace(time.patience(), sleep=closed_while_asleep), per_second=2.0)
    gate.wait()
    gate.wait()
    assert time.waits == [0.5, 5]
