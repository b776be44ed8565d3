"""One request that writes, until it is known what became of it.

The intent is in the ledger before it leaves. Where no answer comes, or the server has changed under our
hands, the server is asked what it holds and what is left is decided again.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from fhir_msct.archive import ledger
from fhir_msct.archive.request_log import Sent
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.errors import ServerFailed, Unreachable, UsageError
from fhir_msct.tasks.deciding import CONFLICT, CREATE, LEFT, UNCHANGED, UPDATE, Decider, Step
from fhir_msct.tasks.entries import Done, Entries
from fhir_msct.tasks.places import Key

TRIES = 5
"""How often a request is decided again when the server changes under our hands."""

GUARDED = 3
"""How many of these tries name a version that no resource has, where none may be there yet."""

NEVER = "0"
""""If-Match" with it creates what is absent and never overwrites, on every server that was measured; one that
wants the resource to be there (RFC 9110) says 404 or 412, and gets the rest of the tries without it."""


class Delivery:
    """Writes to one server: transactions where it takes them (`transactions`), else one at a time."""

    def __init__(
        self,
        decider: Decider,
        with_provenance: Callable[[Sequence[Step]], list[Step]],
        refuse: Callable[[Sequence[Step]], None],
        plan_hash: str | None = None,
        sent: list[Sent] | None = None,
    ) -> None:
        """`refuse` is told of what turns out not to be ours, and raises Conflict; for the rest see Sender."""
        self._decider, self._with_provenance, self._refuse = decider, with_provenance, refuse
        self._plan_hash, self._noted = plan_hash, sent
        self._guards, self._heard = True, ledger.Heard()
        self._client, self._db, self._target = decider.client, decider.db, decider.target
        self._holdings, self._entries = decider.holdings, Entries(decider.holdings)
        self.transactions = self._holdings.ability.transactions is not False

    def until_known(self, batch: list[Step]) -> list[Step]:
        """Returns when the server holds all of it: what was written, as it was last decided.

        That is less than the batch where somebody else had done it before us. Raises Declined where the
        server says no and holds nothing of it, Unreachable or Unusable where that is not known,
        ServerFailed where the server keeps changing, UsageError where the plan does not hold any more.
        """
        lost, written, ours, blamed = 0, list[Step](), list[Step](), False
        for tried in range(1, TRIES + 1):
            self._intend(batch)
            guarded, race = self._guards and tried <= GUARDED, True
            try:
                done = self._sent(batch, guarded)
            except (Declined, Unreachable, Unusable) as error:
                race = refused = _is_race(error, guarded)
                if not race and (lost or _is_no(error)):
                    raise
                lost += not race
            else:
                refused = False
                if blamed and not guarded and _was_never_there(batch, done):
                    self._guards = False
                left = self._settled(batch, done)
                written += [step for step in batch if step not in left]
                batch = left
            before = _versions(batch)
            batch, found = self._again(batch, ours, race) if batch else ([], [])
            written += [] if race else found  # no answer came, and yet they are there: they are ours
            blamed = guarded and refused and before == _versions(batch)
            if not batch:
                return written
            if tried > 1:
                self._client.exchange.patience.sleep(self._client.exchange.patience.backoff(tried))
        raise ServerFailed(f"{self._client.origin} keeps changing under our hands: run push again")

    def write_down(self) -> None:
        """Commits what was heard of the last request, as the intent of a next one would have.

        Of a process that dies before, the intent is there still, and the server is asked the next time.
        """
        if self._heard:
            ledger.settle(self._db, self._target, self._heard.done, self._heard.places)
            self._heard = ledger.Heard()

    def _intend(self, batch: Iterable[Step]) -> None:
        operations = [step.operation for step in batch]
        ledger.intend(self._db, self._target, operations, now(), self._heard, self._noted)
        self._heard = ledger.Heard()

    def settle(self, steps: Iterable[Step]) -> None:
        """Writes down what the server was found to hold already, and where."""
        steps = list(steps)
        places = {step.wanted.key: self._holdings.places.id(step.wanted.key) for step in steps}
        chosen = {key: server_id for key, server_id in places.items() if server_id is not None}
        ledger.settle(self._db, self._target, [(step.operation, step.version) for step in steps], chosen)

    def _sent(self, batch: Sequence[Step], guarded: bool) -> list[Done]:
        guard = NEVER if guarded else None
        if self.transactions:
            answer = self._client.transaction(self._entries.transaction(batch, guard))
            return self._entries.done(answer, batch)
        return [self._alone(step, guard) for step in batch]

    def _alone(self, step: Step, guard: str | None) -> Done:
        body, kind = self._entries.body(step), step.wanted.type
        if new := self._entries.creates(step):
            answer = self._client.create(kind, body, if_none_exist=self._entries.condition(step))
        else:
            own = self._holdings.places.id(step.wanted.key) or step.wanted.id
            answer = self._client.put(kind, own, body, if_match=step.version or guard)
        if answer.status in (409, 412):
            raise Declined(answer.status, (), f"{kind}/[id]: the server says {answer.status}")
        if new and answer.id is None:
            raise Unusable("shape", f"{kind}: the server does not say which id it chose")
        if answer.version is None:  # a success that says nothing of what it did may be a proxy's
            raise Unusable("shape", f"{kind}: the server does not say which version it wrote")
        return Done(answer.id if new else None, answer.version, found=new and answer.status != 201)

    def _settled(self, batch: Sequence[Step], done: Sequence[Done]) -> list[Step]:
        """Takes down what was written; gives what was found there instead, and may say something else."""
        places = {}
        for step, one in zip(batch, done, strict=True):
            if one.server_id is not None:
                places[step.wanted.key] = one.server_id
                self._holdings.places.learn(step.wanted.key, one.server_id)
        written = [
            (step.operation, one.version) for step, one in zip(batch, done, strict=True) if not one.found
        ]
        self._heard = ledger.Heard(written, places)
        if not self.transactions:  # a Provenance follows, and is owed until the ledger says so
            self.write_down()
        return [step for step, one in zip(batch, done, strict=True) if one.found]

    def _again(self, batch: list[Step], ours: list[Step], race: bool) -> tuple[list[Step], list[Step]]:
        """What is still to be done, as the server stands now, and what it is found to hold.

        A Provenance speaks of what its own push has written, so it is made again for what is left, and for
        `ours`: what is there without its Provenance, and came from us, since nobody else was seen.
        """
        self.write_down()
        steps = self._decider.again(batch)
        self._require_plan(batch, steps)
        if foreign := [step for step in steps if step.action == CONFLICT]:
            self._refuse(foreign)
        found = [step for step in steps if step.action == UNCHANGED]
        left = [step for step in steps if step.action not in (UNCHANGED, LEFT)]
        self.settle(found)
        ours += [] if race else [old for old, new in zip(batch, steps, strict=True) if new in found]
        withdrawn = [step for step in left if step.wanted.type == "Provenance"]
        if not withdrawn or len(batch) == 1:
            return left, found
        ledger.withdraw(self._db, self._target, [step.operation for step in withdrawn])
        mine = [step for step in ours if any(_speaks_of(one, step) for one in withdrawn)]
        made = self._with_provenance([*mine, *(step for step in left if step not in withdrawn)])
        return [step for step in made if step not in mine], found

    def _require_plan(self, batch: Sequence[Step], steps: Sequence[Step]) -> None:
        """Raises UsageError where something else now stands where the plan saw nothing."""
        for old, new in zip(batch, steps, strict=True):
            planned = self._plan_hash is not None and new.wanted.type != "Provenance"
            if planned and (old.action, new.action) == (CREATE, UPDATE):
                raise UsageError(
                    f"the plan is no longer {self._plan_hash}: {new.wanted.place} is there meanwhile and "
                    "says something else; look at it again before --apply"
                )


def now() -> str:
    """The present moment as FHIR writes an instant; only a Provenance and the ledger ever hold it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_race(error: Exception, guarded: bool) -> bool:
    """A version has changed since it was read; a guard may be refused with 404 as well."""
    return isinstance(error, Declined) and (error.is_conflict or (guarded and error.status == 404))


def _versions(batch: Iterable[Step]) -> set[tuple[Key, str | None]]:
    return {(step.wanted.key, step.version) for step in batch}


def _was_never_there(batch: Sequence[Step], done: Sequence[Done]) -> bool:
    """Whether all that is new came in a first version: so it was the guard that was refused.

    A later one says that something was there and was deleted, which a guard is refused for rightly. Where
    versions are no numbers nothing can be told, and the guard is tried with each request.
    """
    new = [one.version for step, one in zip(batch, done, strict=True) if not step.held]
    return bool(new) and all(version == "1" for version in new)


def _speaks_of(provenance: Step, step: Step) -> bool:
    """Whether a result is among what a Provenance is about."""
    targets = msgspec.json.decode(provenance.body)["target"]
    return step.wanted.derived and {"reference": step.wanted.place} in targets


def _is_no(error: Exception) -> bool:
    """The server has said no, so nothing was done; of any other failure that is unknown."""
    return isinstance(error, Declined) and error.status < 500
