"""A study that is pulled from a sandbox over HTTP, and what happens on that server meanwhile."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from fhir_msct import plan as plans
from fhir_msct.archive.store import Archive
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.tasks.pull import PullReport, pull
from lib.fake_fhir import observation, patient
from lib.loopback import TLS
from lib.virtual_time import VirtualTime

TYPES = ("Patient", "Observation", "Procedure")
START = datetime(2024, 6, 30, 8, 0, tzinfo=UTC)


class Clock:
    """The server's clock: it stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)


class Study:
    """A study folder, and the sandbox it is pulled from."""

    def __init__(
        self,
        folder: Path,
        server: Sandbox,
        clock: Clock,
        more: str = "",
        *,
        cohort: str = 'patients = ["p1", "p2", "p3"]',
        server_more: str = "",
    ) -> None:
        self.folder, self.server, self.clock, self.said = folder, server, clock, list[str]()
        folder.mkdir(exist_ok=True)
        toml = f'[server]\nurl = "{server.url}"\n{server_more}[cohort]\n{cohort}\n{more}'
        (folder / "study.toml").write_text(toml)
        self.plan = plans.load(folder)
        self.wanted = plans.Wanted(types=TYPES, cohort=self.plan.cohort, page_size=10)

    def pull(self, *, say: Callable[[str], None] | None = None, **more: Any) -> PullReport:
        def heard(line: str) -> None:
            self.said.append(line)
            if say:
                say(line)

        self.asked = len(self.server.seen)
        patience = VirtualTime().patience()
        return pull(self.folder, self.plan, self.wanted, patience=patience, say=heard, **more)

    @property
    def requests(self) -> list[str]:
        """What the latest pull sent."""
        return [f"{one.method} {one.target}" for one in self.server.seen[self.asked :]]

    def bodies(self) -> dict[str, bytes]:
        with Archive.open(self.folder) as archive:
            return {f"{t}/{one.id}": one.body for t in archive.types() for one in archive.current(t)}

    def put(self, tree: dict[str, Any]) -> None:
        """What somebody writes on the server, at its own time."""
        url = f"{self.server.url}/{tree['resourceType']}/{tree['id']}"
        httpx.put(url, content=json.dumps(tree).encode(), headers={"Content-Type": "application/fhir+json"})

    def delete(self, type_: str, id_: str) -> None:
        httpx.delete(f"{self.server.url}/{type_}/{id_}")

    def held(self) -> dict[str, bytes]:
        """What the server holds of the cohort."""
        found = {}
        for type_ in TYPES:
            for body in self.server.dump(type_):
                tree = json.loads(body)
                owner = tree.get("subject", {}).get("reference", f"Patient/{tree['id']}")
                if owner.removeprefix("Patient/") in ("p1", "p2", "p3"):
                    found[f"{type_}/{tree['id']}"] = body
        return found


class Through(httpx.HTTPTransport):
    """The way to the server, where `first` may answer instead of it, or die."""

    def __init__(self, first: Callable[[httpx.Request], httpx.Response | None]) -> None:
        super().__init__(verify=TLS)
        self.first = first

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.first(request) or super().handle_request(request)


def value(id_: str, who: str, text: str = "1") -> dict[str, Any]:
    return {key: what for key, what in observation(id_, who, text).items() if key != "meta"}


def stamped(day: int) -> dict[str, str]:
    return {"versionId": "1", "lastUpdated": f"2024-01-{day + 1:02}T00:00:00.000Z"}


def people() -> list[bytes]:
    """Three patients and 25 values of theirs, with stamps of their own."""
    held = [patient(f"p{n}", meta=stamped(n)) for n in (1, 2, 3)]
    held += [observation(f"o{n}", f"p{n % 3 + 1}", meta=stamped(n)) for n in range(25)]
    return [json.dumps(tree).encode() for tree in held]
