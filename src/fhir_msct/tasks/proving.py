"""Working through the windows of a pull until each is proved, or known not to be provable."""

from collections.abc import Callable, Iterable

from fhir_msct.archive.runs import Arrived, Quarantined, Run
from fhir_msct.archive.runs import Window as Open
from fhir_msct.client.failures import Declined, PageGone, Unusable
from fhir_msct.client.pages import Page
from fhir_msct.client.rest import Client
from fhir_msct.client.windows import LARGEST, TRIES, Gauge, Window, verdict
from fhir_msct.plan import Wanted

STOPS = 401
"""A status that no other window can survive: the token is no longer good."""

TOO_LONG = frozenset({405, 413, 414, 415, 431, 501})
"""Statuses with which servers refuse a long search, or its POST: fewer patients make it shorter."""

HALVE_AFTER = 2
"""Readings in vain after which a window of several patients is halved."""


class Proving:
    """The work of one run."""

    def __init__(self, client: Client, run: Run, wanted: Wanted, say: Callable[[str], None]) -> None:
        self._client, self._run, self._wanted, self._say = client, run, wanted, say
        self._gauge = Gauge(run.patients, client.base_url)

    def work(self) -> None:
        """Returns when no window is open. Raises what ends a run early; running it again goes on here."""
        while (this := self._run.next_window()) is not None:
            codes = self._wanted.codes.get(this.type, ())
            self._window(this, Window(type=this.type, patients=this.patients, codes=codes))

    def _window(self, this: Open, window: Window) -> None:
        """One reading of a window, or the rest of one, and what follows from it."""
        before, halves = this.count_before, window.halves()
        after, final = None, False
        try:
            if this.next_url is None:
                before = self._count(window)
                if before is not None and before > LARGEST and halves:
                    self._run.split(this, (half.patients for half in halves))
                    return
                self._run.reading(this, before)
            self._read(this, window)
            after = self._count(window)
            why = verdict(before, after, self._run.distinct(this))
            final = before is None and after is None
        except Unusable as error:
            why, final = str(error), error.reason == "next-foreign"
        except Declined as error:
            if error.status == STOPS or error.status >= 500:
                raise
            if halves and error.status in TOO_LONG:
                self._run.split(this, (half.patients for half in halves))
                return
            why, final = str(error), not isinstance(error, PageGone)
        self._conclude(this, window, why, after, final)

    def _conclude(self, this: Open, window: Window, why: str, after: int | None, final: bool) -> None:
        tried, halves = this.tried + 1, window.halves()
        if not why:
            self._run.settle(this, count_after=after)
            self._say(f"{window}: {after} on the server, all received")
        elif final or (tried >= TRIES and not halves):
            self._run.settle(this, count_after=after, why=why)
            self._say(f"{window}: NOT PROVED: {why}")
        elif tried >= HALVE_AFTER and halves:
            self._run.split(this, (half.patients for half in halves))
        else:
            self._run.failed(this, why)

    def _read(self, this: Open, window: Window) -> None:
        params = window.params(self._wanted.page_size)
        for page in self._client.search(window.type, params, start=this.next_url):
            self._run.page(this, self._arrived(window, page))

    def _count(self, window: Window) -> int | None:
        """The server's count; None where it refuses to count, which the search then shows or survives."""
        try:
            return self._client.count(window.type, window.params(self._wanted.page_size))
        except Declined as error:
            if error.status == STOPS or error.status >= 500:
                raise
            return None

    def _arrived(self, window: Window, page: Page) -> Arrived:
        """A page, each match held against what was asked."""
        judged = [(found, self._gauge.outside(window, found)) for found in page.resources]
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


def unsupported(capability: dict[str, object], types: Iterable[str]) -> tuple[str, ...]:
    """The types that the server says it does not hold; none where its statement lists no types at all."""
    listed: set[object] = set()
    rest = capability.get("rest")
    for part in rest if isinstance(rest, list) else []:
        resources = part.get("resource") if isinstance(part, dict) else None
        listed |= {one.get("type") for one in resources or [] if isinstance(one, dict)}
    return tuple(type_ for type_ in types if listed and type_ not in listed)
