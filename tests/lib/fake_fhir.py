"""A FHIR R4 server as a transport: a function from request to answer, and every answer can be bent.

    server = FakeFhir([patient("p1"), observation("o1", "p1", "5.40")])
    server.bend("Observation", status(503), times=1)      # the first answer about Observation says 503
    with Client(server.base, transport=server.transport) as client: ...

Bodies leave as a stream of raw chunks, as from a socket, so that a cut or badly zipped one can be sent.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import httpx

BASE = "http://127.0.0.1:8099/fhir"
DATE = "Sun, 30 Jun 2024 08:00:00 GMT"
Answer = Callable[[httpx.Request], httpx.Response]

_OWNER = {"AdverseEvent": "subject", "ResearchSubject": "individual"}


class Chunks(httpx.SyncByteStream):
    """A body as it comes from a socket."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks


def reply(
    code: int, body: bytes | str = b"", kind: str = "application/fhir+json", **headers: str
) -> httpx.Response:
    """An answer whose body is a raw stream; `_` in a header's name stands for `-`."""
    body = body.encode() if isinstance(body, str) else body
    said = {"Content-Type": kind, "Content-Length": str(len(body)), "Date": DATE}
    said |= {name.replace("_", "-"): text for name, text in headers.items()}
    return httpx.Response(code, headers={k: v for k, v in said.items() if v}, stream=Chunks(body))


def status(code: int, issue: str = "processing", **headers: str) -> Answer:
    """A bend: an OperationOutcome with this status."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": issue}]}
    return lambda request: reply(code, json.dumps(outcome), **headers)


def page(code: int = 200, text: str = "<html>please log in</html>", kind: str = "text/html") -> Answer:
    """A bend: something that is no FHIR."""
    return lambda request: reply(code, text, kind)


def patient(id_: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, **more}


def observation(id_: str, who: str, value: str = "1", version: int = 1, **more: Any) -> dict[str, Any]:
    stamp = f"2024-01-{version:02}T00:00:00.000Z"
    return {
        "resourceType": "Observation",
        "id": id_,
        "meta": {"versionId": str(version), "lastUpdated": stamp},
        "subject": {"reference": f"Patient/{who}"},
        "valueString": value,
        **more,
    }


class FakeFhir:
    """Metadata, search with paging, read, put, delete; HAPI's way of linking pages."""

    def __init__(self, resources: Iterable[dict[str, Any] | bytes] = (), *, base: str = BASE) -> None:
        self.base, self.held = base, dict[tuple[str, str], bytes]()
        self.requests: list[httpx.Request] = []
        self.metadata: dict[str, Any] = {
            "resourceType": "CapabilityStatement",
            "fhirVersion": "4.0.1",
            "software": {"name": "fake", "version": "1"},
        }
        self.zip = self.no_total = False
        self.heeded, self.list_names = slice(None), {"patient", "subject", "individual"}
        """Which of several patients a search minds, in which of its parameters."""
        self._bends: list[tuple[str, Answer, int, int]] = []
        self._searches: list[tuple[list[bytes], int]] = []
        for one in resources:
            self.hold(one)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    @property
    def asked(self) -> list[str]:
        """Method, path and query of every request, below the base."""
        below = len(self.base)
        return [f"{one.method} {str(one.url)[below:]}" for one in self.requests]

    def hold(self, resource: dict[str, Any] | bytes) -> None:
        """Takes a resource in, its bytes as they are."""
        body = resource if isinstance(resource, bytes) else json.dumps(resource).encode()
        tree = json.loads(body)
        self.held[tree["resourceType"], tree["id"]] = body

    def drop(self, type_: str, id_: str) -> None:
        del self.held[type_, id_]

    def bend(self, pattern: str, answer: Answer, *, times: int = 1, after: int = 0) -> None:
        """Answers requests whose address matches differently: `times` of them, once `after` have passed."""
        self._bends.append((pattern, answer, after, after + times))

    def heal(self) -> None:
        """Every answer is honest again."""
        self._bends.clear()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        address = f"{request.method} {request.url}"
        for number, (pattern, answer, left, until) in enumerate(self._bends):
            if until > 0 and re.search(pattern, address):
                self._bends[number] = (pattern, answer, left - 1, until - 1)
                if left <= 0:
                    return answer(request)
        return self.answer(request)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """The honest answer."""
        if not str(request.url).startswith(self.base):
            return reply(404, "not here", "text/plain")
        path = [part for part in str(request.url)[len(self.base) :].split("?")[0].split("/") if part]
        asked = dict(parse_qsl(request.url.query.decode()))
        if request.method == "POST" and path[1:] == ["_search"]:
            asked = dict(parse_qsl(request.read().decode()))
            return self._search(path[0], asked)
        if path == ["metadata"]:
            return self._json(200, json.dumps(self.metadata).encode())
        if not path and "_getpages" in asked:
            return self._page(int(asked["_getpages"]), int(asked["_getpagesoffset"]))
        if len(path) == 1:
            return self._search(path[0], asked)
        return self._one(request, path[0], path[1])

    def _one(self, request: httpx.Request, type_: str, id_: str) -> httpx.Response:
        if request.method == "PUT":
            created = (type_, id_) not in self.held
            self.held[type_, id_] = request.read()
            return self._json(201 if created else 200, request.read(), ETag='W/"1"')
        if request.method == "DELETE":
            self.held.pop((type_, id_), None)
            return reply(204)
        if (type_, id_) in self.held:
            return self._json(200, self.held[type_, id_])
        return status(404, "not-found")(request)

    def _heed(self, asked: dict[str, str]) -> dict[str, str]:
        lists = {name: asked[name].split(",") for name in self.list_names if name in asked}
        return asked | {name: ",".join(several[self.heeded]) for name, several in lists.items()}

    def _search(self, type_: str, asked: dict[str, str]) -> httpx.Response:
        asked = self._heed(asked)
        held = [body for (kind, _), body in sorted(self.held.items()) if kind == type_]
        found = [body for body in held if self.finds(body, asked)]
        if asked.get("_summary") == "count":
            total = "" if self.no_total else f',"total":{len(found)}'
            return self._json(200, f'{{"resourceType":"Bundle","type":"searchset"{total}}}'.encode())
        self._searches.append((found, int(asked.get("_count", "20"))))
        return self._page(len(self._searches) - 1, 0)

    def finds(self, body: bytes, asked: dict[str, str]) -> bool:
        """Whether a resource is found by these parameters."""
        return matches(body, asked)

    def _page(self, search: int, offset: int) -> httpx.Response:
        found, size = self._searches[search]
        following = f"{self.base}?_getpages={search}&_getpagesoffset={offset + size}"
        more = offset + size < len(found)
        return self._json(200, bundle(found[offset : offset + size], following if more else None))

    def _json(self, code: int, body: bytes, **headers: str) -> httpx.Response:
        if self.zip:
            return reply(code, gzip.compress(body, mtime=0), Content_Encoding="gzip", **headers)
        return reply(code, body, **headers)


def bundle(bodies: Iterable[bytes], following: str | None = None, kind: str = "searchset") -> bytes:
    """A Bundle that holds these resources byte for byte."""
    entries = b",".join(b'{"resource": ' + body + b',"search":{"mode":"match"}}' for body in bodies)
    link = f'"link":[{{"relation":"next","url":{json.dumps(following)}}}],' if following else ""
    return f'{{"resourceType":"Bundle","type":"{kind}",{link}"entry":['.encode() + entries + b"]}"


@lru_cache(20_000)
def read(body: bytes) -> Any:
    """A resource, to look at only: whoever asks for the same bytes gets the same tree."""
    return json.loads(body)


def matches(body: bytes, asked: dict[str, str]) -> bool:
    tree = read(body)
    owner = _OWNER.get(tree["resourceType"], "patient")
    for name, text in asked.items():
        wanted = text.split(",")
        if name == "_id" and tree["id"] not in wanted:
            return False
        if name == owner:
            told = tree.get("individual" if name == "individual" else "subject", {}).get("reference", "")
            if told.removeprefix("Patient/") not in [one.removeprefix("Patient/") for one in wanted]:
                return False
        if name == "study" and tree.get("study", {}).get("reference") not in wanted:
            return False
        if name == "code":
            codings = tree.get("code", {}).get("coding", [])
            if not {f"{one.get('system')}|{one.get('code')}" for one in codings} & set(wanted):
                return False
    return True
