"""The ways a server goes wrong, to be switched on one by one: nothing happens by default.

Each fault strikes requests whose line (`GET /fhir/Observation?code=x`) contains `where`, with the given
chance (drawn from `seed`), at most `times` times in all. `faulty.py` makes them happen.
"""

import random
import re
import threading
from collections import Counter
from typing import Literal
from urllib.parse import parse_qsl

from msgspec import Struct


class Faults(Struct, frozen=True, kw_only=True):
    """What shall go wrong."""

    where: str = ""
    """A regular expression that is searched in `METHOD /path?query`; empty: everywhere."""
    times: int | None = None
    """How often each fault strikes in all; None: always."""
    chance: float = 1.0
    seed: int = 0

    status_once: dict[str, tuple[int, ...]] = {}
    """Pattern of a request line: the statuses it gets, one after another, before the true answer."""
    retry_after: str | None = "0"
    """The header of a 429 or 503, whatever it may hold."""
    delay: float = 0.0
    """Seconds before each answer."""
    html_login: bool = False
    """A login page with status 200."""
    cut_body: Literal["", "quiet", "loud"] = ""
    """Half the body: with a Content-Length that fits (quiet), or one that does not (loud)."""
    lose_answer: bool = False
    """The server does what was asked, then the connection breaks before the first byte of the body."""

    no_update_create: bool = False
    """PUT to an unknown id is 405: a new resource gets its id from the server, which says so."""
    no_transactions: bool = False
    """A transaction is 405, and not claimed."""
    no_batches: bool = False
    """A batch is 405, and not claimed."""
    silent: bool = False
    """What is missing of these three is not said in the CapabilityStatement."""
    no_conditions: Literal["", "denied", "claimed"] = ""
    """If-None-Exist is not heeded; the CapabilityStatement says so, or not."""
    refuse_written: str = ""
    """A pattern: a resource that is written and matches is refused, and its transaction with it."""
    refuse_status: int = 422

    page_gone_after: int | None = None
    """This many pages of a search are served, then its next link is 410."""
    ignore: tuple[str, ...] = ()
    """Search parameters in the address that the server acts as if it had never heard of."""
    drop_total: bool = False
    wrong_total: int | None = None
    drop_next: bool = False
    """The first page says it is the last."""
    next_to_self: bool = False
    next_host: str = ""
    """`host:port` that next links point to instead."""
    repeat_entries: bool = False
    """Each page shows its first entry again at its end."""
    drop_entries: int = 0
    """Entries silently missing at the end of each page."""
    outcome_entry: bool = False
    """An OperationOutcome among the results."""
    bare_entries: bool = False
    """Entries without fullUrl and search mode."""

    export_polls: int = 1
    """How often an export is not done yet when it is asked for."""
    export_retry_after: str = "0"
    export_transient: bool = False
    """A poll fails with 500 and an issue that says `transient`."""
    export_stalled: bool = False
    """The export shows no progress any more."""
    export_post_only: bool = False
    """Kick-off by POST only, and the manifest in the words of STU4."""
    export_parts: bool = False
    """A manifest in two parts."""
    export_wrong_count: bool = False
    export_expired: bool = False
    """A file is 410."""
    export_binary: bool = False
    """A file comes as a Binary in JSON."""
    export_lost_type: str = ""
    """A type that is not in the manifest, though it was asked for."""
    export_errors: int = 0
    """Errors that the manifest reports."""


_NONE = Faults()


class Trouble:
    """The faults that are switched on, and how often each has struck."""

    def __init__(self, faults: Faults | None = None) -> None:
        self._lock = threading.Lock()
        self.switch(faults or Faults())

    def switch(self, faults: Faults) -> None:
        """From now on these faults, counted from zero."""
        with self._lock:
            self.faults = faults
            self.struck: Counter[str] = Counter()
            self._chance = random.Random(faults.seed)  # noqa: S311  (chance that can be repeated)
            self._pages: Counter[str] = Counter()
            self._gone: set[str] = set()

    def strikes(self, name: str, line: str) -> bool:
        """Whether this fault is on and strikes this request; each call may count."""
        if getattr(self.faults, name) == getattr(_NONE, name) or not re.search(self.faults.where, line):
            return False
        with self._lock:
            spent = self.faults.times is not None and self.struck[name] >= self.faults.times
            if spent or self._chance.random() >= self.faults.chance:
                return False
            self.struck[name] += 1
        return True

    def status(self, line: str) -> int | None:
        """The status this request gets instead of its answer."""
        with self._lock:
            for pattern, statuses in self.faults.status_once.items():
                if re.search(pattern, line) and self.struck[pattern] < len(statuses):
                    self.struck[pattern] += 1
                    return statuses[self.struck[pattern] - 1]
        return None

    def gone(self, query: str, line: str) -> bool:
        """Whether the search of this page link has been paged through far enough to be gone."""
        token = dict(parse_qsl(query)).get("_getpages")
        after = self.faults.page_gone_after
        if token is None or after is None:
            return False
        self._pages[token] += 1
        if token not in self._gone and self._pages[token] >= after and self.strikes("page_gone_after", line):
            self._gone.add(token)
        return token in self._gone
