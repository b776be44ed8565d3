"""A server that others use, a demo on it, and how each resource of the others looked before."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx

from fhir_msct import data
from fhir_msct.client.marking import RUNS
from fhir_msct.client.retry import Patience
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.tasks import clearing, demo
from fhir_msct.tasks.guest import Told, guest_demo
from fhir_msct.tasks.loading import bundles
from fhir_msct.tasks.trial_copy import originals
from lib.loopback import TLS
from lib.virtual_time import VirtualTime
from push.wires import Killed

RUN = "demo-abcdefgh"
OTHERS = (
    b'{"resourceType":"Patient","id":"msct-p01","active":true}',
    b'{"resourceType":"Patient","id":"theirs","meta":{"tag":[{"system":"urn:theirs","code":"x"}]}}',
    b'{"resourceType":"Observation","id":"theirs-1","status":"final","code":{"text":"CK"},'
    b'"subject":{"reference":"Patient/theirs"},"valueQuantity":{"value":5.40}}',
    b'{"resourceType":"Device","id":"theirs-2"}',
    b'{"resourceType":"Procedure","id":"theirs-3","status":"completed","subject":{"reference":"Patient/theirs"}}',
)
TYPES = (
    "Condition", "Device", "Group", "MedicationAdministration", "Observation", "Patient", "Procedure",
    "Provenance", "ResearchStudy", "ResearchSubject",
)  # fmt: skip


Before = Callable[[httpx.Request], httpx.Response | None]
"""What happens to a request before the server has it; an answer is given in the server's stead."""


def says(status: int, content: bytes = b"") -> httpx.Response:
    """An answer as it comes over a wire."""
    headers = {"Content-Type": "application/fhir+json", "Content-Length": str(len(content))}
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


class Wire(httpx.BaseTransport):
    """Passes everything on to the true server, and keeps what was sent: (method, path and query, body)."""

    def __init__(self, before: Before | None = None) -> None:
        self._inner, self.before = httpx.HTTPTransport(verify=TLS), before
        self.sent: list[tuple[str, str, bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self.sent.append((request.method, request.url.raw_path.decode(), body))
        answer = self.before(request) if self.before else None
        return answer or self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()

    def entries(self, method: str) -> list[dict[str, Any]]:
        """Every request of a method, alone or in a Bundle: its `request`, as a Bundle has it."""
        found = [{"url": path.removeprefix("/fhir/")} for verb, path, _ in self.sent if verb == method]
        for verb, path, body in self.sent:
            if verb == "POST" and path == "/fhir":
                found += [entry["request"] for entry in json.loads(body)["entry"]]
        return [one for one in found if one.get("method", method) == method]


class Dying(Wire):
    """The process is killed at the n-th request that writes (1 is the first), before or after it arrives."""

    def __init__(self, at: int, *, arrives: bool, method: str = "PUT") -> None:
        super().__init__()
        self._at, self._arrives, self._method, self._writes = at, arrives, method, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self._writes += request.url.path == "/fhir" and b'"method":"%b"' % self._method.encode() in body
        if self._writes >= self._at:
            if self._arrives:
                super().handle_request(request).read()
            raise Killed
        return super().handle_request(request)


def trial(*patients: str) -> list[bytes]:
    """The part of the synthetic trial that is about these patients, who need no others."""
    named = [f"Patient/{one}" for one in patients]
    found = []
    for line in demo.resources(data.fixtures() / "resources"):
        tree = json.loads(line)
        who = (tree.get("subject") or {}).get("reference", f"{tree['resourceType']}/{tree['id']}")
        if who.partition("/_history/")[0] in named:
            found.append(line)
    return found


def enrolled(*patients: str) -> list[bytes]:
    """The same with the study that these patients are in and the Group that names them: whatever refers."""
    named, found = {f"Patient/{one}" for one in patients}, trial(*patients)
    for line in demo.resources(data.fixtures() / "resources"):
        tree = json.loads(line)
        if tree["resourceType"] == "Group":
            tree["member"] = [one for one in tree["member"] if one["entity"]["reference"] in named]
            found.append(json.dumps(tree).encode())
        elif tree["resourceType"] == "ResearchStudy" or tree.get("individual", {}).get("reference") in named:
            found.append(line)
    return found


SMALL = trial("msct-p01", "msct-p02")
FEW = [line for line in SMALL if b'"Patient","id"' in line or b'"Patient", "id"' in line] + SMALL[:15]
LOADED = len([*bundles(originals(SMALL))])
"""Transactions that put these two patients on a server."""


class House:
    """A sandbox with others' resources on it."""

    def __init__(self, server: Sandbox, folder: Path) -> None:
        self.server, self.folder, self.said = server, folder, list[str]()
        server.load(OTHERS)
        self.others, self.history = self.held(), server.versions

    def demo(self, transport: httpx.BaseTransport | None = None, **more: Any) -> Told:
        """A demo of two patients, unless told otherwise."""
        settings = {"bodies": SMALL, "run": RUN, "url": self.server.url, **more}
        return guest_demo(
            self.folder,
            transport=transport or Wire(),
            patience=self.patience(),
            confirm=self.confirm,
            say=self.said.append,
            **settings,
        )

    def clean(self, transport: httpx.BaseTransport | None = None, **more: Any) -> clearing.ClearReport:
        """Takes it away again."""
        return clearing.clear(
            self.folder,
            transport=transport or Wire(),
            patience=self.patience(),
            confirm=self.confirm,
            say=self.said.append,
            **more,
        )

    def patience(self) -> Patience:
        self.time = VirtualTime()
        return self.time.patience()

    def confirm(self, host: str) -> None:
        raise AssertionError(f"nobody has to confirm {host}")

    def held(self, types: Iterable[str] = TYPES) -> dict[str, bytes]:
        """Every resource on the server, byte for byte, by type and id."""
        bodies = [body for type_ in types for body in self.server.dump(type_)]
        return {
            f"{tree['resourceType']}/{tree['id']}": body for body in bodies for tree in [json.loads(body)]
        }

    def ours(self) -> dict[str, bytes]:
        """What is there now and was not before."""
        return {place: body for place, body in self.held().items() if place not in self.others}

    def require_as_before(self) -> None:
        """Nothing of the demo is left, and nobody else's resource has another byte."""
        assert self.held() == self.others


def dies_when_it_counts(request: httpx.Request) -> httpx.Response | None:
    """The process is killed when the pull asks its first question."""
    if "_summary" in str(request.url):
        raise Killed
    return None


def is_tagged(body: bytes, run: str = RUN) -> bool:
    """Whether a resource carries the tag of a run."""
    tags = (json.loads(body).get("meta") or {}).get("tag") or []
    return {"system": RUNS, "code": run} in tags
