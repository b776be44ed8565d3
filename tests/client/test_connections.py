"""As many connections at once as the study says, over a real wire: four where it says nothing."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition
from typing import Any

import httpx
import pytest

from fhir_msct import plan as plans
from fhir_msct.tasks.pull import pull
from lib.fake_fhir import FakeFhir, observation, patient
from lib.loopback import serving
from lib.virtual_time import VirtualTime

WHO = [f"p{number:03}" for number in range(300)]
"""Twelve windows of each type."""

PATIENCE = 0.3
"""Seconds in which one more would come, if it could."""


class Door(ThreadingHTTPServer):
    """Lets everybody in, counts who is there at once, and keeps some waiting to see whether more come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.fake = FakeFhir(base=f"http://127.0.0.1:{self.server_port}/fhir")
        for who in WHO:
            self.fake.hold(patient(who))
            self.fake.hold(observation(f"o-{who}", who))
        self.changed, self.expected, self.held = Condition(), 0, 0
        self.here = self.most_here = self.asking = self.most_asking = 0

    def came(self, by: int) -> None:
        """A connection was opened, or closed."""
        with self.changed:
            self.here += by
            self.most_here = max(self.most_here, self.here)

    def answer(self, method: str, path: str) -> httpx.Response:
        with self.changed:
            self.asking += 1
            self.most_asking = max(self.most_asking, self.asking)
            self.changed.notify_all()
            if "Observation" in path and self.held <= self.expected:
                self.held += 1
                self.changed.wait_for(lambda: self.most_asking > self.expected, PATIENCE)
            self.asking -= 1
            return self.fake(httpx.Request(method, f"http://127.0.0.1:{self.server_port}{path}"))


class Visit(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Door

    def setup(self) -> None:
        super().setup()
        self.server.came(1)

    def finish(self) -> None:
        self.server.came(-1)
        super().finish()

    def do_GET(self) -> None:
        answer = self.server.answer("GET", self.path)
        body = answer.read()
        self.send_response_only(answer.status_code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *about: Any) -> None:
        pass


@pytest.fixture
def door() -> Iterator[Door]:
    with serving(Door()) as server:
        yield server


@pytest.mark.parametrize(
    ("toml", "connections"),
    [
        ("", 4),
        ("[pull]\nconnections = 1\n", 1),
        ("[pull]\nconnections = 2\n", 2),
        ("[pull]\nconnections = 7\n", 7),
    ],
)
def test_a_pull_opens_four_connections_or_as_many_as_the_study_says(
    tmp_path: Path, door: Door, toml: str, connections: int
) -> None:
    door.expected = connections
    listed = ", ".join(f'"{who}"' for who in WHO)
    text = f'[server]\nurl = "{door.fake.base}"\n{toml}[cohort]\npatients = [{listed}]\n'
    (tmp_path / "study.toml").write_text(text)
    plan = plans.load(tmp_path)
    wanted = plans.Wanted(types=("Patient", "Observation"), cohort=plan.cohort, page_size=10)
    assert pull(tmp_path, plan, wanted, patience=VirtualTime().patience(), say=lambda line: None).complete
    assert door.held > connections
    assert (door.most_asking, door.most_here) == (connections, connections)
