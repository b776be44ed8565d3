"""One schedule of pushes to a server that misbehaves, and what that server must hold after it.

The results of the small trial are pushed again and again while they change, while answers are lost, while
the process dies and while others write to the same server. `pushed(seed)` plays it; it raises
AssertionError where a promise is broken.
"""

import itertools
import json
import random
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx
import msgspec

from faults.chaos import ON_WIRE, TOKEN, Chaos, Killed
from faults.model import BASE, Key, ModelServer
from faults.searching import scratch
from fhir_msct.archive.digest import digest
from fhir_msct.archive.store import Archive
from fhir_msct.client.rest import Client
from fhir_msct.errors import Conflict, MsctError
from fhir_msct.mapping import lineage, outgoing
from fhir_msct.tasks.ability import Ability
from fhir_msct.tasks.deciding import Wanted
from fhir_msct.tasks.push import PushReport, bring
from lib.virtual_time import VirtualTime

STUDY, UCUM = "small", "http://unitsofmeasure.org"
SETTLING = 6


@cache
def results(study: str = STUDY, people: tuple[str, ...] = ("anna", "bert")) -> tuple[Wanted, ...]:
    """What the server shall hold: the tool, the study, and six results of each of two people."""
    tool = Wanted("Device", outgoing.device_id(study), lineage.device(study, "1.0"), "the tool")
    about = lineage.research_study(study, "a study")
    own = Wanted("ResearchStudy", outgoing.research_study_id(study), about, "the study")
    return (tool, own, *(_result(study, who, number) for who in people for number in range(6)))


def _result(study: str, who: str, number: int) -> Wanted:
    own = outgoing.identity(study, who, number)
    tags = [{"system": outgoing.TAGS, "code": outgoing.DERIVED}]
    source = f"Observation/{who}-ck-{number}/_history/2"
    body = {
        "resourceType": "Observation",
        "id": own,
        "meta": {"tag": tags},
        "identifier": [{"system": outgoing.system(study), "value": own}],
        "status": "final",
        "code": {"coding": [{"system": "urn:fhir-msct:codes", "code": "CHG_CK"}]},
        "subject": {"reference": f"Patient/{who}"},
        "issued": "2024-08-30T16:00:00+08:00",
        "valueQuantity": {"value": 100 + number, "unit": "U/L", "system": UCUM, "code": "U/L"},
        "device": {"reference": f"Device/{outgoing.device_id(study)}"},
        "derivedFrom": [outgoing.reference(source)],
    }
    return Wanted(
        "Observation", own, json.dumps(body).encode(), f"CHG_CK {who}", who, (source,), derived=True
    )


class PushChaos(Chaos):
    """Also watches that nothing is written after a write without an answer, before the server was asked."""

    def __init__(self, server: ModelServer, chance: random.Random) -> None:
        super().__init__(server, chance, token=TOKEN)
        self._in_doubt = False

    def again(self, *, limit: int = 4000) -> None:
        super().again(limit=limit)
        self._in_doubt = False

    def _handled(self, request: httpx.Request) -> httpx.Response:
        writes = _writes(request)
        if writes and self._in_doubt:
            self.leaks.append("written again before anybody looked what had become of it")
        self._in_doubt = writes
        response = super()._handled(request)
        self._in_doubt = writes and self.fault == "reset-mid-body"
        return response


class Pushes:
    """One seed, played."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(f"push {seed}")
        self.time, self.folder = VirtualTime(), scratch()
        self.server = ModelServer(self.time, morning=datetime(2024, 6, 30, 8, tzinfo=UTC))
        self.chaos = PushChaos(self.server, chance)
        self.server.paged = self.chaos.paged  # type: ignore[method-assign]
        self.server.stale_status = chance.choice([409, 412])
        self.server.strips_versions = chance.random() < 0.5
        self.server.bare_etags = chance.random() < 0.5
        self.server.knows_tags = chance.random() < 0.8
        always = [one for one in results() if not one.derived]
        derived = [one for one in results() if one.derived]
        self.all = [*always, *chance.sample(derived, chance.randrange(2, 7))]
        self.shall = list(self.all)
        self.foreign: dict[Key, bytes] = {}
        self.outcomes: list[str] = []
        self.poison = ""
        """The identifier of a result that the server never takes."""
        self.ability = self._abilities()
        self.server.refuses = lambda tree: bool(self.poison) and self.poison in _identifiers_of(tree)

    def _abilities(self) -> Ability:
        """What the server can do, and what of it its CapabilityStatement says."""
        chance, server = self.chance, self.server
        server.takes_ids = chance.random() < 0.7
        server.takes_transactions = chance.random() < 0.8
        server.takes_batches = chance.random() < 0.8
        said = chance.random() < 0.6
        return Ability(
            transactions=server.takes_transactions if said else None,
            batches=server.takes_batches if said else None,
            takes_ids=server.takes_ids if said else None,
        )

    def play(self) -> None:
        """Bad days, then a good one; raises AssertionError where a promise is broken."""
        if self.chance.random() < 0.1:
            self._foreign()
        elif self.chance.random() < 0.3:
            self.poison = self.chance.choice([one.id for one in self.all if one.derived])
        for _ in range(self.chance.randrange(1, 4)):
            calm = self._bad_day()
            self.push()
            kept_changing = "keeps changing" in self.outcomes[-1]
            assert not calm or kept_changing or self.outcomes[-1] in ("applied", "Conflict"), self.outcomes
            self._change()
        self.chaos.heal()
        self.poison = self.poison if self.chance.random() < 0.5 else ""
        if self.foreign:
            self.push()
            found = any(one.key in self.foreign for one in self.shall)
            assert (self.outcomes[-1] == "Conflict") == found, self.outcomes
        else:
            self._settled()
            self._check_held()
        self._check_history()
        assert self.chaos.leaks == [], self.chaos.leaks

    def _bad_day(self) -> bool:
        """What goes wrong in the next push; gives whether it is nothing but other people's edits."""
        chance, chaos = self.chance, self.chaos
        usable = [*(kind for kind in ON_WIRE if kind != "401"), "no-next", "answer-lost", "answer-lost"]
        chaos.kinds = tuple(chance.sample(usable, chance.randrange(1, 8)))
        chaos.rate = chance.choice([0.1, 0.3, 0.3, 0.6])
        chaos.zip = chance.random() < 0.3
        chaos.until_killed = chance.choice([None, chance.randrange(12), chance.randrange(60)])
        busy = chance.choice([0.0, 0.0, 0.2])
        chaos.meanwhile = lambda: self._other() if chance.random() < busy else None
        if calm := chance.random() < 0.2:
            chaos.kinds, chaos.until_killed, busy = (), None, 0.2
        return calm

    def push(self) -> PushReport | None:
        """One process; its report, where it lived to give one."""
        self.chaos.again(limit=600)
        patience = msgspec.structs.replace(self.time.patience(), chance=self.chance.random)
        report, before = None, dict(self.server.held)
        try:
            with (
                Archive.open(self.folder, create=True) as archive,
                Client(BASE, transport=self.chaos, token=TOKEN, patience=patience) as client,
            ):
                report = bring(
                    client,
                    archive.connection,
                    STUDY,
                    self.shall,
                    protocol="0" * 64,
                    ability=self.ability,
                    apply=True,
                    say=lambda line: self.chaos.point(),
                )
            self.outcomes.append("applied")
        except Killed:
            self.outcomes.append("killed")
        except Conflict:
            assert self.foreign, "a conflict, though everything under our ids is ours"
            assert self.server.held == before or self.chaos.struck["other"], "written in spite of a conflict"
            self.outcomes.append("Conflict")
        except MsctError as error:
            self.outcomes.append(f"{type(error).__name__}: {error}")
        return report

    def _settled(self) -> None:
        """Pushes until one finds nothing to write; the one before it read back what it wrote."""
        for _ in range(SETTLING):
            report = self.push()
            if report is not None and report.written == report.retracted == 0:
                refused = [line.partition(" ")[0] for line in report.refused]
                assert set(refused) <= {f"Observation/{self.poison}"}, f"refused without need: {refused}"
                return
            assert report is None or report.differing == (), "read back, and not as it was sent"
        raise AssertionError(f"never done, though the server behaves: {self.outcomes}")

    # --- what else happens ------------------------------------------------------------------------------

    def _change(self) -> None:
        """Results that changed, are no longer produced, or are produced again."""
        changed = []
        for one in self.all:
            if one.derived and self.chance.random() < 0.3:
                one = msgspec.structs.replace(one, body=changed_result(one.body, self.chance))
            changed.append(one)
        self.all = changed
        self.shall = [one for one in self.all if not one.derived or self.chance.random() < 0.8]

    def _foreign(self) -> None:
        """Somebody else's resource sits under one of our ids."""
        one = self.chance.choice([one for one in self.all if one.derived])
        tree = {**json.loads(one.body), "meta": {}, "status": "final"}
        self.server.write(tree)
        self.foreign[one.key] = self.server.held[one.key]

    def _other(self) -> None:
        """A colleague edits a resource of ours, or somebody writes one that is none of our business."""
        mine = sorted(key for key in self.server.held if key[0] == "Observation" and key not in self.foreign)
        self.chaos.struck["other"] += 1
        can_be_found = self.server.knows_tags and not self.server.takes_ids
        if can_be_found and self.chance.random() < 0.2:
            self._rival()
        elif mine and self.chance.random() < 0.7:
            tree = self.server.tree(self.chance.choice(mine))
            self.server.write({**tree, "note": [{"text": f"seen {self.chance.randrange(1000)}"}]})
        else:
            self.server.write({"resourceType": "Observation", "id": f"x{self.chance.randrange(50)}"})

    def _rival(self) -> None:
        """Another push of the study brings a result that is not there yet, under an id of the server."""
        held = {name for body in self.server.held.values() for name in _identifiers(body)}
        absent = [one for one in self.all if one.derived and one.id not in held | {self.poison}]
        if absent and not self.foreign:
            one = self.chance.choice(absent)
            tree = json.loads(_renamed(one.body, self._places()))
            new = {"id": f"r{len(self.server.history)}", "issued": "2024-08-30T16:00:00Z"}
            self.server.write({**tree, **new})

    # --- what must be true ------------------------------------------------------------------------------

    def _places(self) -> dict[str, str]:
        """Where on the server each resource of ours is, by our own name."""
        names = {"small": outgoing.research_study_id(STUDY)}
        found: dict[str, str] = {}
        for (kind, own), body in self.server.held.items():
            if outgoing.tags(json.loads(body)):
                name = next(iter((*_identifiers(body), *_own_tags(body))), own)
                place = f"{kind}/{names.get(name, name)}"
                assert place not in found, f"{place} is there twice: {found[place]} and {kind}/{own}"
                found[place] = f"{kind}/{own}"
        return found

    def _check_held(self) -> None:
        """Each result is there once, by whatever id; only what the server never takes may be missing."""
        here = {there: place for place, there in self._places().items()}
        ours: dict[Key, bytes] = {}
        for key, body in self.server.held.items():
            if place := here.get("/".join(key)):
                kind, own = place.split("/")
                tree = {**json.loads(_renamed(body, here)), "id": own}
                ours[kind, own] = json.dumps(tree).encode()
        refused = ours.pop(("Observation", self.poison), None)
        assert refused is None or outgoing.tags(json.loads(refused))
        check_held(ours, [one for one in self.shall if one.id != self.poison], BASE)

    def _check_history(self) -> None:
        """No version without a cause, and nothing of anybody else was touched."""
        for key, history in self.server.history.items():
            for before, after in itertools.pairwise(history):
                if after.ours and before.body is not None and after.body is not None:
                    same = digest(before.body, BASE) == digest(after.body, BASE)
                    assert not same, f"{key}: a version that says the same again"
            if any(one.ours for one in history):
                assert key not in self.foreign, f"{key} of somebody else was overwritten"
        assert self.server.blindly == [], f"overwritten unread: {self.server.blindly}"
        for key, body in self.foreign.items():
            assert self.server.held[key] == body, f"{key} of somebody else has changed"


def changed_result(body: bytes, chance: random.Random) -> bytes:
    """A result as it is computed from other data."""
    tree = json.loads(body)
    tree["issued"] = f"2024-08-30T16:{chance.randrange(60):02}:00+08:00"
    tree["valueQuantity"]["value"] = chance.randrange(1, 2000)
    return json.dumps(tree).encode()


def check_held(ours: Mapping[Key, bytes], wanted: Sequence[Wanted], base: str) -> None:
    """Each result is there once and says what it shall; what is no longer produced is taken back.

    `ours` is what a server at `base` holds under our tags.
    """
    shall = {one.key: one for one in wanted}
    for key, one in shall.items():
        assert key in ours, f"{key} is lost"
        assert _said(ours[key], base) == _said(one.body, base), f"{key} says something else"
    extra = [key for key in ours if key[0] == "Observation" and key not in shall]
    for key in extra:
        status = json.loads(ours[key])["status"]
        assert status == "entered-in-error", f"{key} is no longer produced and is not taken back"
    named = [_identifiers(body) for key, body in ours.items() if key[0] == "Observation"]
    assert len(named) == len(set(named)), "one result under two ids"
    told = {
        _place(target) for key, body in ours.items() if key[0] == "Provenance" for target in _targets(body)
    }
    untold = [key for key in ours if key[0] == "Observation" and "/".join(key) not in told]
    assert untold == [], f"results without Provenance: {untold}"


def pushed(seed: int) -> Pushes:
    """The schedule of a seed, played to its end; raises AssertionError where a promise is broken."""
    schedule = Pushes(seed)
    try:
        schedule.play()
        return schedule
    finally:
        shutil.rmtree(schedule.folder, ignore_errors=True)


def _writes(request: httpx.Request) -> bool:
    """Whether a request changes anything: a batch of ours only reads."""
    asks = request.url.path.endswith("/_search") or b'"type":"batch"' in request.read()
    return request.method in ("PUT", "DELETE") or (request.method == "POST" and not asks)


def _said(body: bytes, base: str) -> str:
    """What a result says, whatever settled status it says it with."""
    status = json.loads(body).get("status")
    return digest(outgoing.with_status(body, "final") if status in outgoing.SETTLED else body, base)


def _identifiers(body: bytes) -> tuple[str, ...]:
    return _identifiers_of(json.loads(body))


def _identifiers_of(tree: dict[str, Any]) -> tuple[str, ...]:
    return tuple(one["value"] for one in tree.get("identifier", []))


def _own_tags(body: bytes) -> tuple[str, ...]:
    """The tags that name one resource, where it has no identifier."""
    tags = json.loads(body).get("meta", {}).get("tag", [])
    return tuple(one["code"] for one in tags if one.get("system") == outgoing.system(STUDY))


def _renamed(body: bytes, names: Mapping[str, str]) -> bytes:
    """A resource with its references under other names."""
    return re.sub(
        rb'("reference": ?")([A-Za-z]+/[A-Za-z0-9.-]+)',
        lambda found: found[1] + names.get(found[2].decode(), found[2].decode()).encode(),
        body,
    )


def _targets(body: bytes) -> Sequence[Any]:
    return json.loads(body)["target"]  # type: ignore[no-any-return]


def _place(target: dict[str, Any]) -> str:
    return str(target["reference"]).partition("/_history/")[0]
