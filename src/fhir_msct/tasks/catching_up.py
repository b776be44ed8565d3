"""The end of every pull: what came while it ran, and whether all of it is here.

A server stamps `lastUpdated` when a transaction begins and shows it when the transaction ends, so that a
proved window may still miss a resource. The last minutes are therefore looked at again, and the next
pull begins so many minutes back. What a pull does not ask for again is held against the server's counts,
and where a count differs against a list of its ids.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fhir_msct.archive import proofs
from fhir_msct.archive.proofs import Proof
from fhir_msct.archive.runs import Asked, Run
from fhir_msct.client.cohort import gathered
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.rest import Client
from fhir_msct.client.windows import Window, since_supported, windows
from fhir_msct.plan import Wanted
from fhir_msct.tasks import lists
from fhir_msct.tasks.gone import is_still_there, keep_deletions
from fhir_msct.tasks.hidden import Hidden
from fhir_msct.tasks.proving import Proving

AGAIN, AGAIN_UNBOUNDED = "again", "again, without a bound"
"""How a type is to be proved once its windows were read again: by what is older than a bound, or by all."""

_LISTED = (proofs.IN_DOUBT, AGAIN, AGAIN_UNBOUNDED, "listing")
"""How a type is known of which equal counts prove nothing (any more): an interrupted run knew better."""

_CODES_LEFT_OUT = 'the server heeds only some of several codes: set [pull] scope = "types"'

_UNLISTED = "the server gives what it does not list"

_NO_COUNT = "the server does not say how many there are"


class CatchingUp:
    """The end of one run; each step is written down, so that an interrupted run goes on after it."""

    def __init__(
        self,
        client: Client,
        run: Run,
        wanted: Wanted,
        capability: dict[str, Any],
        proving: Proving,
        say: Callable[[str], None],
    ) -> None:
        self._client, self._run, self._wanted, self._say = client, run, wanted, say
        self._capability, self._proving = capability, proving
        self._hidden = self._not_yet_hidden()

    def _not_yet_hidden(self) -> Hidden:
        """What is found by address only, of which nothing is known yet."""
        client, size = self._client, self._wanted.page_size
        return Hidden(client.base_url, lambda one: client.count(one.type, one.params(size)), self._ids)

    def work(self) -> None:
        """Returns when every type is proved, or known not to be provable."""
        if proofs.was_apart(self._run) and not proofs.is_apart(self._run):
            self._take_apart()
        self._proving.work()
        if proofs.step(self._run) < proofs.STEPS.index("read"):
            self._take_apart_unless_heeded()
            proofs.advance(self._run, "read", self._by_address())
            self._proving.work()
        if proofs.step(self._run) < proofs.STEPS.index("caught up"):
            proofs.advance(self._run, "caught up", self._since())
            self._proving.work()
        if proofs.step(self._run) < proofs.STEPS.index("proved"):
            proofs.advance(self._run, "proved", self._whole())
        self._proving.work()
        for proof in proofs.proofs(self._run):
            if proof.how in (AGAIN, AGAIN_UNBOUNDED):
                self._judge(proof)
        for proof in proofs.proofs(self._run) if self._wanted.codes else ():
            if not all(lists.codes_heeded(self._proving.count, one) for one in self._by_id(proof.type)[:1]):
                self._prove(proof, None, proof.how, _CODES_LEFT_OUT)

    def _take_apart_unless_heeded(self) -> None:
        run, proving = self._run, self._proving
        if proofs.is_apart(run) or proofs.was_apart(run) is not None:
            return  # it is known, of this run or from the one before
        if lists.all_heeded(run, proving, self._client.base_url, self._by_id):
            return
        self._take_apart()
        proving.work()

    def _take_apart(self) -> None:
        self._say("the server does not heed a list of patients: asking for each alone")
        proofs.take_apart(self._run)
        self._hidden = self._not_yet_hidden()

    def _by_address(self) -> list[Asked]:
        """The windows of what the server finds only by its own address."""
        asked = list[Asked]()
        for proof in proofs.proofs(self._run):
            chunks = self._chunks(proof.type)
            if hidden := self._hidden.windows(proof.type, chunks):
                self._say(f"{proof.type}: some name a patient by the server's own address: asking for it too")
            if proof.type in self._hidden.overlapping:  # the sum of their counts proves nothing
                self._prove(proof, None, proof.how or proofs.IN_DOUBT)
            asked += [Asked(one.type, one.patients, proof.since, "", not proof.since) for one in hidden]
        return asked

    def _since(self) -> list[Asked]:
        """The windows of the last minutes, of each type whose count says that something came meanwhile."""
        since, asked = proofs.watermark(self._run), list[Asked]()
        for proof in proofs.proofs(self._run) if since else ():
            if not since or not since_supported(self._capability, proof.type):
                continue
            chunks = [msgspec.structs.replace(one, lo=since) for one in self._chunks(proof.type)]
            came = proofs.number_held(self._run, msgspec.structs.replace(proof, since=""), since=since)
            if self._counted(chunks) != came:  # of this run: one that is gone would hide one that is new
                self._say(f"{proof.type}: something came since {since}: asking again")
                asked += [Asked(one.type, one.patients, since, "", False) for one in chunks]
        return asked

    def _whole(self) -> list[Asked]:
        """The windows that have to be read once more, since what is here is not what the server counts.

        Where lists turn out not to be heeded, what was counted by them before is counted anew.
        """
        apart = proofs.is_apart(self._run)
        again = self._differing()
        return again if proofs.is_apart(self._run) == apart else self._differing()

    def _differing(self) -> list[Asked]:
        again, moved = list[Asked](), proofs.read_again(self._run) | proofs.shaken(self._run)
        for proof in proofs.proofs(self._run):
            if proof.since and proof.newest and not self._minds(proof):
                proof = msgspec.structs.replace(proof, since="", newest="", how="")
                proofs.prove(self._run, proof)
                self._say(f"{proof.type}: the server does not mind _lastUpdated: asking for everything")
                again += [Asked(one.type, one.patients) for one in self._chunks(proof.type)]
            elif proof.since or proof.how or proof.type in moved:
                again += self._held_against(proof)
        return again

    def _minds(self, proof: Proof) -> bool:
        """Whether the newest resource came again, as it must where the server minds `_lastUpdated`."""
        if proofs.came(self._run, proof.type, proof.newest):
            return True
        try:
            return self._client.read(proof.type, proof.newest) is None
        except (Declined, Unusable):
            return False

    def _held_against(self, proof: Proof) -> list[Asked]:
        """The proof of one type as a whole.

        What is older than a bound is counted; what is not was read by its own windows, so that what has
        just come cannot make up for what is gone.
        """
        chunks, bound = self._chunks(proof.type), self._bound(proof)
        if proof.since and proofs.came_older(self._run, proof):  # it ignores the instant: all of it came
            proof, bound = msgspec.structs.replace(proof, since="", newest=""), ""
            proofs.prove(self._run, proof)
        counted, older = self._counted(chunks, bound), proofs.number_held(self._run, proof, before=bound)
        if counted is None:
            self._prove(proof, None, "counts", _NO_COUNT)
            return []
        recent = proofs.held(self._run, proof, since=bound) if bound else frozenset()
        lost = [key for key in recent if not proofs.came(self._run, proof.type, key)]
        if counted == older and not lost and proof.how not in _LISTED:
            self._prove(proof, counted + len(recent), "counts")
            return []
        self._say(f"{proof.type}: {counted} on the server, {older} here: comparing the ids")

        def unexplained(gone: frozenset[str]) -> object:
            left = proofs.held(self._run, proof, before=bound) - gone
            return counted != len(left) or set(lost) - gone

        return self._reconciled(proof, chunks, bound, unexplained)

    def _bound(self, proof: Proof) -> str:
        """The instant before which everything is counted; none where the server cannot count so."""
        if proof.since or not since_supported(self._capability, proof.type):
            return proof.since
        if proofs.parted_by_time(self._run, proof.type) or proofs.unstamped(self._run.archive, proof.type):
            return ""
        return proofs.watermark(self._run) or ""

    def _reconciled(
        self,
        proof: Proof,
        chunks: Iterable[Window],
        bound: str,
        doubtful: Callable[[frozenset[str]], object],
    ) -> list[Asked]:
        """Every id that the server lists against every id that is here.

        Where what is gone does not explain the counts, something has just been changed, or has come back
        after it was gone: what is here of it is older, and the time since the bound is read again.
        """
        here, again_how = proofs.held(self._run, proof), AGAIN if bound else AGAIN_UNBOUNDED
        listed, again = set[str](), list[Asked]()
        for chunk in chunks:
            found, why = self._ids(chunk)
            if why:
                self._prove(proof, None, "listing", why)
                return []
            listed |= found
            if not found <= here:
                again.append(Asked(chunk.type, chunk.patients))
        gone, codes = here - listed, self._wanted.codes.get(proof.type, ())
        if is_still_there(self._client, self._run, self._proving.gauge, proof.type, codes, gone):
            if len(self._run.patients) > 1 and not proofs.is_apart(self._run):
                self._take_apart()
                return self._held_against(proof)
            self._prove(proof, None, "listing", _UNLISTED)
            return []
        if bound and doubtful(gone):
            again += [Asked(chunk.type, chunk.patients, bound, "", False) for chunk in chunks]
        deleted = keep_deletions(self._client, self._run, self._capability, proof.type, sorted(gone))
        self._prove(proof, len(listed), again_how if again else "listing", missed=gone)
        if gone:
            self._say(
                f"{proof.type}: {len(gone)} no longer listed ({deleted} deleted, as their history says)"
            )
        return again

    def _judge(self, proof: Proof) -> None:
        """The last word on a type that was read again: by what is older than the bound, or else by all."""
        bounds = [self._bound(proof), ""] if proof.how == AGAIN else [""]
        for bound in bounds:
            counted = self._counted(self._chunks(proof.type), bound)
            older = proofs.number_held(self._run, proof, before=bound)
            recent = proofs.number_held(self._run, proof, since=bound) if bound else 0
            if counted is None or counted == older:
                break
        why = _NO_COUNT if counted is None else ""
        if counted is not None and counted != older:
            why = f"the server counts {counted}, {older} are here"
        self._prove(proof, None if counted is None else counted + recent, "listing", why)

    def _prove(
        self, proof: Proof, counted: int | None, how: str, why: str = "", missed: Iterable[str] = ()
    ) -> None:
        found = msgspec.structs.replace(proof, counted=counted, how=how, why=why)
        proofs.prove(self._run, found, missed)

    def _ids(self, chunk: Window) -> tuple[set[str], str]:
        """The ids that a window lists, and why they are not proved to be all (or nothing)."""
        params = (*chunk.params(max(self._wanted.page_size, 500)), ("_elements", "id"))
        try:
            found, why = gathered(self._client, chunk.type, params)
        except Declined as error:
            return set(), str(error)
        return {one.id for one in found if one.id}, why

    def _counted(self, chunks: Iterable[Window], before: str = "") -> int | None:
        parts = [msgspec.structs.replace(one, hi=before) for one in chunks]
        if parts and parts[0].type in self._hidden.overlapping:
            listed = [self._ids(part) for part in parts]
            return None if any(why for _, why in listed) else len(set().union(*(ids for ids, _ in listed)))
        counts = [self._proving.count(part) for part in parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    def _chunks(self, type_: str) -> list[Window]:
        """All that is asked about one type: by the patients' ids, and by addresses where these find more."""
        chunks = self._by_id(type_)
        return [*chunks, *self._hidden.windows(type_, chunks)]

    def _by_id(self, type_: str) -> list[Window]:
        wanted = msgspec.structs.replace(self._wanted, types=(type_,))
        chunks = windows(wanted, self._run.patients)
        if not proofs.is_apart(self._run):
            return list(chunks)
        return [part for one in chunks for part in one.parts(len(one.patients))]
