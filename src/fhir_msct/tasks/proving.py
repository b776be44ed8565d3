"""Working through the windows of a pull until each is proved, or known not to be provable."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.archive.runs import Arrived, Asked, Quarantined, Run
from fhir_msct.archive.runs import Window as Open
from fhir_msct.client import capability as capabilities
from fhir_msct.client.failures import Declined, PageGone, Shut, Unusable
from fhir_msct.client.pages import Page
from fhir_msct.client.probes import NOBODY
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import FAILED
from fhir_msct.client.windows import (
    LARGEST,
    LARGEST_OF_ONE,
    TRIES,
    Gauge,
    Window,
    since_supported,
    verdict,
)
from fhir_msct.plan import Wanted
from fhir_msct.tasks.threads import side_by_side

STOPS = 401
"""A status that no other window can survive: the token is no longer good."""

TOO_LONG = frozenset({405, 413, 414, 415, 431, 501})
"""Statuses with which servers refuse a long search, or its POST: fewer patients make it shorter."""

HALVE_AFTER = 2
"""Readings in vain after which a window is halved."""

MOST_PARTS = 26
"""Windows of the same patients and type: where so many do not help, the server's counts never settle."""


class _Begun(Struct, frozen=True):
    """A reading begins; so many there are, the server says."""

    before: int | None


class _Done(Struct, frozen=True):
    """A reading has come to its end."""

    before: int | None
    after: int | None


class _Failed(Struct, frozen=True):
    """A reading proves nothing; `final` where another one would not either."""

    why: str
    final: bool


class _Split(Struct, frozen=True):
    """This is too much at once: so it is to be read in parts."""

    parts: tuple[Window, ...]


_Event = _Begun | Arrived | _Done | _Failed | _Split


class _Reading(Struct, frozen=True):
    """A window that is being read, and the smaller ones it could be read in."""

    this: Open
    window: Window
    halves: tuple[Window, ...]


class Proving:
    """The work of one run: windows are read by several threads, and written down by this one alone."""

    def __init__(
        self,
        client: Client,
        run: Run,
        wanted: Wanted,
        say: Callable[[str], None],
        *,
        connections: int = 1,
        capability: dict[str, Any] | None = None,
    ) -> None:
        self._client, self._run, self._wanted, self._say = client, run, wanted, say
        self.gauge = Gauge(run.patients, client.base_url, self._minds_patients)
        self._minding: dict[str, bool] = {}
        self._connections, self._capability = connections, capability or {}
        self._timeless: set[str] = set()
        """Types of which the server sends what was not asked for by time."""

    def work(self) -> None:
        """Returns when no window is open. Raises what ends a run early; running it again goes on here."""
        if self._connections > 1:
            side_by_side(self._next, self._events, self._apply, self._connections, self._together)
            return
        while (reading := self._next(())) is not None:
            for event in self._events(reading):
                self._apply(reading, event)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What is written down inside is durable at once; only then it is said."""
        say, told = self._say, list[str]()
        self._say = told.append
        try:
            with self._run.archive.transaction():
                yield
        finally:
            self._say = say
        for text in told:
            say(text)

    def _next(self, busy: Collection[_Reading]) -> _Reading | None:
        """The first window that is open and that nobody reads."""
        this = self._run.next_window({one.this.id for one in busy})
        if this is None:
            return None
        codes = self._wanted.codes.get(this.type, ())
        window = Window(type=this.type, patients=this.patients, codes=codes, lo=this.lo, hi=this.hi)
        by_time = (
            this.type not in self._timeless
            and since_supported(self._capability, this.type)
            and self._run.parts(this) < MOST_PARTS
        )
        return _Reading(this, window, window.halves(self._client.date if by_time else None))

    def _events(self, reading: _Reading) -> Iterator[_Event]:
        """One reading of a window, or the rest of one; touches nothing but the server."""
        this, window = reading.this, reading.window
        before = None if this.next_url is None else this.count_before
        largest = LARGEST if len(this.patients) > 1 else LARGEST_OF_ONE
        try:
            if this.next_url is None:
                before = self.count(window)
                if before is not None and before > largest and reading.halves:
                    many = len(window.patients) > 1
                    yield _Split(window.parts(before // LARGEST + 1) if many else reading.halves)
                    return
                yield _Begun(before)
            params = window.params(self._wanted.page_size)
            for page in self._client.search(window.type, params, start=this.next_url):
                yield self._arrived(window, page)
            yield _Done(before, self.count(window))
        except PageGone as error:
            yield _Failed(str(error), final=False)
        except Unusable as error:
            yield _Failed(str(error), error.reason == "next-foreign")
        except Declined as error:
            if before is not None and error.status in FAILED:
                yield _Failed(str(error), final=False)  # it counts them: one of them may be broken
                return
            if error.status == STOPS or error.status >= 500 or _shut_out(error, window):
                raise
            too_long = len(this.patients) > 1 and error.status in TOO_LONG
            yield _Split(reading.halves) if too_long else _Failed(str(error), final=True)

    def _apply(self, reading: _Reading, event: _Event) -> None:
        """Writes down what a reading has come to."""
        this = reading.this
        if isinstance(event, _Begun):
            self._run.reading(this, event.before)
        elif isinstance(event, Arrived):
            self._run.page(this, event)
            bounded = event.resources if this.lo or this.hi else ()
            if any(one.lastupdated and not reading.window.spans(one.lastupdated) for one in bounded):
                self._timeless.add(this.type)
        elif isinstance(event, _Split):
            self._run.split(this, _parts(this, event.parts))
        elif isinstance(event, _Done):
            came = self._run.distinct(this)
            uncounted = event.before is None and event.after is None
            if not self._helps(reading, event, came):
                reading = msgspec.structs.replace(reading, halves=())
            self._conclude(reading, verdict(event.before, event.after, came), event.after, uncounted)
        else:
            self._conclude(reading, event.why, None, event.final)

    def _helps(self, reading: _Reading, done: _Done, came: int) -> bool:
        """Whether smaller windows may prove what this one does not.

        Patients apart are less work each; parting one patient's time helps only against a server that
        stops early, and never against one that miscounts.
        """
        if len(reading.this.patients) == 1 and reading.this.type in self._timeless:
            return False
        if len(reading.this.patients) > 1 or done.before is None or done.before != done.after:
            return True
        return done.before > self._wanted.page_size or done.before - came > 1

    def _conclude(self, reading: _Reading, why: str, after: int | None, final: bool) -> None:
        this, window, tried = reading.this, reading.window, reading.this.tried + 1
        if not why:
            self._run.settle(this, count_after=after)
            self._say(f"{window}: {after} on the server, all received")
        elif final or (tried >= TRIES and not reading.halves):
            self._run.settle(this, count_after=after, why=why)
            self._say(f"{window}: NOT PROVED: {why}")
        elif tried >= HALVE_AFTER and reading.halves:
            self._run.split(this, _parts(this, reading.halves))
        else:
            self._run.failed(this, why)

    def count(self, window: Window) -> int | None:
        """The server's count; None where it refuses to count, which the search then shows or survives."""
        try:
            return self._client.count(window.type, window.params(self._wanted.page_size))
        except Declined as error:
            if error.status == STOPS or error.status >= 500 or _shut_out(error, window):
                raise
            return None

    def _minds_patients(self, window: Window) -> bool:
        """Whether the server minds for whom a type is asked for: it has nothing of nobody.

        Asked only where something came that does not say whose it is (by an identifier, or under another
        address): a server that gives everybody's would give strangers'.
        """
        if window.type not in self._minding:
            nobody = msgspec.structs.replace(window, patients=(NOBODY,), lo="", hi="")
            try:
                page = next(self._client.search(nobody.type, nobody.params(1)))
                self._minding[window.type] = not page.resources
            except Declined as error:
                if error.status == STOPS or error.status >= 500:
                    raise
                self._minding[window.type] = True  # it refuses to look for somebody it does not know
        return self._minding[window.type]

    def _arrived(self, window: Window, page: Page) -> Arrived:
        """A page, each match held against what was asked."""
        judged = [(found, self.gauge.outside(window, found)) for found in page.resources]
        outside = [
            Quarantined(
                type=what.type, sha256=what.sha256, reason=f"outside-{what.why}", length=len(found.body)
            )
            for found, what in judged
            if what is not None
        ]
        broken = [Quarantined(type=window.type, sha256=digest, reason=why) for digest, why in page.broken]
        return Arrived(
            resources=[found for found, what in judged if what is None],
            quarantined=[*outside, *broken],
            next_url=page.next,
            url_sha256=page.url_sha256,
            sha256=page.sha256,
            bytes=page.bytes,
            included=len(page.included),
        )


def _shut_out(error: Declined, window: Window) -> bool:
    """Whether not even the patients may be read, and nothing was before: no type would be another matter."""
    return isinstance(error, Shut) and window.type == "Patient"


def _parts(this: Open, halves: Iterable[Window]) -> list[Asked]:
    return [Asked(this.type, half.patients, half.lo, half.hi, this.whole) for half in halves]


def unsupported(capability: dict[str, Any], types: Iterable[str]) -> tuple[str, ...]:
    """The types that the server says it does not hold; none where its statement lists no types at all."""
    listed = capabilities.capability(capability).types
    return tuple(type_ for type_ in types if listed and type_ not in listed)
