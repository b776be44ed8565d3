"""What a server refuses: which no may be about one resource, and when it is about everything.

Of a refused transaction the halves are sent, down to the one resource that is refused alone; so one that a
server cannot take costs some fourteen requests and keeps nothing else back. Where one after the other is
refused and none was taken, it is not about them: then we stop, and do not knock a hundred times.
"""

from collections import Counter
from collections.abc import Iterable
from sqlite3 import Connection

from fhir_msct.archive import ledger
from fhir_msct.archive.ledger import Refusal
from fhir_msct.client.failures import Declined
from fhir_msct.client.origin import Origin
from fhir_msct.client.retry import TRANSIENT
from fhir_msct.errors import ServerFailed
from fhir_msct.tasks.deciding import Step

IN_A_ROW = 6
"""So many of one type refused alone and none taken: then one from the other end is tried, and no more."""

_NOT_OF_ONE = frozenset({401, 405, 407, 408, 409, 412, 425, 429})


def may_be_one_entry(error: Declined) -> bool:
    """Whether a refusal may be about one entry alone. HAPI answers 400 or 422 to most, 500 to some."""
    if error.status in _NOT_OF_ONE or not TRANSIENT.isdisjoint(error.codes):
        return False
    return 400 <= error.status <= 500


def may_be_the_ids(error: Declined) -> bool:
    """Whether this may be how a server without update-as-create says that it chooses the ids."""
    return error.status in (400, 404, 405, 422)


class Refusals:
    """What was refused alone in one push, and how; kept in the ledger until the server takes it."""

    def __init__(self, db: Connection, target: str) -> None:
        self._db, self._target = db, target
        self.found: list[Refusal] = []
        self.held_back: list[str] = []
        """Results that rest on a value which was refused."""
        self._in_a_row: Counter[str] = Counter()
        self._taken: set[str] = set()

    def landed(self, steps: Iterable[Step]) -> None:
        """Takes note that the server takes these types."""
        self._taken.update(step.wanted.type for step in steps)

    def add(self, step: Step, error: Declined) -> bool:
        """Keeps one refusal; gives whether the next to be tried is one from the other end.

        Raises Declined where that was refused too, and nothing of the type was taken.
        """
        kind = step.wanted.type
        refusal = Refusal(step.wanted.place, error.status, error.codes)
        ledger.refuse(self._db, self._target, step.operation, refusal)
        self.found.append(refusal)
        if kind in self._taken:
            return False
        self._in_a_row[kind] += 1
        if self._in_a_row[kind] > IN_A_ROW:
            raise Declined(
                error.status,
                error.codes,
                f"{kind}: the server refuses one after the other ({refusal.why}) and has taken none, so "
                f"after {self._in_a_row[kind]} no more was sent: ask the server's owner, then push again",
            )
        return self._in_a_row[kind] == IN_A_ROW

    @property
    def results(self) -> int:
        """How many resources were not brought, Provenances left aside."""
        return len(self.held_back) + sum(not one.place.startswith("Provenance/") for one in self.found)

    def lines(self) -> list[str]:
        """What the server does not hold, one line each."""
        refused = [f"{one.place} ({one.why})" for one in self.found]
        return [*refused, *(f"{place} (rests on a value that was refused)" for place in self.held_back)]

    def require_ground(self, origin: Origin) -> None:
        """Raises ServerFailed where the tool or the study was refused, which every result refers to."""
        for one in self.found:
            if one.place.startswith(("Device/", "ResearchStudy/")):
                raise ServerFailed(
                    f"{origin} refuses {one.place} ({one.why}), which every result refers to: "
                    "nothing more was sent"
                )

    def hold_back(self, step: Step) -> bool:
        """Whether a result rests on a value that was refused, and so is not sent either."""
        refused = {one.place for one in self.found}
        rests = any(source.partition("/_history/")[0] in refused for source in step.wanted.sources)
        self.held_back += [step.wanted.place] if rests else []
        return rests
