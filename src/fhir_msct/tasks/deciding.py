"""What has to be written to a server so that it holds what we want it to hold, as it stands now.

Deciding reads and never writes, so it can be done again whenever the server may have changed. Only
resources that carry our tag are ever touched.
"""

from collections.abc import Callable, Iterable, Sequence
from sqlite3 import Connection

import msgspec
from msgspec import Struct

from fhir_msct.archive import ledger
from fhir_msct.client.rest import Client
from fhir_msct.mapping import outgoing
from fhir_msct.records import Resource
from fhir_msct.tasks.ability import Ability
from fhir_msct.tasks.holdings import Holdings, Wanted
from fhir_msct.tasks.places import Key

__all__ = ["Decider", "Step", "Wanted", "restated"]

CREATE, UPDATE, RETRACT, UNCHANGED, CONFLICT = "create", "update", "retract", "unchanged", "conflict"
LEFT = "left"
"""A value entered by hand that was delivered, and was since corrected or taken away there: it is theirs."""


class Step(Struct, frozen=True):
    """What has to be done for one resource."""

    action: str
    wanted: Wanted
    body: bytes
    sha256: str
    version: str | None = None
    """The version the server holds now."""
    held: bool = False
    """Whether the server holds it at all."""

    @property
    def operation(self) -> ledger.Operation:
        """The step as the ledger keeps it."""
        goal = ledger.RETRACTED if self.wanted.retract else ledger.APPLIED
        return ledger.Operation(self.wanted.type, self.wanted.id, self.sha256, goal)

    @property
    def line(self) -> str:
        """The step as the plan shows it."""
        return f"{self.action} {self.wanted.place} {self.wanted.label}".rstrip()


class Decider:
    """One study's resources on one server, beside the ledger of what was sent there."""

    def __init__(self, client: Client, db: Connection, study: str, ability: Ability | None = None) -> None:
        self.client, self.db, self.study = client, db, study
        self.target = client.base_url
        self.holdings = Holdings(client, db, study, ability)

    def decide(self, wanted: Iterable[Wanted]) -> list[Step]:
        """A step for each resource that is wanted, and for each of ours that is wanted no longer."""
        wanted = list(wanted)
        held = self.holdings.survey(wanted)
        keys = {one.key for one in wanted}
        brought = [one for one in wanted if not self.holdings.kept_back(one)]
        steps = [self.step(one, held.get(one.key)) for one in brought]
        for key, resource in sorted(held.items()):
            if key not in keys:
                step = self.step(self._retracted(resource, key), resource)
                steps += [step] if step.action in (RETRACT, CONFLICT) else []
        return steps

    def again(self, steps: Sequence[Step]) -> list[Step]:
        """The same steps, decided anew by what the server holds now."""
        held = self.holdings.look([step.wanted for step in steps])
        return [self.step(step.wanted, held.get(step.wanted.key)) for step in steps]

    def step(self, wanted: Wanted, held: Resource | None) -> Step:
        """What has to be done for one resource, given what the server holds of it."""
        body = wanted.body
        if held is None:
            action = LEFT if self._delivered(wanted) else UNCHANGED if wanted.retract else CREATE
            return Step(action, wanted, body, self.digest(body))
        there = self.holdings.places.to_own(held.body)
        is_ours = bool(outgoing.tags(msgspec.json.decode(there)))
        if not is_ours or wanted.key in self.holdings.doubled:
            return Step(CONFLICT, wanted, body, self.digest(body), held.version, True)
        if wanted.retract:
            body = outgoing.with_status(there, "entered-in-error")
        elif wanted.derived:
            body = restated(body, there, self.digest, changed="amended")
        sha = self.digest(body)
        action = UNCHANGED if sha == self.digest(there) else RETRACT if wanted.retract else UPDATE
        if action == UPDATE and self._delivered(wanted):
            action = LEFT
        return Step(action, wanted, body, sha, held.version, True)

    def _delivered(self, wanted: Wanted) -> bool:
        """Whether a value entered by hand is known to have been there just as it stands here."""
        if wanted.derived or outgoing.ENTERED not in outgoing.tags(msgspec.json.decode(wanted.body)):
            return False
        entry = ledger.entry(self.db, self.target, wanted.key)
        if entry is None or entry.state != ledger.APPLIED:
            return False
        return entry.sha256 == self.digest(wanted.body)

    def digest(self, body: bytes) -> str:
        """The hash of what a resource says on this server."""
        return self.holdings.digest(body)

    def _retracted(self, resource: Resource, key: Key) -> Wanted:
        body = self.holdings.places.to_own(resource.body)
        tree = msgspec.json.decode(body)
        codings = (tree.get("code") or {}).get("coding") or [{}]
        subject = str((tree.get("subject") or {}).get("reference") or "")
        return Wanted(*key, body, str(codings[0].get("code", "")), subject, derived=True, retract=True)


def restated(body: bytes, held: bytes, digest: Callable[[bytes], str], *, changed: str) -> bytes:
    """What shall be said, with the status that fits what is there.

    FHIR wants it to be seen when a settled result says something else than it did (`changed`: amended or
    corrected); one that says the same keeps the status it has.
    """
    status = msgspec.json.decode(held).get("status")
    if status not in outgoing.SETTLED or msgspec.json.decode(body)["status"] != "final":
        return body
    same = outgoing.with_status(body, status)
    return same if digest(same) == digest(held) else outgoing.with_status(body, changed)
