"""A server that exports as many bytes as are wanted, made up while they are sent; nothing else.

    python benchmarks/bulk_server.py --bytes 1000000000 --patients 100

It knows what its counts must be, so a pull from it can prove itself complete. It says its address on its
first line and ends when its standard input does.
"""

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import observations

BLOCK = 1000
"""Observations that are made up once; each later thousand differs in its ids."""


def blocks(size: int, patients: int) -> Iterator[tuple[int, bytes]]:
    """NDJSON of at least so many bytes, a thousand lines at a time, with the number of its lines."""
    block = "".join(line + "\n" for line in islice(observations.lines(BLOCK, patients), BLOCK))
    sent = number = 0
    while sent < size:
        part = block.replace('"id":"o00000', f'"id":"o{number:05}').encode()
        yield BLOCK, part
        sent, number = sent + len(part), number + 1


def counts(size: int, patients: int) -> dict[str, int]:
    """How many Observations each patient has."""
    of_one: dict[str, int] = {}
    for line in observations.lines(BLOCK, patients):
        owner = json.loads(line)["subject"]["reference"].removeprefix("Patient/")
        of_one[owner] = of_one.get(owner, 0) + 1
    times = sum(1 for _ in blocks(size, patients))
    return {owner: number * times for owner, number in of_one.items()}


class Answers(BaseHTTPRequestHandler):
    """Export, its status, its file, and counts."""

    protocol_version = "HTTP/1.1"
    size, patients = 0, 1
    of_one: dict[str, int] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        base = f"http://{self.headers['Host']}"
        if url.path == "/metadata":
            self._json(
                {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [self._rest()]}
            )
        elif url.path.endswith("/$export"):
            self._json({}, 202, {"Content-Location": f"{base}/job"})
        elif url.path == "/job":
            file = {"type": "Observation", "url": f"{base}/file"}
            manifest = {"transactionTime": "2024-06-30T00:00:00Z", "requiresAccessToken": False}
            self._json({**manifest, "request": base, "output": [file], "error": []})
        elif url.path == "/file":
            self._file()
        else:
            asked = parse_qs(url.query).get("patient", [""])[0].split(",")
            total = sum(self.of_one.get(one, 0) for one in asked)
            self._json({"resourceType": "Bundle", "type": "searchset", "total": total})

    def do_DELETE(self) -> None:
        self._json({}, 202)

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _rest(self) -> dict[str, object]:
        return {
            "mode": "server",
            "resource": [{"type": "Observation", "interaction": [{"code": "search-type"}]}],
            "operation": [{"name": "export", "definition": "http://example.org/patient-export"}],
        }

    def _json(self, tree: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(tree).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _, part in blocks(self.size, self.patients):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--patients", type=int, default=100)
    asked = parser.parse_args()
    Answers.size, Answers.patients = asked.bytes, asked.patients
    Answers.of_one = counts(asked.bytes, asked.patients)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
