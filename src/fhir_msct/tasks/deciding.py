"""What has to be written to a server so that it holds what we want it to hold, as it stands now.

Deciding reads and never writes, so it can be done again whenever the server may have changed. Only
resources that carry our tag are ever touched.
"""

from collections.abc import Callable, Iterable
from sqlite3 import Connection

import msgspec
from msgspec import Struct

from fhir_msct.archive import ledger
from fhir_msct.client.failures import Declined
from fhir_msct.client.rest import Client
from fhir_msct.mapping import outgoing
from fhir_msct.records import Resource

CREATE, UPDATE, RETRACT, UNCHANGED, CONFLICT = "create", "update", "retract", "unchanged", "conflict"

PAGE = "100"

Key = tuple[str, str]


class Wanted(Struct, frozen=True):
    """What one resource on the server shall say."""

    type: str
    id: str
    body: bytes
    label: str = ""
    """What it is about, for the plan: endpoint, subject, course, visit."""
    subject: str = ""
    sources: tuple[str, ...] = ()
    derived: bool = False
    """Whether a Provenance goes with it."""
    retract: bool = False
    """Whether it shall be taken back; `body` is then what the server holds."""

    @property
    def key(self) -> Key:
        """Type and id."""
        return self.type, self.id

    @property
    def place(self) -> str:
        """Type and id, as FHIR writes them."""
        return f"{self.type}/{self.id}"


class Step(Struct, frozen=True):
    """What has to be done for one resource."""

    action: str
    wanted: Wanted
    body: bytes
    sha256: str
    version: str | None = None
    """The version the server holds now."""

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

    def __init__(self, client: Client, db: Connection, study: str) -> None:
        self.client, self.db, self.study = client, db, study
        self.target = client.base_url

    def decide(self, wanted: Iterable[Wanted]) -> list[Step]:
        """A step for each resource that is wanted, and for each of ours that is wanted no longer."""
        wanted = list(wanted)
        ours = self.ours()
        keys = {one.key for one in wanted}
        steps = [self.step(one, ours.get(one.key) or self.read(one.key)) for one in wanted]
        for key, resource in sorted(self._known(ours).items()):
            if key not in keys:
                step = self.step(_retracted(resource, key), resource)
                steps += [step] if step.action == RETRACT else []
        return steps

    def step(self, wanted: Wanted, held: Resource | None) -> Step:
        """What has to be done for one resource, given what the server holds of it."""
        body = wanted.body
        if held is None:
            action = UNCHANGED if wanted.retract else CREATE
            return Step(action, wanted, body, self.digest(body))
        tree = msgspec.json.decode(held.body)
        if not outgoing.tags(tree):
            return Step(CONFLICT, wanted, body, self.digest(body), held.version)
        if wanted.retract:
            body = outgoing.with_status(held.body, "entered-in-error")
        elif wanted.derived:
            body = restated(body, held.body, self.digest, changed="amended")
        sha = self.digest(body)
        action = UNCHANGED if sha == self.digest(held.body) else RETRACT if wanted.retract else UPDATE
        return Step(action, wanted, body, sha, held.version)

    def digest(self, body: bytes) -> str:
        """The hash of what a resource says on this server."""
        return ledger.digest(body, self.target)

    def read(self, key: Key) -> Resource | None:
        """What the server holds of one resource now."""
        return self.client.read(*key)

    def ours(self) -> dict[Key, Resource]:
        """Our derived Observations as a search finds them; on a server that cannot search for tags, none.

        What a search does not show is read, so that nothing is taken for absent that is there.
        """
        asked = {"_tag": f"{outgoing.TAGS}|{outgoing.DERIVED}", "_count": PAGE}
        found: dict[Key, Resource] = {}
        try:
            for page in self.client.search("Observation", asked):
                for one in page.resources:
                    if one.id and not one.subsetted and self._is_of_study(one):
                        found[one.type, one.id] = one
        except Declined as error:
            if error.status in (401, 403):
                raise
        return found

    def _is_of_study(self, resource: Resource) -> bool:
        tree = msgspec.json.decode(resource.body)
        mine = outgoing.system(self.study)
        systems = [one.get("system") for one in tree.get("identifier") or () if isinstance(one, dict)]
        return mine in systems and outgoing.DERIVED in outgoing.tags(tree)

    def _known(self, ours: dict[Key, Resource]) -> dict[Key, Resource]:
        """Every derived Observation of the study: what was found, and what the ledger remembers."""
        known = dict(ours)
        for key, entry in ledger.entries(self.db, self.target).items():
            if key[0] == "Observation" and key not in ours and entry.state != ledger.RETRACTED:
                held = self.read(key)
                if held is not None and self._is_of_study(held):
                    known[key] = held
        return known


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


def _retracted(resource: Resource, key: Key) -> Wanted:
    tree = msgspec.json.decode(resource.body)
    codings = (tree.get("code") or {}).get("coding") or [{}]
    subject = str((tree.get("subject") or {}).get("reference") or "")
    label = str(codings[0].get("code", ""))
    return Wanted(*key, resource.body, label, subject, derived=True, retract=True)
