"""Waiting: what a server asks for, up to five minutes; else full jitter under a bound that doubles."""

from datetime import UTC, datetime

import msgspec
import pytest

from fhir_msct.client.retry import Gate, http_date, retry_after
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
