"""One bad stretch between our client and a real HAPI, drawn from a seed, and what must be true after it.

`played(seed, ...)` pulls by search, pulls by `$export`, or pushes, through the fault
proxy, over real sockets and with SMART; it raises AssertionError where a promise is broken. What strikes is
a function of the seed as far as HAPI's own timing lets it be.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from faults import pushing
from faults.chaos import PAGED
from faults.model import Key
from fhir_msct.archive.store import Archive
from fhir_msct.client.connect import connect
from fhir_msct.client.scopes import Access
from fhir_msct.errors import Conflict, MsctError
from fhir_msct.mapping import outgoing
from fhir_msct.plan import Wanted
from fhir_msct.tasks.pull import PullReport, pull
from fhir_msct.tasks.push import WRITTEN, bring
from hapi.ground import Ground, Tree, exact
from hapi.through import Site, Through

WAYS = ("search", "push", "export", "search", "push")
"""By a seed's remainder: an export takes HAPI longer than the rest."""

SETTLING = 8
"""Runs in which a server that behaves again must have been read, or written."""


class Pulled(Through):
    """Pulls of a small cohort that changes in between, by search or by `$export`."""

    TYPES = ("Observation", "Patient")

    def __init__(self, seed: int, site: Site, folder: Path, ground: Ground, how: str) -> None:
        super().__init__(seed, site, folder, ground)
        self.way, self.moment, self.begun = how, 0, dict[int, int]()
        self.time.pace = 1000 if how == "search" else 150  # an export is waited for
        self.people = [f"p{number}" for number in range(self.chance.choice([1, 2, 4]))]
        self.rows = self.chance.choice([7, 20, 45])
        self._fill()
        members = ", ".join(f'"{ground.id(who)}"' for who in self.people)
        cohort = f"patients = [{members}]" if how == "search" else f'group = "{ground.id("g")}"'
        connections = self.chance.choice([1, 1, 4])
        self.chaos.alone = connections == 1
        settings = f'[cohort]\n{cohort}\n[pull]\nhow = "{how}"\nconnections = {connections}\n'
        self._plan = self.plan(settings)
        size = self.chance.choice([5, 10, 20])
        self.wanted = Wanted(types=self.TYPES, cohort=self._plan.cohort, page_size=size)

    def play(self) -> None:
        for _ in range(self.chance.randrange(1, 3)):
            self.trouble(*(kind for kind in PAGED if kind != "no-next"), "wrong-count")
            self.pull()
            if self.chance.random() < 0.5:
                self.change()
        self.chaos.heal()
        self.settled()
        self.check_secrets()

    def pull(self) -> PullReport | None:
        """One run; a complete one that began after the last change must have brought all there is."""
        self.chaos.again(limit=1500)
        report = None
        try:
            report = pull(self.folder, self._plan, self.wanted, patience=self.patience, say=lambda line: None)
            self.outcomes.append("complete" if report.complete else f"partial: {report.problems[0]}")
        except MsctError as error:
            self.outcomes.append(f"{type(error).__name__}: {error}")
        run = self._run()
        self.begun.setdefault(run, self.moment)
        if report is not None and report.complete and self.begun[run] == self.moment:
            self._check_equal()
        return report

    def settled(self) -> None:
        """Pulls until one says complete that began after the last change."""
        for _ in range(SETTLING):
            report = self.pull()
            if report is not None and report.complete and self.begun[self._run()] == self.moment:
                return
        raise AssertionError(f"never complete, though the server behaves: {self.outcomes}")

    def change(self) -> None:
        """Somebody corrects, adds and deletes on HAPI, past the proxy."""
        self.moment += 1
        self.ground.put(self._row(0, "7.10"), self._row(self.rows), self._row(1, "7.20"))
        self.ground.delete(self._row(2))
        self.rows += 1

    def _fill(self) -> None:
        """The cohort, some of it in a second version; the proxy knows the first ones."""
        ground = self.ground
        who = [{"entity": {"reference": f"Patient/{ground.id(one)}"}} for one in self.people]
        group = {
            "resourceType": "Group",
            "id": ground.id("g"),
            "meta": {"tag": [ground.tag]},
            "type": "person",
            "actual": True,
            "member": who,
        }
        rows = [self._row(number) for number in range(self.rows)]
        ground.put(*(ground.patient(one) for one in self.people), ground.patient("other"), group, *rows)
        for body in self._direct().values():
            self.guarded.remember(body)
        ground.put(*(self._row(number, "6.60") for number in range(3, min(9, self.rows))))

    def _row(self, number: int, value: str = "5.40") -> Tree:
        who = self.people[number % len(self.people)]
        return self.ground.observation(f"o{number:03}", value, of=who)

    def _run(self) -> int:
        with Archive.open(self.folder, create=True) as archive:
            row = archive.connection.execute("select max(id) from run").fetchone()
        return int(row[0] or 0)

    def _direct(self) -> dict[Key, bytes]:
        """What HAPI holds of the cohort, past the proxy."""
        ids = ",".join(self.ground.id(one) for one in self.people)
        found: dict[Key, bytes] = {}
        for type_, name in (("Observation", "patient"), ("Patient", "_id")):
            pages = self.ground.client.search(type_, {name: ids, "_count": "200"})
            found |= {(type_, one.id or ""): one.body for page in pages for one in page.resources}
            assert self.ground.client.count(type_, {name: ids}) == len([k for k in found if k[0] == type_])
        return found

    def _check_equal(self) -> None:
        """The archive is what HAPI holds: as many, the same versions, digit for digit."""
        truth = self._direct()
        with Archive.open(self.folder) as archive:
            held = {(t, one.id or ""): one.body for t in archive.types() for one in archive.current(t)}
        assert held.keys() == truth.keys(), (
            f"lost {sorted(truth.keys() - held.keys())}, too many {sorted(held.keys() - truth.keys())}"
        )
        wrong = [key for key, body in truth.items() if exact(held[key]) != exact(body)]
        assert wrong == [], f"wrong version of {wrong}"


class Pushed(Through):
    """Pushes of a few results that change in between, while a colleague edits some of them."""

    way = "push"

    def __init__(self, seed: int, site: Site, folder: Path, ground: Ground) -> None:
        super().__init__(seed, site, folder, ground)
        people = (ground.id("a"), ground.id("b"))
        rows = [self._source(who, number) for who in ("a", "b") for number in range(6)]
        ground.put(ground.patient("a"), ground.patient("b"), *rows)
        every = pushing.results(ground.prefix, people)
        derived = [one for one in every if one.derived]
        picked = self.chance.sample(derived, self.chance.randrange(2, 7))
        self.all = [*(one for one in every if not one.derived), *picked]
        self.shall, self.edits, self.busy = list(self.all), 0, 0.0
        more = (
            f'[push]\nurl = "{site.proxy.url}"\nsame_as_source = true\n[cohort]\npatients = ["{people[0]}"]\n'
        )
        self._plan = self.plan(more)
        self.chaos.meanwhile = self._meanwhile

    def play(self) -> None:
        self.busy = self.chance.choice([0.0, 0.0, 0.1])
        for _ in range(self.chance.randrange(1, 3)):
            self.trouble("no-next", "answer-lost", "answer-lost")
            self.push()
            self._change()
        self.chaos.heal()
        self.busy = 0.0
        self._settled()
        self._check()
        self.check_secrets()

    def push(self) -> Any:
        """One run; its report, where it came to give one."""
        self.chaos.again(limit=600)
        access, report = Access(write=WRITTEN), None
        try:
            with (
                Archive.open(self.folder, create=True) as archive,
                connect(
                    self.site.proxy.url, self._plan, access=access, pushing=True, patience=self.patience
                ) as client,
            ):
                report = bring(
                    client,
                    archive.connection,
                    self.ground.prefix,
                    self.shall,
                    protocol="0" * 64,
                    apply=True,
                    say=lambda line: None,
                )
            self.outcomes.append("applied")
        except Conflict as error:
            raise AssertionError(f"a conflict, though everything under our ids is ours: {error}") from None
        except MsctError as error:
            self.outcomes.append(f"{type(error).__name__}: {error}")
        return report

    def _settled(self) -> None:
        """Pushes until one finds nothing to write; the one before it read back what it wrote."""
        for _ in range(SETTLING):
            report = self.push()
            if report is not None and report.written == report.retracted == 0:
                return
            assert report is None or report.differing == (), "read back, and not as it was sent"
        raise AssertionError(f"never done, though the server behaves: {self.outcomes}")

    def _change(self) -> None:
        self.all = [
            msgspec.structs.replace(one, body=pushing.changed_result(one.body, self.chance))
            if one.derived and self.chance.random() < 0.3
            else one
            for one in self.all
        ]
        self.shall = [one for one in self.all if not one.derived or self.chance.random() < 0.8]

    def _meanwhile(self) -> None:
        """A colleague writes a note into a result of ours."""
        if self.chance.random() >= self.busy:
            return
        one = self.chance.choice([one for one in self.all if one.derived])
        held = self.ground.get(one.place)
        if held.status_code == 200:
            tree = exact_tree(held.content) | {"note": [{"text": f"seen {self.edits}"}]}
            self.edits += self.ground.send(tree).is_success

    def _check(self) -> None:
        """Each result is on HAPI once, says what it shall, and nothing was sent twice."""
        ours = self._ours()
        pushing.check_held(ours, self.shall, self.site.hapi)
        assert self.guarded.idle == [], f"sent again though HAPI had it: {self.guarded.idle}"
        assert self.guarded.blind == [], f"overwritten unread: {self.guarded.blind}"
        for one in self.all:
            if one.derived:
                named = {"identifier": f"{outgoing.system(self.ground.prefix)}|{one.id}"}
                assert self.ground.client.count("Observation", named) in (0, 1), f"{one.place} twice"

    def _ours(self) -> dict[Key, bytes]:
        found: dict[Key, bytes] = {}
        for one in self.all:
            if held := self.ground.client.read(one.type, one.id):
                found[one.key] = held.body
        targets = ",".join(f"{type_}/{id_}" for type_, id_ in found)
        asked = {"target": targets, "_count": "200"}
        for page in self.ground.client.search("Provenance", asked):
            found |= {("Provenance", one.id or ""): one.body for one in page.resources}
        return found

    def _source(self, who: str, number: int) -> Tree:
        return {**self.ground.observation("x", of=who), "id": f"{self.ground.id(who)}-ck-{number}"}


def exact_tree(body: bytes) -> Tree:
    """A resource without what the server put into it."""
    tree: Tree = json.loads(body)
    tree["meta"] = {"tag": tree["meta"]["tag"]}
    return tree


def played(seed: int, site: Site, folder: Path) -> Counter[str]:
    """What struck in a seed; raises AssertionError where a promise is broken."""
    way = WAYS[seed % len(WAYS)]
    with Ground(site.hapi) as ground:
        one = Pushed(seed, site, folder, ground) if way == "push" else Pulled(seed, site, folder, ground, way)
        one.play()
    return one.chaos.struck
