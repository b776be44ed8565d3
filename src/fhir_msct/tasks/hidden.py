"""What a server finds only by its own full address: HAPI stores `http://.../Patient/1` as it was written.

A search for `patient=1` then neither finds nor counts it, so that no count of that search misses it. What
names a patient so is asked for by windows of its own, whose patients are addresses.
https://hl7.org/fhir/R4/references.html#literal
"""

from collections.abc import Callable, Iterable

import msgspec

from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.retry import RETRIED
from fhir_msct.client.windows import TRIES, Window
from fhir_msct.tasks.proving import STOPS, TOO_LONG

LATER = RETRIED - {500}
"""Statuses that say nothing of the question; with 500 a server stumbles over what it does not expect."""


class Hidden:
    """Asks one server, each type once: a server that finds by address what it finds by id hides nothing.

    `ids` gives the ids that a window lists, and why they are not proved to be all (or the empty text).
    """

    def __init__(
        self,
        base_url: str,
        count: Callable[[Window], int | None],
        ids: Callable[[Window], tuple[set[str], str]],
    ) -> None:
        self._base, self._count, self._ids = base_url, count, ids
        self._known: dict[str, list[Window]] = {}
        self._resolves = False
        self.overlapping = set[str]()
        """Types of which some are found both by address and by id: sums of counts count these twice."""

    def windows(self, type_: str, by_id: Iterable[Window]) -> list[Window]:
        """The windows by address that find what those by id do not; raises as a count does."""
        if type_ not in self._known:
            self._known[type_] = [other for one in by_id for other in self._beside(one)]
        return self._known[type_]

    def _beside(self, one: Window) -> list[Window]:
        """The same patients by address, where these are other resources than those by id."""
        if one.type == "Patient" or self._resolves:
            return []
        try:
            return self._found(
                one, msgspec.structs.replace(one, patients=addresses(self._base, one.patients))
            )
        except _TooLong:
            return [other for half in one.halves() for other in self._beside(half)]

    def _found(self, one: Window, named: Window) -> list[Window]:
        """The window by address, where it holds anything that the one by id does not."""
        for _ in range(TRIES):
            if not (by_address := self._asked(named)):
                return []
            if len(one.patients) == 1:  # id and address would be a list, which not every server heeds
                break
            either = self._asked(msgspec.structs.replace(one, patients=(*one.patients, *named.patients)))
            by_id = self._asked(one)
            if by_id is None or either is None:
                return []
            if by_address == either == by_id and self._is_resolved(one):
                self._resolves = True
                return []
            if either == by_id + by_address:
                return [named]
        (theirs, doubt), (ours, _) = self._ids(named), self._ids(one)
        if not doubt and theirs <= ours:
            return []
        if theirs & ours:
            self.overlapping.add(one.type)
        return [named]

    def _is_resolved(self, one: Window) -> bool:
        """Whether the first patient who is found by address is found with the same resources by id.

        Three counts may be equal by chance, and more so where a server leaves out the end of a list.
        """
        for alone in one.parts(len(one.patients)):
            named = msgspec.structs.replace(alone, patients=addresses(self._base, alone.patients))
            if self._asked(named):
                (theirs, doubt), (ours, _) = self._ids(named), self._ids(alone)
                return bool(doubt) or theirs == ours
        return False

    def _asked(self, window: Window) -> int | None:
        """A count; None where the server does not take such a question, which says that it finds nothing."""
        try:
            return self._count(window)
        except Unusable:
            return None
        except Declined as error:
            if error.status in TOO_LONG and len(window.patients) > 1:
                raise _TooLong from None
            if error.status == STOPS or error.status in LATER:
                raise
            return None


class _TooLong(Exception):
    """The addresses of so many patients are more than the server takes."""


def addresses(base_url: str, ids: Iterable[str]) -> tuple[str, ...]:
    """Patients as a reference names them that holds the server's own address."""
    return tuple(f"{base_url}/Patient/{id_}" for id_ in ids)
