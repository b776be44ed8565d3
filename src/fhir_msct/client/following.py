"""The pages of a search, one after the other, as long as they bring anything.

A server may lead round in a circle for ever. One that repeats an address is found out by it; one that writes
a new address each time, by what it brings. Rows that shift while somebody writes bring again what came
before, but each of them once: only what comes again and again is a circle.
"""

from collections.abc import Callable, Iterator

from fhir_msct.client.failures import Unusable
from fhir_msct.client.pages import Page

MOST_PAGES = 10_000

ROUNDS = 3
"""Times that what was brought already is brought once more, and nothing else, before it is a circle."""


def followed(type_: str, page: Page, following: Callable[[str], Page]) -> Iterator[Page]:
    """A page and all that follow it; raises Unusable (`next-cycle`, `next-repeats`) for a circle."""
    met: set[str] = set()
    circle = _Circle()
    for _ in range(MOST_PAGES):
        yield page
        if page.next is None:
            return
        if page.next in met:
            raise Unusable("next-cycle", f"{type_}: the server's next links run in a circle")
        if circle.is_closed_by(page):
            raise Unusable("next-repeats", f"{type_}: the server's next links bring the same again and again")
        met.add(page.next)
        page = following(page.next)
    raise Unusable("next-cycle", f"{type_}: more than {MOST_PAGES} pages")


class _Circle:
    """What came in one search, as hashes: a collision would have to be of every resource of a page."""

    def __init__(self) -> None:
        self._came, self._again = set[int](), set[int]()
        self._rounds = 0

    def is_closed_by(self, page: Page) -> bool:
        """Whether this page begins a round too many; one that brings nothing begins none."""
        brought = (*page.resources, *page.included)
        these = {hash((one.type, one.id or one.body, one.version)) for one in brought}
        these.update(map(hash, page.broken))
        if not these <= self._came:
            self._came |= these
            self._again, self._rounds = set(), 0
        elif these and (these <= self._again or not self._rounds):
            self._again, self._rounds = these, self._rounds + 1
        else:
            self._again |= these
        return self._rounds == ROUNDS
