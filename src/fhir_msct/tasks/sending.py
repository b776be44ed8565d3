"""Bringing a server to hold what was decided: write down the intent, send, read back.

Whatever happens in between (a crash, an answer that never came, somebody else's change), the server is
asked what it holds and the decision is taken again; so each resource is written once, or not at all. Of
what a server refuses, everything else still lands.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fhir_msct.archive import ledger
from fhir_msct.archive.request_log import Sent
from fhir_msct.client.failures import Declined
from fhir_msct.errors import Conflict, MappingError
from fhir_msct.mapping import gate, lineage
from fhir_msct.tasks.batches import batches
from fhir_msct.tasks.deciding import CREATE, UNCHANGED, Decider, Step, Wanted
from fhir_msct.tasks.delivering import Delivery, now
from fhir_msct.tasks.refusing import Refusals, may_be_one_entry, may_be_the_ids

LARGEST = 100
"""Entries of one transaction."""


class Sender:
    """Sends the steps of one study to one server."""

    def __init__(
        self,
        decider: Decider,
        *,
        protocol: str,
        own: Path | None,
        plan_hash: str | None = None,
        sent: list[Sent] | None = None,
    ) -> None:
        """`protocol`: hash of plan and mappings; `own`: the study's own mappings folder.

        `plan_hash`: of the plan that is carried out, where no other may be. `sent`: the requests that are in
        no log yet; each intent writes them down.
        """
        self.decider, self.protocol, self.own = decider, protocol, own
        self.client, self.db, self.target = decider.client, decider.db, decider.target
        self.holdings = decider.holdings
        self.delivery = Delivery(decider, self._with_provenance, self.refuse, plan_hash, sent)
        self.refusals = Refusals(self.db, self.target)

    def check(self, steps: Iterable[Step]) -> None:
        """Raises MappingError naming the first resource that is not valid FHIR, before anything is sent."""
        for step in steps:
            if problems := gate.check(step.body, self.own):
                raise MappingError(
                    f"{step.wanted.place} ({step.wanted.label}) would not be valid FHIR, "
                    f"so nothing of its transaction was sent: {'; '.join(problems[:3])}"
                )

    def send(self, steps: Sequence[Step]) -> Iterator[list[Step]]:
        """Sends checked steps in their order; yields what was written of them, with its Provenance.

        The last of it is in the ledger when this has ended, however it ends.

        What is refused alone is in `refusals` afterwards, and everything else is sent. Raises Conflict
        where the server turns out to hold something that is not ours, Declined where it refuses
        everything, Unreachable or ServerFailed where it could not be done to the end: running it again
        goes on from there.
        """
        results = [step for step in steps if step.wanted.derived]
        prepared = self._prepared(results)
        try:
            for part in batches((step for step in steps if not step.wanted.derived), LARGEST):
                yield from self._bring(part)
            self.refusals.require_ground(self.client.origin)
            left = [step for step in results if not self.refusals.hold_back(step)]
            for part, batch in prepared if left == results else self._prepared(left):
                yield from self._bring(part, batch)
        finally:
            self.delivery.write_down()

    def _prepared(self, results: Sequence[Step]) -> list[tuple[list[Step], list[Step]]]:
        """Results packed into transactions, each with the batch that is sent of it (none, without them).

        Made before anything is sent: a Provenance that is not valid FHIR stops all of it.
        """
        makes = self.delivery.transactions
        return [(part, self._with_provenance(part) if makes else []) for part in _packed(results)]

    def resolve(self) -> None:
        """Ends what an interrupted push began: whether it arrived is asked of the server."""
        known = ledger.entries(self.db, self.target)
        intents = {key: entry for key, entry in known.items() if entry.state == ledger.INTENT}
        owing = ledger.owed(self.db, self.target)
        found = self.holdings.look([self.holdings.remembered(key) for key in intents])
        for key, entry in intents.items():
            held, place = found.get(key), self.holdings.places.id(key)
            operation = ledger.Operation(*key, entry.sha256, entry.goal)
            if held is not None and self.decider.digest(held.body) == entry.sha256:
                places = {key: place} if place else None
                ledger.settle(self.db, self.target, [(operation, held.version)], places)
            elif held is None and key[0] == "Provenance" and key[1] not in {one.id for one in owing}:
                ledger.withdraw(self.db, self.target, [operation])
        for owed in owing:
            self.delivery.transactions = self.holdings.ability.transactions is True  # else nothing were owed
            self._follow(owed)

    def _follow(self, owed: ledger.Owed) -> None:
        """Sends a Provenance after its result, if that arrived; else it will go with it, made anew."""
        key = ("Observation", owed.about)
        held = self.holdings.fetch([key]).get(key)
        entry = ledger.entry(self.db, self.target, key)
        arrived = held is not None and (
            self.decider.digest(held.body) == owed.sha256
            or (entry is not None and entry.state == ledger.APPLIED)
        )
        if not arrived:
            ledger.withdraw(self.db, self.target, [ledger.Operation("Provenance", owed.id, "")])
            return
        for step in self.decider.again([self._new(Wanted("Provenance", owed.id, owed.body, "of 1 result"))]):
            if step.action == UNCHANGED:
                self.delivery.settle([step])
            else:
                self._provide(step)

    def refuse(self, steps: Sequence[Step]) -> None:
        """Writes down the conflicts and raises Conflict naming the first ones."""
        ledger.conflict(self.db, self.target, [step.operation for step in steps])
        if doubled := self.holdings.doubled:
            several = "; ".join(" and ".join(places) for places in list(doubled.values())[:3])
            raise Conflict(
                f"{self.client.origin} holds {len(doubled)} of our resources more than once ({several}): two "
                "pushes at the same time, or a copy; set all but one to entered-in-error, then push again"
            )
        named = ", ".join(self.holdings.places.place(step.wanted.key) for step in steps[:3])
        raise Conflict(
            f"{self.client.origin} holds {len(steps)} resources under our ids that do not carry our tag "
            f"({named}): they were not overwritten; find out whose they are, or change [study] id"
        )

    def differing(self, steps: Sequence[Step]) -> list[str]:
        """Reads back what was written: the resources that do not say what was sent.

        On a server that chooses ids it is also searched for; raises Conflict for what is there twice.
        """
        found = self.holdings.derived() if len(steps) > 1 else {}
        if self.holdings.assigns:
            found |= self.holdings.seek([step.wanted for step in steps if step.wanted.key not in found])
            if twice := [step for step in steps if step.wanted.key in self.holdings.doubled]:
                self.refuse(twice)
        equal = {
            step.wanted.key
            for step in steps
            if (one := found.get(step.wanted.key)) and self.decider.digest(one.body) == step.sha256
        }
        left = [step for step in steps if step.wanted.key not in equal]  # a search may be behind
        held = self.holdings.fetch([step.wanted.key for step in left])
        return [
            self.holdings.places.place(step.wanted.key)
            for step in left
            if (one := held.get(step.wanted.key)) is None or self.decider.digest(one.body) != step.sha256
        ]

    # --- one part after another, and what becomes of a refused one ----------------------------------------

    def _bring(self, part: list[Step], ready: list[Step] | None = None) -> Iterator[list[Step]]:
        """Sends a part; of one that is refused its halves, down to the single resource that is.

        `ready` is the batch of the whole part, if nothing of it turns out to be kept back.
        """
        left = [part]
        while left:
            piece = [step for step in left.pop() if not self.holdings.kept_back(step.wanted)]
            if not piece:
                continue
            if len(piece) > 1 and not self.delivery.transactions:
                left += [[step] for step in reversed(piece)]
                continue
            batch = ready if ready and piece == part else self._with_provenance(piece)
            try:
                delivered = self._deliver(batch)
            except Declined as error:
                if self._other_way(error, piece):
                    left.append(piece)
                    continue
                if not may_be_one_entry(error):
                    raise
                ledger.withdraw(self.db, self.target, _provenances(batch))
                if len(piece) > 1:
                    half = len(piece) // 2
                    left += [piece[half:], piece[:half]]
                elif self.refusals.add(piece[0], error) and left:
                    left = [one for one in (left[0][:-1], *left[1:], left[0][-1:]) if one]
            else:
                self.refusals.landed(delivered)
                if delivered:
                    yield delivered

    def _other_way(self, error: Declined, piece: Sequence[Step]) -> bool:
        """Whether the refusal says how this server wants it: it chooses ids, or takes no transactions."""
        ability = self.holdings.ability
        if error.status in (404, 405, 501) and ability.transactions is None and self.delivery.transactions:
            self.delivery.transactions = False
            return True
        known = ledger.entries(self.db, self.target).values()
        took_ours = any(entry.state == ledger.APPLIED for entry in known)
        undecided = ability.takes_ids is None and not self.holdings.assigns and not took_ours
        if undecided and may_be_the_ids(error) and any(step.action == CREATE for step in piece):
            self.holdings.assigns = True
            return True
        return False

    def _deliver(self, batch: list[Step]) -> list[Step]:
        """All of it at once; without transactions a result, and right after it its Provenance.

        Gives the steps as they were carried out; what somebody else had done before us is not among them.
        """
        *results, last = batch
        if self.delivery.transactions or not results:
            return self.delivery.until_known(batch)
        (result,) = results
        owed = ledger.Owed(last.wanted.id, last.body, result.wanted.id, result.sha256)
        ledger.owe(self.db, self.target, owed)
        written = self.delivery.until_known([result])
        if written and written[0].sha256 == result.sha256:
            return written + self._provide(last)
        ledger.withdraw(self.db, self.target, [last.operation])
        return written + [one for step in written for one in self._provide(self._with_provenance([step])[-1])]

    def _provide(self, provenance: Step) -> list[Step]:
        """Sends a Provenance whose result is there: refused, it stays owed, and the next push tries again."""
        try:
            return self.delivery.until_known([provenance])
        except Declined as error:
            if not may_be_one_entry(error):
                raise
            self.refusals.add(provenance, error)
            return []

    def _with_provenance(self, piece: Sequence[Step]) -> list[Step]:
        """The steps, each group of results followed by its Provenance; raises as `check` does."""
        batch = [step for step in piece if not step.wanted.derived]
        for (subject, retracted), mine in _groups(piece).items():
            batch += [*mine, self._provenance(mine, subject, retracted=retracted)]
        self.check(step for step in batch if step.wanted.type == "Provenance")
        return batch

    def _provenance(self, steps: Sequence[Step], subject: str, *, retracted: bool) -> Step:
        targets = [
            lineage.Target(
                step.wanted.id,
                step.sha256,
                step.wanted.sources,
                f"{step.wanted.place}/_history/{step.version}" if step.version else "",
            )
            for step in steps
        ]
        own = lineage.provenance_id(self.decider.study, targets, retracted)
        before = ledger.entry(self.db, self.target, ("Provenance", own))
        body = lineage.provenance(
            self.decider.study,
            targets,
            recorded=(before.first_sent if before else None) or now(),
            protocol=self.protocol,
            retracted=retracted,
        )
        return self._new(Wanted("Provenance", own, body, f"of {len(steps)} results", subject))

    def _new(self, wanted: Wanted) -> Step:
        return Step(CREATE, wanted, wanted.body, self.decider.digest(wanted.body))


def _groups(steps: Iterable[Step]) -> dict[tuple[str, bool], list[Step]]:
    """Results of one subject, which share a Provenance; those that are taken back have their own."""
    groups: dict[tuple[str, bool], list[Step]] = {}
    for step in steps:
        if step.wanted.derived:
            groups.setdefault((step.wanted.subject, step.wanted.retract), []).append(step)
    return groups


def _packed(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Groups packed into transactions, each with room for the Provenance that goes with it."""
    part: list[Step] = []
    size = 0
    for group in _groups(steps).values():
        for some in batches(group, LARGEST - 1):
            if part and size + len(some) + 1 > LARGEST:
                yield part
                part, size = [], 0
            part, size = [*part, *some], size + len(some) + 1
    if part:
        yield part


def _provenances(batch: Iterable[Step]) -> list[ledger.Operation]:
    return [step.operation for step in batch if step.wanted.type == "Provenance"]
