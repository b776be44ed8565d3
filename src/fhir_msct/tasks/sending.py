"""Bringing a server to hold what was decided: write down the intent, send, read back.

Whatever happens in between (a crash, an answer that never came, somebody else's change), the server is
asked what it holds and the decision is taken again; so each resource is written once, or not at all.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Raw

from fhir_msct.archive import ledger
from fhir_msct.client.bundle import etag_version
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.errors import Conflict, MappingError, ServerFailed, Unreachable
from fhir_msct.mapping import gate, lineage
from fhir_msct.records import Resource
from fhir_msct.tasks.deciding import CONFLICT, CREATE, UNCHANGED, Decider, Step, Wanted

LARGEST = 100
"""Entries of one transaction."""

TRIES = 5
"""How often a transaction is decided again when the server changes under our hands."""

GUARDED = 3
"""How many of these tries name a version that no resource has, where none may be there yet."""

_NEVER = "0"
""""If-Match" with it creates what is absent and never overwrites, on every server that was measured; one that
wants the resource to be there (RFC 9110) says 404 or 412, and gets the rest of the tries without it."""


class Sender:
    """Sends the steps of one study to one server."""

    def __init__(self, decider: Decider, *, protocol: str, own: Path | None) -> None:
        """`protocol`: hash of plan and mappings; `own`: the study's own mappings folder."""
        self.decider, self.protocol, self.own = decider, protocol, own
        self.client, self.db, self.target = decider.client, decider.db, decider.target
        self.guards = True

    def check(self, steps: Iterable[Step]) -> None:
        """Raises MappingError naming the first resource that is not valid FHIR, before anything is sent."""
        for step in steps:
            if problems := gate.check(step.body, self.own):
                raise MappingError(
                    f"{step.wanted.place} ({step.wanted.label}) would not be valid FHIR, "
                    f"so nothing of its transaction was sent: {'; '.join(problems[:3])}"
                )

    def send(self, steps: Sequence[Step]) -> Iterator[list[Step]]:
        """Sends checked steps in their order, in transactions; yields what each has written.

        Raises Conflict where the server turns out to hold something that is not ours, Unreachable or
        ServerFailed where it could not be done to the end: running it again goes on from there.
        """
        for batch in _batches(self._groups(steps)):
            yield self._transact(batch)

    def settle(self, steps: Iterable[Step]) -> None:
        """Writes down what the server was found to hold already."""
        ledger.settle(self.db, self.target, [(step.operation, step.version) for step in steps])

    def resolve(self) -> None:
        """Ends what an interrupted push began: whether it arrived is asked of the server."""
        for key, entry in ledger.entries(self.db, self.target).items():
            if entry.state == ledger.INTENT:
                held = self.decider.read(key)
                operation = ledger.Operation(*key, entry.sha256, entry.goal)
                if held is not None and self.decider.digest(held.body) == entry.sha256:
                    ledger.settle(self.db, self.target, [(operation, held.version)])
                elif held is None and key[0] == "Provenance":
                    ledger.withdraw(self.db, self.target, [operation])

    def refuse(self, steps: Sequence[Step]) -> None:
        """Writes down the conflicts and raises Conflict naming the first ones."""
        ledger.conflict(self.db, self.target, [step.operation for step in steps])
        named = ", ".join(step.wanted.place for step in steps[:3])
        raise Conflict(
            f"{self.client.origin} holds {len(steps)} resources under our ids that do not carry our tag "
            f"({named}): they were not overwritten; find out whose they are, or change [study] id"
        )

    def differing(self, steps: Sequence[Step]) -> list[str]:
        """Reads back what was written: the resources that do not say what was sent."""
        return [
            step.wanted.place
            for step, one in self._held(steps)
            if one is None or self.decider.digest(one.body) != step.sha256
        ]

    def _held(self, steps: Sequence[Step]) -> list[tuple[Step, Resource | None]]:
        """Each step with what the server holds now: by one search, and by reading what it does not show."""
        ours = self.decider.ours() if len(steps) > 1 else {}
        return [(step, ours.get(step.wanted.key) or self.decider.read(step.wanted.key)) for step in steps]

    def _groups(self, steps: Sequence[Step]) -> Iterator[list[Step]]:
        """What belongs into one transaction: results of one subject, and their Provenance."""
        yield from ([step] for step in steps if not step.wanted.derived)
        places: dict[tuple[str, bool], list[Step]] = {}
        for step in steps:
            if step.wanted.derived:
                places.setdefault((step.wanted.subject, step.wanted.retract), []).append(step)
        for (subject, retracted), mine in places.items():
            for start in range(0, len(mine), LARGEST - 1):
                part = mine[start : start + LARGEST - 1]
                yield [*part, self._provenance(part, subject, retracted)]

    def _provenance(self, steps: Sequence[Step], subject: str, retracted: bool) -> Step:
        study = self.decider.study
        targets = [
            lineage.Target(
                step.wanted.id,
                step.sha256,
                step.wanted.sources,
                f"{step.wanted.place}/_history/{step.version}" if step.version else "",
            )
            for step in steps
        ]
        own = lineage.provenance_id(study, targets, retracted)
        before = ledger.entries(self.db, self.target).get(("Provenance", own))
        recorded = (before.first_sent if before else None) or now()
        body = lineage.provenance(
            study, targets, recorded=recorded, protocol=self.protocol, retracted=retracted
        )
        wanted = Wanted("Provenance", own, body, f"of {len(steps)} results", subject)
        return Step(CREATE, wanted, body, self.decider.digest(body))

    def _transact(self, batch: list[Step]) -> list[Step]:
        """What was written: less than the batch where somebody else had done it before us."""
        lost, written = 0, list[Step]()
        for tried in range(1, TRIES + 1):
            self.check(step for step in batch if step.wanted.type == "Provenance")
            operations = [step.operation for step in batch]
            ledger.intend(self.db, self.target, operations, now())
            guarded = self.guards and tried <= GUARDED
            try:
                versions = _versions(self.client.transaction(_bundle(batch, guarded)), batch)
            except (Declined, Unreachable, Unusable) as error:
                race = _is_race(error, guarded)
                if (_is_no(error) and not race) or (lost and not race):
                    raise
                lost += not race
            else:
                self.guards = guarded or (self.guards and not _has_new(batch))
                ledger.settle(self.db, self.target, zip(operations, versions, strict=True))
                return written + batch
            batch, found = self._again(batch)
            written += [] if race else found  # no answer came, and yet they are there: they are ours
            if not batch:
                return written
            if tried > 1:
                self.client.exchange.patience.sleep(self.client.exchange.patience.backoff(tried))
        raise ServerFailed(f"{self.client.origin} keeps changing under our hands: run push again")

    def _again(self, batch: list[Step]) -> tuple[list[Step], list[Step]]:
        """What is still to be done, as the server stands now, and what it is found to hold.

        A Provenance speaks of what its own push has written, so it is made again for what is left.
        """
        steps = [self.decider.step(step.wanted, held) for step, held in self._held(batch)]
        if foreign := [step for step in steps if step.action == CONFLICT]:
            self.refuse(foreign)
        found = [step for step in steps if step.action == UNCHANGED]
        left = [step for step in steps if step.action != UNCHANGED]
        self.settle(found)
        withdrawn = [step for step in left if step.wanted.type == "Provenance"]
        ledger.withdraw(self.db, self.target, [step.operation for step in withdrawn])
        todo = [step for step in left if step not in withdrawn]
        return [step for group in self._groups(todo) for step in group], found


def now() -> str:
    """The present moment as FHIR writes an instant; only a Provenance and the ledger ever hold it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_race(error: Exception, guarded: bool) -> bool:
    """A version has changed since it was read: 409 on most servers, 412 on others."""
    return isinstance(error, Declined) and error.status in ((404, 409, 412) if guarded else (409, 412))


def _is_no(error: Exception) -> bool:
    """The server has said no, so nothing was done; of any other failure that is unknown."""
    return isinstance(error, Declined) and error.status < 500


def _has_new(batch: Iterable[Step]) -> bool:
    return any(step.version is None for step in batch)


def _batches(groups: Iterable[list[Step]]) -> Iterator[list[Step]]:
    """Groups packed into transactions, in order; what others refer to is sent before them, alone."""
    batch: list[Step] = []
    for group in groups:
        if batch and (len(batch) + len(group) > LARGEST or _is_derived(batch) != _is_derived(group)):
            yield batch
            batch = []
        batch = [*batch, *group]
    if batch:
        yield batch


def _is_derived(group: Sequence[Step]) -> bool:
    return group[0].wanted.derived


def _bundle(batch: Iterable[Step], guarded: bool) -> bytes:
    entries = []
    for step in batch:
        request = {"method": "PUT", "url": step.wanted.place}
        if step.version or guarded:
            request["ifMatch"] = f'W/"{step.version or _NEVER}"'
        entries.append({"resource": Raw(step.body), "request": request})
    return msgspec.json.encode({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def _versions(answer: bytes, batch: Sequence[Step]) -> list[str | None]:
    """The new version of each entry, matched by position and location; Unusable where they disagree."""
    tree = json.loads(answer)
    responses = [entry.get("response") or {} for entry in tree.get("entry") or ()]
    if len(responses) != len(batch):
        raise Unusable("shape", "[transaction]: the answer has another number of entries")
    versions = []
    for step, response in zip(batch, responses, strict=True):
        location = str(response.get("location") or step.wanted.place)
        if step.wanted.place not in location or not str(response.get("status", "")).startswith("2"):
            raise Unusable("shape", f"[transaction]: no answer that fits {step.wanted.place}")
        versions.append(location.partition("/_history/")[2] or etag_version(response.get("etag")))
    return versions
