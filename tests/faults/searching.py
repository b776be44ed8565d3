"""One schedule of pulls against a server that misbehaves, and what must be true of the archive after it.

A schedule is a pure function of its seed: the hospital's data, what goes wrong and when, where the process
dies. `searched(seed)` plays it; it raises AssertionError where a promise is broken.
"""

import json
import random
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from faults.chaos import KINDS, LONGEST_WAIT, TOKEN, Chaos, Killed
from faults.crash_images import image
from faults.model import BASE, Key, ModelServer, Tree, versions
from fhir_msct import plan as plans
from fhir_msct.archive.store import Archive
from fhir_msct.errors import MsctError
from fhir_msct.plan import Plan, Wanted
from fhir_msct.tasks.pull import PullReport, pull
from lib.virtual_time import VirtualTime

CODES = "urn:hospital:codes"
SETTLING = 8
"""Pulls in which a server that behaves again must have been read."""

MEMORY = Path("/dev/shm")  # noqa: S108  (a folder of our own in it; faster than a disk, and as real to SQLite)


def scratch() -> Path:
    """A new folder for one study."""
    return Path(tempfile.mkdtemp(prefix="schedule-", dir=MEMORY if MEMORY.is_dir() else None))


@contextmanager
def disk(folder: Path, chaos: Chaos, chance: random.Random) -> Iterator[None]:
    """A disk that is full from some point on: no file of this process may grow any more than a little."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = chance.choice([0, 4096, 20_000, None])

    def fill() -> None:
        sizes = [path.stat().st_size for path in (folder / "archive").glob("archive.sqlite*")]
        limit = 100 if room is None else max(sizes, default=0) + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    chaos.fill = fill
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Hospital:
    """The data of the server, and every state they were ever in."""

    def __init__(self, server: ModelServer, chance: random.Random) -> None:
        self.server, self.chance = server, chance
        self.patients = [f"p{n}" for n in range(chance.choice([2, 3, 3, 5, 5, 8, 8, 30]))]
        self.way = chance.choice(["patients", "group", "research_study", "diagnosis"])
        self.types = (
            "Observation",
            "Patient",
            *chance.sample(["Procedure", "AdverseEvent"], chance.choice([0, 0, 1])),
        )
        self.codes = chance.choice([(), (), (), (f"{CODES}|ck",)])
        """Which Observations are asked for; empty: all."""
        self.named = set(chance.sample(self.patients, max(1, len(self.patients) - 2)))
        self.made = 0
        self.states: list[dict[Key, bytes]] = []
        server.shown = self.remember
        for who in self.patients:
            server.write({"resourceType": "Patient", "id": who})
            if self.way in ("research_study", "diagnosis") and who in self.named:
                self._enrol(who)
        if self.way == "group":
            self._group()
        for _ in range(chance.choice([5, 10, 20, 40, 60])):
            self.create()
        for _ in range(chance.randrange(12)):
            self.change()
        self.remember()

    @property
    def cohort(self) -> plans.Cohort:
        """The cohort as study.toml names it."""
        named: dict[str, Any] = {
            "patients": tuple(sorted(self.named)),
            "group": "g1",
            "research_study": "s1",
            "diagnosis": ("http://hl7.org/fhir/sid/icd-10|M33.2",),
        }
        return plans.Cohort(basis="consent", **{self.way: named[self.way]})

    def meanwhile(self) -> None:
        """Something happens in the hospital."""
        things = [self.create, self.create, self.change, self.change]
        things += [self.delete, self.move, self.create_late, self.revive]
        self.chance.choice(things)()
        self.remember()

    def create(self) -> None:
        """A new resource of somebody."""
        self.server.write(self._new())

    def create_late(self) -> None:
        """One that is seen some time after the moment it says it was written."""
        self.server.write_late(self._new(), self.chance.uniform(0.3, 60))

    def _new(self) -> dict[str, Any]:
        self.made += 1
        type_ = self.chance.choice([*("Observation",) * 3, self.types[-1].replace("Patient", "Observation")])
        who = self.chance.choice(self.patients)
        value = self.chance.choice(["5.40", "5.4", "\\u2028", "é", "1e3"])
        return {
            "resourceType": type_,
            "id": f"{type_[0].lower()}{self.made:03}",
            "subject": {"reference": f"Patient/{who}"},
            "code": {"coding": [{"system": CODES, "code": self.chance.choice(["ck", "ck", "ldh"])}]},
            "valueString": f"{value} {self.chance.randrange(1000)}",
        }

    def change(self) -> None:
        """A corrected resource."""
        if key := self._some():
            self.server.write(self.server.tree(key) | {"valueString": f"new {self.chance.randrange(1000)}"})

    def delete(self) -> None:
        """A deleted one."""
        if key := self._some():
            self.server.erase(key)

    def revive(self) -> None:
        """One that was deleted, written again under its old id."""
        gone = [key for key in sorted(self.server.history) if key not in self.server.held]
        if gone:
            key = self.chance.choice(gone)
            last = next(one.body for one in reversed(self.server.history[key]) if one.body is not None)
            tree = json.loads(last)
            del tree["meta"]
            self.server.write(tree | {"valueString": f"again {self.chance.randrange(1000)}"})

    def move(self) -> None:
        """One that turns out to be of somebody else: in or out of the cohort."""
        if key := self._some():
            who = self.chance.choice(self.patients)
            self.server.write(self.server.tree(key) | {"subject": {"reference": f"Patient/{who}"}})

    def remember(self) -> None:
        """Keeps what the cohort's data are at this moment."""
        self.states.append(
            {
                key: body
                for key, body in self.server.held.items()
                if key[0] in self.types and self._is_asked(key, json.loads(body))
            }
        )

    def _is_asked(self, key: Key, tree: Tree) -> bool:
        if key[0] == "Observation" and self.codes:
            (coding,) = tree["code"]["coding"]
            if f"{coding['system']}|{coding['code']}" not in self.codes:
                return False
        owner = tree.get("subject", {}).get("reference", "").removeprefix("Patient/")
        return (key[1] if key[0] == "Patient" else owner) in self.named

    def _some(self) -> Key | None:
        keys = [key for key in sorted(self.server.held) if key[0] in ("Observation", "Procedure")]
        return self.chance.choice(keys) if keys else None

    def _enrol(self, who: str) -> None:
        code = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "M33.2"}]}
        study, person = {"reference": "ResearchStudy/s1"}, {"reference": f"Patient/{who}"}
        if self.way == "diagnosis":
            made = {"resourceType": "Condition", "id": f"c-{who}", "code": code, "subject": person}
        else:
            made = {"resourceType": "ResearchSubject", "id": f"r-{who}", "study": study, "individual": person}
        self.server.write(made)

    def _group(self) -> None:
        members = [{"entity": {"reference": f"Patient/{who}"}} for who in sorted(self.named)]
        self.server.write({"resourceType": "Group", "id": "g1", "member": members})


class Schedule:
    """One seed, played."""

    kind = "search"

    def __init__(self, seed: int, folder: Path, *, connections: int = 1) -> None:
        self.chance = random.Random(f"{self.kind} {seed}")
        self.folder, self.time = folder, VirtualTime()
        chance = self.chance
        morning = datetime(2024, 6, 30, chance.choice([0, 8, 23]), chance.choice([0, 55]), tzinfo=UTC)
        self.server, self.chaos = self._made(morning)
        self.server.counted = self.chaos.counted  # type: ignore[method-assign]
        self.server.paged = self.chaos.paged  # type: ignore[method-assign]
        self.hospital = Hospital(self.server, chance)
        self.server.say_able(self.hospital.types, since=chance.random() < 0.7, history=chance.random() < 0.5)
        self.server.minds_updated = chance.random() < 0.9
        if random.Random(f"lists {seed}").random() < 0.1:
            self.server.heeded = random.Random(seed).choice(
                [slice(0, 1), slice(0, 2), slice(-1, None), slice(-3, None)]
            )
        self.chaos.alone = connections == 1
        self.until_torn: int | None = None
        """Transactions of one pull after which its archive is taken back to what it was."""
        self.plan = self._plan(connections)
        self.wanted = Wanted(
            types=self.hospital.types,
            cohort=self.plan.cohort,
            page_size=chance.choice([2, 3, 7, 20, 20, 100]),
            codes={"Observation": self.hospital.codes} if self.hospital.codes else {},
        )
        self.begun: dict[int, int] = {}
        self.run, self.said_complete, self.current = 0, False, dict[Key, bytes]()
        self.outcomes: list[str] = []
        self.capped = chance.random() < 0.15

    def play(self) -> None:
        """The whole story: bad days, then a good one; raises AssertionError where a promise is broken."""
        for _ in range(self.chance.randrange(1, 5)):
            self._bad_day()
            self.server.wait(self.chance.choice([0, 0, 30, 900, 7200]))
            self.pull()
        self.chaos.heal()
        self.server.wait(self.chance.choice([61, 900, 7200]))
        self.chaos.zip = self.chance.random() < 0.5
        self.settled()
        self._check_archive()
        assert self.chaos.leaks == [], self.chaos.leaks
        waits = [wait for wait in self.time.waits if not 0 <= wait <= LONGEST_WAIT]
        assert waits == [], f"waited {waits}"

    def _made(self, morning: datetime) -> tuple[ModelServer, Chaos]:
        server = ModelServer(self.time, morning=morning)
        return server, Chaos(server, self.chance, token=TOKEN)

    def _plan(self, connections: int) -> Plan:
        return study(self.folder, self.hospital, connections)

    @property
    def _moment(self) -> int:
        return len(self.hospital.states) - 1

    @property
    def usable(self) -> tuple[str, ...]:
        """The kinds of fault that may strike."""
        never = {"409", *(("wrong-count", "stranger") if self.capped else ("no-next",))}
        return tuple(kind for kind in KINDS if kind not in never)

    def _bad_day(self) -> None:
        chance, chaos, usable = self.chance, self.chaos, self.usable
        chaos.kinds = tuple(chance.sample(usable, chance.randrange(1, 9)))
        if self.capped:
            chaos.kinds = ("no-next", *chaos.kinds)
        chaos.rate = chance.choice([0.02, 0.1, 0.1, 0.3, 0.6])
        chaos.zip = chance.random() < 0.3
        chaos.until_killed = chance.choice([None, chance.randrange(40), chance.randrange(200)])
        chaos.until_full = chance.choice([None, None, None, chance.randrange(60)])
        self.until_torn = chance.choice([None, None, None, None, None, chance.randrange(80)])
        busy = 0.0 if self.capped else chance.choice([0.0, 0.0, 0.05, 0.3])
        chaos.meanwhile = lambda: self.hospital.meanwhile() if chance.random() < busy else None
        if not self.capped and chance.random() < 0.5:
            self.hospital.meanwhile()

    def pull(self) -> PullReport | None:
        """One process; its report, where it lived to give one."""
        self.chaos.again()
        start = self._moment
        report = left = None
        try:
            with (
                disk(self.folder, self.chaos, self.chance),
                image(self.folder, self.until_torn) as left,
            ):
                self.chaos.at_points = left.listen if left else lambda: None
                report = pull(
                    self.folder,
                    self.plan,
                    self.wanted,
                    transport=self.chaos,
                    patience=msgspec.structs.replace(self.time.patience(), chance=self.chance.random),
                    say=lambda line: self.chaos.point(),
                )
            self.outcomes.append("complete" if report.complete else f"partial: {report.problems[0]}")
        except Killed:
            self.outcomes.append("killed")
        except MsctError as error:
            self.outcomes.append(f"{type(error).__name__}: {error}")
        if left is not None and left.taken:
            left.put_back()
            self.chaos.struck["kill at a commit"] += 1
            self.outcomes.append("killed at a commit")
            report = None
        self.until_torn = None
        self._look()
        self.begun.setdefault(self.run, start)
        if report is not None and report.complete:
            assert self.said_complete, "said complete, and the archive knows nothing of it"
            self._check_complete(self.begun[self.run])
        return report

    def settled(self) -> None:
        """Pulls until one says complete that began after the last change: then the archive is the cohort."""
        for _ in range(SETTLING):
            report = self.pull()
            if report is not None and report.complete and self.begun[self.run] == self._moment:
                self._check_equal(report)
                return
        raise AssertionError(f"never complete, though the server behaves: {self.outcomes}")

    # --- what must be true ------------------------------------------------------------------------------

    def _check_equal(self, report: PullReport) -> None:
        """Nobody changed anything: the archive is the cohort, version for version and byte for byte."""
        truth, held = self.hospital.states[-1], self.current
        assert held.keys() == truth.keys(), (
            f"lost {sorted(truth.keys() - held.keys())}, too many {sorted(held.keys() - truth.keys())}"
        )
        wrong = [key for key, body in truth.items() if held[key] != body]
        assert wrong == [], f"wrong version of {wrong}"
        assert sum(one.received for one in report.types) <= len(truth)

    def _check_complete(self, begun: int) -> None:
        """What did not change since the run began is here, in its version; the rest in one of its states."""
        states, held = self.hospital.states[begun:], self.current
        for key in {key for state in states for key in state} | held.keys():
            said = [state.get(key) for state in states]
            if len(set(said)) == 1:
                assert held.get(key) == said[0], f"complete without {key} as it was all the time"
            else:
                assert held.get(key) in (None, *said), f"complete with a wrong version of {key}"

    def _check_bodies(self, kept: list[tuple[Key, bytes]]) -> None:
        """Nothing is kept that the server never said, and nothing of other people."""
        true = {(key, body) for key, _, body in versions(self.server)}
        theirs = {key for state in self.hospital.states for key in state}
        for key, body in kept:
            assert (key, body) in true, f"{key} is kept with bytes that were never the server's"
            assert key in theirs, f"{key} is kept and was never the cohort's"

    def _check_archive(self) -> None:
        """The archive's own sums and SQLite's own check."""
        with Archive.open(self.folder) as archive:
            assert archive.connection.execute("pragma integrity_check").fetchone() == ("ok",)
            for account in archive.accounts().values():
                parts = account.seen + account.superseded + account.deleted + account.duplicate
                assert account.lines_read == parts + account.not_fhir
            last = archive.last_pull()
            assert last is not None and last.complete and last.base_url == BASE

    def _look(self) -> None:
        """Opens the archive as another process would, and looks at all of it."""
        self.run, self.said_complete, self.current = 0, False, {}
        if not (self.folder / "archive" / "archive.sqlite").is_file():
            return
        with Archive.open(self.folder) as archive:
            found = [one for type_ in archive.types() for one in archive.current(type_)]
            rows = archive.connection.execute("select type, key, body from resource where not deleted")
            self._check_bodies([((type_, key), body) for type_, key, body in rows])
            row = archive.connection.execute("select id, complete from run order by id desc").fetchone()
        self.run, self.said_complete = (row[0], bool(row[1])) if row else (0, False)
        self.current = {(one.type, one.id or ""): one.body for one in found}
        assert len(self.current) == len(found), "one resource twice"
        self.chaos.known = self.current


def searched(seed: int, connections: int = 1) -> Schedule:
    """The schedule of a seed, played to its end; raises AssertionError where a promise is broken.

    Only with one connection is it the same in every run: several threads have no order to repeat.
    """
    folder = scratch()
    try:
        schedule = Schedule(seed, folder, connections=connections)
        schedule.play()
        return schedule
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_LOADED: list[Plan] = []


def study(folder: Path, hospital: Hospital, connections: int) -> Plan:
    """The plan of a study that pulls from the model server with a token."""
    if not _LOADED:
        _LOADED.append(plans.load())
    token = folder / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    server = msgspec.structs.replace(_LOADED[0].server, url=BASE, auth="bearer", token_file=str(token))
    way = msgspec.structs.replace(_LOADED[0].pull, connections=connections)
    return msgspec.structs.replace(_LOADED[0], server=server, pull=way, cohort=hospital.cohort)
