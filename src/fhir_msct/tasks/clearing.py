"""Takes a demo off somebody's server again: only what the run wrote, and with proof.

Nothing is deleted by a search. Each resource is deleted by its id, right after it was read again and seen to
carry the run's tag, in the version that was read; those that refer to others first.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from fhir_msct.archive.guest_book import GuestBook
from fhir_msct.client.exchange import TIMEOUT
from fhir_msct.client.failures import Declined, PageGone, Unusable
from fhir_msct.client.many import LARGEST, Many, One
from fhir_msct.client.marking import RUNS, run_of
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import Patience
from fhir_msct.errors import Conflict, ServerFailed, Unreachable, UsageError
from fhir_msct.plan import check_host
from fhir_msct.tasks.guest import PACE, Confirm, Say, guest_client, read, takes_batches
from fhir_msct.tasks.trial_copy import Key, floors, references

if TYPE_CHECKING:
    import httpx

SETTLED = TIMEOUT + 15.0
"""Seconds after which a request that nobody heard an answer to has been carried out, or never will be.

Longer than a living client waits: a server that takes longer could not be loaded either.
"""

SHOWN = 3600.0
"""Seconds after which a search by tag shows what was written, however late the server is with its index."""

FORBIDDEN = (401, 403, 405)
"""Answers to a deletion that the next round would only hear again."""

ROUNDS = 4
"""How often what is still there is looked at again."""


class ClearReport(Struct, frozen=True, kw_only=True):
    """What became of a run's resources."""

    url: str
    deleted: int
    """Found on the server, and deleted."""
    proved: int
    """Ids that were read at the end, and are gone: every one that the run ever used."""
    unheard: int = 0
    """What was sent long ago, got no id that anybody heard, and is shown by no search: it never arrived."""


def clear(
    folder: Path,
    *,
    url: str | None = None,
    confirm: Confirm,
    token_file: Path | None = None,
    transport: "httpx.BaseTransport | None" = None,
    patience: Patience | None = None,
    say: Say,
) -> ClearReport:
    """Deletes everything that the folder's run wrote, and proves by reading each id that it is gone.

    `token_file` holds the bearer token of a server that wants one.

    Raises UsageError where there is no such run, Conflict before the first deletion where the search by tag
    shows what does not carry it, and at the end where something had to be left; ServerFailed and Unreachable
    where the server did not do it all, or may yet show what has no known id: running it again goes on.
    """
    check_host(url, "--server")
    with GuestBook.open(folder) as book:
        if url is not None and Origin(url).base != book.url:
            raise UsageError(
                f"{folder}: this demo was not run on that server: leave --server out to clean it"
            )
        origin = Origin(book.url)
        say(_announced(book, origin))
        if not origin.is_loopback:
            confirm(origin.host)
        with guest_client(book.url, book.run, transport, patience, token_file) as client:
            clearing = _Clearing(client, book, say)
            deleted = clearing.delete()
            proved = clearing.prove()
        unheard, _ = book.unheard()
        book.close_up()
    return ClearReport(url=origin.base, deleted=deleted, proved=proved, unheard=unheard)


def _announced(book: GuestBook, origin: Origin) -> str:
    rows = book.rows()
    asked = 3 * math.ceil(len(rows) / LARGEST) + 3 * len({row.type for row in rows}) + 1
    return f"{len(rows)} resources of {book.run} are taken off {origin}: some {asked} requests, {PACE}"


class _Clearing:
    """One run being taken off one server."""

    def __init__(self, client: Client, book: GuestBook, say: Say) -> None:
        self.client, self.book, self.say = client, book, say
        self.many = Many(client, batches=takes_batches(client.metadata()))
        self.ids: set[Key] = set()
        """Every id that the run ever used, as far as it is known."""
        self.marks: set[Key] = set()
        """Type and mark of what the server gave an id that nobody heard."""
        self.foreign: set[Key] = set()
        """What carries the run's tag, and is not the run's."""
        self.forbidden: dict[Key, int] = {}
        """What the server does not let us delete, and its answer."""

    def delete(self) -> int:
        """Deletes all that is there; how many that were."""
        self._await()
        held = self._found()
        held |= self._read(self.ids - set(held))
        first = len(held)
        for tried in range(ROUNDS):
            self._take_down(held)
            held = self._read(held)
            if not self._carry(held) or held.keys() <= self.forbidden.keys():
                break
            patience = self.client.exchange.patience
            patience.sleep(patience.backoff(tried + 1))
        return first - len(held)

    def prove(self) -> int:
        """How many ids were read and are gone: all.

        Raises Conflict for what had to be left, ServerFailed for what the server may delete or show later.
        """
        where, keys = self.client.origin, sorted(self.ids)
        if left := sorted(self._read(keys)):
            self._require_permission(left)
            raise Conflict(
                f"{where}: {len(left)} resources of the run could not be deleted ({_named(left)}): somebody "
                "else's resources refer to them, or they no longer carry the run's tag; look at them, then "
                "clean again"
            )
        again = self._found()
        if self.foreign:
            raise Conflict(
                f"{where}: the run's own resources are gone; {len(self.foreign)} others carry its tag "
                f"({_named(sorted(self.foreign))}) and were left alone: the run did not write them"
            )
        if again:
            raise ServerFailed(f"{where}: {_named(sorted(again))} came after all: clean again")
        unheard, since = self.book.unheard()
        if unheard and since < SHOWN:
            raise ServerFailed(
                f"{where}: {unheard} were sent and their ids never heard, and no search shows them: clean "
                "again later; what no search shows an hour after it was sent never arrived"
            )
        return len(keys)

    def _require_permission(self, left: Sequence[Key]) -> None:
        """Raises ServerFailed where some of what is left is there because nobody may delete it."""
        kept = [key for key in left if key in self.forbidden]
        if kept:
            said = ", ".join(str(status) for status in sorted({self.forbidden[key] for key in kept}))
            raise ServerFailed(
                f"{self.client.origin} does not let this client delete ({said}): {len(left)} resources of "
                f"the run are still there ({_named(kept)}); get the right to delete them, then clean again"
            )

    # --- what is there ----------------------------------------------------------------------------------

    def _await(self) -> None:
        """Waits for the last request where nobody knows whether it will yet arrive."""
        since = self.book.unanswered_for()
        wait = 0.0 if since is None else max(0.0, SETTLED - since)
        if wait:
            self.say(f"clean: the last request got no answer: waiting {wait:.0f} s until it is over")
            self.client.exchange.patience.sleep(wait)
        self.book.settled()

    def _found(self) -> dict[Key, bytes]:
        """The run's resources as the search by tag shows them; those that were in no row get one.

        Raises Conflict where it shows what does not carry the tag: then it says nothing about any of it.
        """
        found: dict[Key, bytes] = {}
        self.foreign = set()
        rows = self.book.rows()
        self.ids = {(row.type, row.id) for row in rows if row.id and self.book.is_own(row.type, row.id)}
        self.marks = {(row.type, row.mark) for row in rows if row.id is None}
        for type_ in sorted({row.type for row in rows}):
            found |= self._searched(type_)
        return found

    def _searched(self, type_: str) -> dict[Key, bytes]:
        for _ in range(ROUNDS):
            try:
                return self._walked(type_)
            except PageGone:
                continue
        raise ServerFailed(f"{type_}: the search by tag expires before it is read: clean again")

    def _walked(self, type_: str) -> dict[Key, bytes]:
        found: dict[Key, bytes] = {}
        for page in self.client.search(type_, {"_tag": f"{RUNS}|{self.book.run}", "_count": str(LARGEST)}):
            for one in page.resources:
                key = (one.type, one.id or "")
                tagged, mark = run_of(msgspec.json.decode(one.body), self.book.run)
                if not tagged:
                    raise Conflict(
                        f"{self.client.origin} answers a search for the run's tag with {key[0]}/{key[1]}, "
                        "which does not carry it: it cannot be trusted, so nothing more is deleted"
                    )
                if self._is_own(key, mark):
                    found[key] = one.body
                else:
                    self.foreign.add(key)
        return found

    def _is_own(self, key: Key, mark: str | None) -> bool:
        """Whether the run wrote what carries its tag: by the book, by its id, or by a mark of the book."""
        if key in self.ids:
            return True
        if (key[0], mark) in self.marks:
            self.marks.remove((key[0], str(mark)))
            self.book.learn(key[0], str(mark), key[1])
        elif self.book.may_choose(key[1]):
            self.book.add(*key)
        else:
            return False
        self.ids.add(key)
        return True

    def _read(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        return {key: body for key, body in read(self.many, sorted(keys)).items() if body is not None}

    # --- taking it away ---------------------------------------------------------------------------------

    def _take_down(self, held: dict[Key, bytes]) -> None:
        """Floor by floor, the highest first: nothing is deleted before what refers to it."""
        floor = floors({key: references(msgspec.json.decode(body)) for key, body in held.items()})
        begun = 0
        for number in sorted(set(floor.values()), reverse=True):
            level = sorted(key for key, on in floor.items() if on == number)
            for start in range(0, len(level), LARGEST):
                part = level[start : start + LARGEST]
                self._remove(part)
                begun += len(part)
                self.say(f"clean: {begun} of {len(held)}")

    def _remove(self, keys: Sequence[Key]) -> None:
        """Reads resources again and deletes those that carry the tag; the next round sees what came of it."""
        try:
            held = self._read(keys)
            self._delete([One(*key, _version(held[key])) for key in self._carry(held)])
        except (Unreachable, Unusable):
            return
        except Declined as error:
            if error.status < 500 and not error.is_conflict:
                raise

    def _delete(self, ones: Sequence[One]) -> None:
        """Deletes these, and remembers which of them the server does not let us delete."""
        parts = [ones] if self.many.batches else [[one] for one in ones]
        for part in parts:
            try:
                answers = [answer.status for answer in self.many.delete(part)]
            except Declined as error:
                if error.status not in FORBIDDEN:
                    raise
                if len(part) > 1 and not self.many.batches:  # it took no batch: the others are tried as well
                    self._delete(part)
                    continue
                answers = [error.status] * len(part)
            for one, status in zip(part, answers, strict=True):
                if status in FORBIDDEN:
                    self.forbidden[one.type, one.id] = status

    def _carry(self, held: dict[Key, bytes]) -> list[Key]:
        """Those of the run that carry its tag."""
        tagged = {key for key, body in held.items() if run_of(msgspec.json.decode(body), self.book.run)[0]}
        return sorted(tagged & self.ids)


def _version(body: bytes) -> str | None:
    version = (msgspec.json.decode(body).get("meta") or {}).get("versionId")
    return version if isinstance(version, str) else None


def _named(keys: Sequence[Key]) -> str:
    return ", ".join(f"{type_}/{id_}" for type_, id_ in keys[:3]) + (" ..." if len(keys) > 3 else "")


def told(report: ClearReport) -> str:
    """The end of it, in words."""
    never = f"; {report.unheard} never arrived: no id of theirs was heard" if report.unheard else ""
    return (
        f"{report.deleted} resources deleted from {report.url}; each of {report.proved} ids read again: "
        f"gone (404 or 410); a search for the run's tag finds nothing{never}"
    )
