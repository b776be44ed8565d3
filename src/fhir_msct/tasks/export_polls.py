"""The polls of an export: its manifest when it is done, and when to give it up.

A job takes as long as it takes, as long as what it says of itself goes on; a poll that is lost is sent again.
"""

from collections.abc import Callable

from fhir_msct.client.bulk import Bulk, Waiting
from fhir_msct.client.failures import Declined, NoUse, Unusable
from fhir_msct.client.manifest import Manifest
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import Patience
from fhir_msct.errors import Unreachable

MOST_MANIFESTS = 1000
"""Parts of one manifest."""

DAMAGED = frozenset({"cut", "gzip-cut", "gzip-bad", "shape"})
"""What is wrong with a manifest that may come whole the next time."""


class Failed(Exception):
    """This export brings nothing more; the text says why."""


class Polls:
    """The polls of one run's export. `require_token` judges a 401: where that stops everything, it raises."""

    def __init__(
        self, bulk: Bulk, client: Client, stall_minutes: float, require_token: Callable[[Exception], None]
    ) -> None:
        self._bulk, self._stall, self._require_token = bulk, stall_minutes, require_token
        self._patience: Patience = client.exchange.patience
        self._loopback = client.origin.is_loopback

    def manifests(self, url: str, tries: int | None = None) -> list[Manifest]:
        """The manifest of the job at an address, and its further parts."""
        parts, met = list[Manifest](), set[str]()
        while url and len(parts) < MOST_MANIFESTS:
            if url in met:
                raise Failed("the manifest's next links run in a circle")
            met.add(url)
            parts.append(self._done(url, tries))
            url = parts[-1].next or ""
        return parts

    def _done(self, url: str, tries: int | None) -> Manifest:
        """A manifest, when the job is done; raises Failed where it fails or shows no progress.

        Progress is what was not said before: what goes to and fro, or is left out now and then, is none.
        With `tries` it was done before, and is asked for only so often.
        """
        moved, said, tried = self._patience.clock(), {""}, 0
        last = Waiting(progress="", wait=None)
        while True:
            found = self._polled(url, last, tried)
            if isinstance(found, Manifest):
                return found
            if found.progress not in said:
                moved = self._patience.clock()
                said.add(found.progress)
            if self._patience.clock() - moved > self._stall * 60:
                raise Failed(f"it showed no progress for {self._stall} minutes")
            tried, last = tried + 1, found
            if tries and tried >= tries:
                raise Failed("its manifest is there no longer")
            self._patience.sleep(self._wait(found, tried))

    def _polled(self, url: str, last: Waiting, tried: int) -> Waiting | Manifest:
        """A poll; one that is lost, or comes damaged, is sent again, as if `last` had been said once more."""
        lost = 0
        while True:
            try:
                return self._bulk.poll(url)
            except (Declined, Unreachable, Unusable) as error:
                lost += 1
                self._require_token(error)
                if lost >= self._patience.tries or not _may_pass(error):
                    if isinstance(error, Unreachable):
                        raise
                    raise Failed(str(error)) from None
            self._patience.sleep(self._wait(last, tried + lost))

    def _wait(self, found: Waiting, tried: int) -> float:
        """At least what the server asks for, and longer each time; on this machine as we like."""
        own = min(2.0 ** min(tried - 1, 6), 60.0)
        return own if self._loopback or found.wait is None else max(found.wait, own)


def _may_pass(error: Exception) -> bool:
    """Whether the next poll may bring an answer where this one was lost, or came damaged."""
    if isinstance(error, Unusable):
        return error.reason in DAMAGED
    return isinstance(error, Unreachable) and not isinstance(error, NoUse)
