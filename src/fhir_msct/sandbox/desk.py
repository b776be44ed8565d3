"""What every route needs at hand, and what the server remembers of its visitors."""

from collections import deque
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from fhir_msct.sandbox.bundles import Bundles
from fhir_msct.sandbox.faults import Trouble
from fhir_msct.sandbox.interactions import Interactions
from fhir_msct.sandbox.pages import Pages
from fhir_msct.sandbox.smart import Smart
from fhir_msct.sandbox.store import Store


class Seen(Struct, frozen=True):
    """A request that reached the server."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: dict[str, str]


class Desk:
    """The store's verbs, the pages, and the requests that were seen and what failed inside."""

    def __init__(
        self,
        store: Store,
        pages: Pages,
        trouble: Trouble,
        *,
        clock: Callable[[], datetime],
        token: str | None,
        smart: Smart | None = None,
    ) -> None:
        self.clock = clock
        self.token = token
        self.smart = smart
        self.started = clock()
        self.trouble = trouble
        self.interactions = Interactions(store, clock, trouble)
        self.pages = pages
        self.bundles = Bundles(store, self.interactions, self.pages, trouble)
        self.seen: deque[Seen] = deque(maxlen=100_000)
        self.failures: list[Exception] = []
