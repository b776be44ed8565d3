"""A FHIR server on loopback that holds 30 Observations in 3 pages of 10, and whose second page misbehaves.

    with TroubleServer("gone") as server: ...  server.url

Real HTTP, so that any client can be pointed at it: ours, and the peers that are measured beside it.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

ROWS, SIZE = 30, 10
STAMP = "2024-01-01T00:00:00.000Z"
FAULTS = {
    "none": "none",
    "gone": "410 Gone (the search expired)",
    "throttled": "429 + Retry-After: 1 (once)",
    "error": "500 once",
    "expired": "401 once (token expired)",
    "login": "200 + HTML login page",
    "cut": "connection cut mid-body",
    "self": "next link points to itself",
    "repeated": "5 resources repeated across pages",
    "odd": "1 record without status, 1 without time zone",
}
"""What page 2 does; the rows of the table."""

TOKENS = ("first-token", "second-token")


class TroubleServer(ThreadingHTTPServer):
    """One fault, on the second page; a context manager."""

    daemon_threads = True

    def __init__(self, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault, self.struck, self.tokens = fault, 0, 0
        self.asked: list[str] = []
        self.gap = 0.0
        """Seconds between the first two times that the second page was asked for."""
        self._first: float | None = None
        self.rows = [observation(number, fault) for number in range(ROWS)]
        if fault == "repeated":
            self.rows[10:15] = self.rows[:5]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/fhir"

    @property
    def unique(self) -> int:
        """Different Observations."""
        return len({row["id"] for row in self.rows})

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def strikes(self, times: int | None = 1) -> bool:
        """Whether the second page misbehaves this time."""
        self.struck += 1
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif not self.gap:
            self.gap = now - self._first
        return times is None or self.struck <= times


def observation(number: int, fault: str) -> dict[str, Any]:
    """A creatine kinase value; two of them are odd where that is the fault."""
    made = {
        "resourceType": "Observation",
        "id": f"o{number:02}",
        "meta": {"versionId": "1", "lastUpdated": STAMP},
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2157-6"}], "text": "CK"},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-01-01T08:00:00+01:00",
        "valueQuantity": {"value": 100 + number, "unit": "U/L"},
    }
    if fault == "odd" and number == 3:
        del made["status"]
    if fault == "odd" and number == 4:
        made["effectiveDateTime"] = "2024-01-01T08:00:00"
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    try:
        yield
    except (BrokenPipeError, ConnectionResetError):
        return


class _Handler(BaseHTTPRequestHandler):
    server: TroubleServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's own name)
        """Says nothing."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.server.asked.append(self.path)
        place = address.path.removeprefix("/fhir").strip("/")
        with _quiet():
            if place == ".well-known/smart-configuration":
                self._json({"token_endpoint": f"{self.server.url}/token", "capabilities": ["permission-v2"]})
            elif place == "metadata":
                self._json(self._capability())
            elif place == "Observation":
                self._search(asked)
            elif place in ("Patient", "Patient/p1"):
                one = {
                    "resourceType": "Patient",
                    "id": "p1",
                    "meta": {"versionId": "1", "lastUpdated": STAMP},
                }
                self._json(one if place != "Patient" else self._bundle([one], 1, None, asked))
            else:
                self._json({"resourceType": "Bundle", "type": "searchset", "total": 0})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.path != "/fhir/token":
            self._status(404)
            return
        token = TOKENS[min(self.server.tokens, 1)]
        self.server.tokens += 1
        scopes = "system/Patient.rs system/Observation.rs"
        self._json({"access_token": token, "token_type": "bearer", "expires_in": 300, "scope": scopes})

    def _search(self, asked: dict[str, str]) -> None:
        number = int(asked.get("page", "1"))
        if number != 2 or (trouble := _TROUBLE.get(self.server.fault)) is None or not trouble(self):
            rows = self.server.rows[(number - 1) * SIZE : number * SIZE]
            following = f"{self.server.url}/Observation?patient=p1&page={number + 1}" if number < 3 else None
            self._json(self._bundle(rows, self.server.unique, following, asked))

    def _bundle(
        self, rows: list[dict[str, Any]], total: int, following: str | None, asked: dict[str, str]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": total}
        if asked.get("_summary") == "count":
            return found
        link = [{"relation": "self", "url": f"{self.server.url}{self.path.removeprefix('/fhir')}"}]
        link += [{"relation": "next", "url": following}] if following else []
        entries = [
            {
                "fullUrl": f"{self.server.url}/{row['resourceType']}/{row['id']}",
                "resource": row,
                "search": {"mode": "match"},
            }
            for row in rows
        ]
        return {**found, "link": link, "entry": entries}

    def _capability(self) -> dict[str, Any]:
        types = [
            {"type": type_, "interaction": [{"code": "search-type"}]} for type_ in ("Patient", "Observation")
        ]
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "kind": "instance",
            "fhirVersion": "4.0.1",
            "format": ["json"],
            "software": {"name": "trouble", "version": "1"},
            "rest": [{"mode": "server", "resource": types}],
        }

    def _json(self, tree: dict[str, Any]) -> None:
        self._send(200, json.dumps(tree).encode(), "application/fhir+json")

    def _status(self, code: int, **headers: str) -> None:
        outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
        self._send(code, json.dumps(outcome).encode(), "application/fhir+json", **headers)

    def _send(self, code: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b'{"resourceType":"Bundle","type":"searchset","entry":[')
        self.close_connection = True


def _once(code: int, **headers: str) -> Callable[[_Handler], bool]:
    def trouble(handler: _Handler) -> bool:
        if not handler.server.strikes():
            return False
        handler._status(code, **headers)
        return True

    return trouble


def _login(handler: _Handler) -> bool:
    handler._send(200, b"<html><form>please log in</form></html>", "text/html")
    return True


def _cut(handler: _Handler) -> bool:
    if not handler.server.strikes():
        return False
    handler._cut()
    return True


def _self(handler: _Handler) -> bool:
    rows = handler.server.rows[SIZE : 2 * SIZE]
    handler._json(handler._bundle(rows, ROWS, f"{handler.server.url}/Observation?patient=p1&page=2", {}))
    return True


_TROUBLE: dict[str, Callable[[_Handler], bool]] = {
    "gone": _once(410),
    "throttled": _once(429, Retry_After="1"),
    "error": _once(500),
    "expired": _once(401),
    "login": _login,
    "cut": _cut,
    "self": _self,
}
