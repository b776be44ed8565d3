"""Which failures deserve another try, and how long to wait.

The clock, the sleep and the chance are arguments, so that tests run in virtual time.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from msgspec import Struct

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that say "later", whatever was asked."""

FAILED = frozenset({500, 504})
"""Those with which a server, or a gateway before it, says that this very request came to nothing."""

TRANSIENT = frozenset({"transient", "throttled", "timeout", "lock-error"})
"""Issue codes that say "later" (https://hl7.org/fhir/R4/valueset-issue-type.html).

`conflict` is none of them: the same request would only meet it again, so what it writes is decided anew.
"""

LONGEST = 300.0
"""No server makes us wait longer than this, in seconds, whatever it says."""

_EPOCH = 1_000_000_000
"""A number of seconds this large is a point in time: a reference server sends those."""


class Patience(Struct, frozen=True, kw_only=True):
    """How often and how long to try: full-jitter backoff, with time and chance to be replaced in tests."""

    tries: int = 6
    first: float = 0.5
    longest: float = 30.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def backoff(self, tried: int) -> float:
        """A wait before the next try, evenly anywhere up to a bound that doubles."""
        return self.chance() * min(self.longest, self.first * 2.0 ** (tried - 1))


def retry_after(text: str | None, now: datetime | None) -> float | None:
    """Seconds to wait that a Retry-After header asks for, from 0 to 300; None where it says nothing.

    Understood: seconds, an HTTP date, and a point in time as epoch seconds or milliseconds. `now` is the
    server's own clock, since ours may be wrong. https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    text = (text or "").strip()
    if re.fullmatch(r"-?\d{1,20}(\.\d{1,9})?", text):
        seconds = float(text)
        if seconds >= _EPOCH * 1000:
            seconds /= 1000
        if seconds >= _EPOCH:
            return _clamped(seconds - now.timestamp()) if now else None
        return _clamped(seconds)
    moment = http_date(text)
    return _clamped((moment - now).total_seconds()) if moment and now else None


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """How long an answer wants us to wait, by its own clock, else by ours."""
    return retry_after(headers.get("retry-after"), http_date(headers.get("date")) or datetime.now(UTC))


def http_date(text: str | None) -> datetime | None:
    """The moment an HTTP date names; None for what is no date."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if not 1970 <= moment.year <= 2999:  # no clock of any server, and no room to count from it
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST)


class Gate:
    """Lets requests to one origin pass: so many a second, and none before the server wants one again."""

    def __init__(self, patience: Patience, per_second: float | None) -> None:
        self._patience = patience
        self._gap = 1.0 / per_second if per_second else 0.0
        self._free = self._closed = patience.clock()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Returns when the next request may be sent."""
        while True:
            with self._lock:
                now = self._patience.clock()
                turn = max(now, self._free, self._closed)
                self._free = turn + self._gap
            if turn > now:
                self._patience.sleep(turn - now)
            with self._lock:
                if turn >= self._closed:  # else it was closed while we slept
                    return

    def close_for(self, seconds: float) -> None:
        """Nothing passes for so long: the server asked all of us to wait, not one request."""
        with self._lock:
            self._closed = max(self._closed, self._patience.clock() + seconds)
