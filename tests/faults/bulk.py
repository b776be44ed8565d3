"""One schedule of pulls by `$export`: the same hospital, the same bad days, the same promises."""

import random
import shutil
from collections import Counter
from contextlib import closing
from datetime import datetime

import httpx
import msgspec

from faults.chaos import TOKEN, Chaos
from faults.exports import ELSEWHERE, FILED, FILES, KICKED, PAGES, PATH, POLLED, ExportServer
from faults.searching import Schedule, scratch, study
from fhir_msct.archive.store import Archive
from fhir_msct.plan import Plan
from fhir_msct.tasks.pull import PullReport

EXPORTED = (*KICKED, *POLLED, *FILED)
"""Faults of an export, beside those of every request."""


class BulkChaos(Chaos):
    """Between client and exporting server."""

    server: ExportServer

    def __init__(self, server: ExportServer, chance: random.Random) -> None:
        super().__init__(server, chance, token=TOKEN)
        self._polls: dict[str, float] = {}
        """From when on each job may be polled again."""
        self._sent_on = ""
        """Where a file that wants no token was just sent on to: only the next request may go there."""
        server.fault, server.wait_told, server.lagging = lambda: self.fault, self._not_yet, self.lagging

    def _not_yet(self, number: int) -> tuple[str, str]:
        text, date, self._polls[f"/{PAGES}/{number}"] = self.wait_told()
        return text, date

    def again(self, *, limit: int = 4000) -> None:
        super().again(limit=limit)
        self._polls, self._sent_on = {}, ""

    def _handled(self, request: httpx.Request) -> httpx.Response:
        heard = False
        try:
            response = super()._handled(request)
            heard = response.status_code == 202
        finally:
            if not heard:  # whatever wait the server had in mind
                self._polls = {path: at for path, at in self._polls.items() if path not in request.url.path}
        url = str(request.url)
        gone_on = url.startswith(ELSEWHERE)
        if self.fault == "redirect" and (gone_on or is_file(url)):
            folder, _, name = request.url.path.rpartition("/")
            place = f"https://{request.url.host}{folder}/on/{name}" if gone_on else f"{ELSEWHERE}/{name}"
            response.headers["location"] = place
            self._sent_on = "" if self.server.token else place
        return response

    def _watch(self, request: httpx.Request) -> None:
        super()._watch(request)
        self._sent_on = ""
        free = max((at for path, at in self._polls.items() if request.url.path.endswith(path)), default=0.0)
        if request.method == "GET" and self.server.time.now < free - 1e-6:
            self.leaks.append("a job was polled before the server wanted it")

    def _drawn(self, request: httpx.Request) -> str:
        fitting = [kind for kind in self.kinds if self.fits(kind, request)]
        if not fitting or self.chance.random() >= self.rate:
            return ""
        kind = self.chance.choice(fitting)
        self.struck[kind] += 1
        return kind

    def fits(self, kind: str, request: httpx.Request) -> bool:
        url = str(request.url)
        kick, poll = "$export" in url, f"/{PAGES}/" in url
        file = is_file(url)
        if kind in EXPORTED:
            return (
                (kick and kind in KICKED)
                or (poll and kind in POLLED and request.method == "GET")
                or (file and kind in FILED)
            )
        return super().fits(kind, request) and not (kind == "stranger" and (kick or poll or file))

    def admitted(self, request: httpx.Request) -> tuple[bool, bool]:
        """The token goes with a file where the manifest wants it; elsewhere only to a listed origin.

        A file that wants none may be sent on to any host, and no token goes along.
        """
        url, server = str(request.url), self.server
        if url == self._sent_on:
            return True, False
        if url.startswith(FILES):
            return not server.token or server.listed, server.token
        if f"/{PATH}/" in url:
            return True, server.token
        return super().admitted(request)


class Exports(Schedule):
    """One seed, played against a server that exports."""

    kind = "bulk"
    server: ExportServer
    used: Counter[str]

    def _made(self, morning: datetime) -> tuple[ExportServer, Chaos]:
        server = ExportServer(self.time, morning=morning)
        server.manner(random.Random(self.chance.random()))
        self.used = Counter()
        return server, BulkChaos(server, self.chance)

    def _plan(self, connections: int) -> Plan:
        plan, chance = study(self.folder, self.hospital, connections), self.chance
        listed = (FILES.rpartition("/")[0],) if self.server.listed else ()
        way = msgspec.structs.replace(
            plan.pull,
            how=chance.choice(["export", "auto"]),
            file_origins=listed,
            stall_minutes=chance.choice([5, 60]),
        )
        server = msgspec.structs.replace(plan.server, kind="research")
        return msgspec.structs.replace(plan, server=server, pull=way)

    @property
    def usable(self) -> tuple[str, ...]:
        return (*super().usable, *EXPORTED, *EXPORTED)

    def pull(self) -> PullReport | None:
        before, honest = self.server.kicked, not self.chaos.kinds
        report = super().pull()
        left = {number for number in self.server.jobs if number > before}
        if report is not None and honest and not self.server.keeps_finished:
            assert not left, "a job that is over was left on the server"
        return report

    def _look(self) -> None:
        super()._look()
        if not (self.folder / "archive" / "archive.sqlite").is_file():
            return
        with Archive.open(self.folder) as archive, closing(archive.connection.cursor()) as rows:
            found = rows.execute("select run, state, why from bulk_job order by id desc limit 1").fetchone()
        if found and found[0] == self.run and self.said_complete:
            self.used["export" if found[1:] == ("kept", "") else "export and search"] += 1


def is_file(url: str) -> bool:
    """Whether an address is one of an exported file."""
    return url.startswith(FILES) or f"/{PATH}/" in url


def exported(seed: int) -> Exports:
    """The schedule of a seed, played to its end; raises AssertionError where a promise is broken."""
    folder = scratch()
    try:
        schedule = Exports(seed, folder)
        schedule.play()
        return schedule
    finally:
        shutil.rmtree(folder, ignore_errors=True)
