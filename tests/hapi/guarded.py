"""HAPI behind a door of ours: SMART discovery, the sandbox's own token endpoint, nothing without a token.

Everything else goes to HAPI as it is, with the door's own address as Host, so that every link in an answer
leads back to the door. `faults.chaos.Chaos` stands in front of it as it does in front of the model server.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import httpx
import msgspec

from faults.chaos import Written
from faults.model import Key
from fhir_msct.sandbox.permissions import needed
from fhir_msct.sandbox.routes import TOKEN_PATH
from fhir_msct.sandbox.smart import Denied, Smart
from lib.fake_fhir import reply, status
from lib.virtual_time import VirtualTime

PATH = "/fhir"
_KEPT = ("content-location", "location", "etag", "last-modified", "retry-after", "x-progress")
_PASSED = ("accept", "content-type", "cache-control", "prefer", "if-match", "if-none-match", "if-none-exist")

Bend = Callable[[list[bytes], list[Key], str | None], bytes | None]


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")


class _Link(msgspec.Struct):
    relation: str
    url: str


class _Page(msgspec.Struct):
    entry: list[_Entry] = []
    link: list[_Link] = []


class Guarded:
    """The honest answers; what passed is remembered."""

    def __init__(self, upstream: str, base: str, http: httpx.Client, time: VirtualTime, smart: Smart) -> None:
        """`upstream` is HAPI's address, `base` the door's own."""
        self.base, self.time, self.smart = base, time, smart
        self.held: dict[Key, bytes] = {}
        self.history: dict[Key, list[Written]] = {}
        """Every version of a resource that was seen in a search, oldest first."""
        self.bend: Bend = lambda bodies, before, following: None
        """A page as it is given instead; None leaves it as it is."""
        self.counted: Callable[[int], int] = int
        self.idle: list[str] = []
        """`Type/id` of each write that HAPI took and that changed nothing: it had been sent before."""
        self.blind: list[str] = []
        """`Type/id` of each resource that was overwritten by a write that named no version."""
        self.naked: list[str] = []
        """Requests that came without a token, discovery and token endpoint aside."""
        self._upstream, self._http = httpx.URL(upstream), http
        self._shown: dict[str, list[Key]] = defaultdict(list)

    @property
    def now(self) -> datetime:
        """HAPI's clock, which is this machine's."""
        return datetime.now(UTC)

    @property
    def token_url(self) -> str:
        """Where tokens are asked for."""
        return self.base.removesuffix(PATH) + TOKEN_PATH

    def answer(self, request: httpx.Request) -> httpx.Response:
        """The honest answer; its body is a stream of `Chunks`."""
        if request.url.path == TOKEN_PATH:
            return self._token(request)
        if request.url.path == f"{PATH}/.well-known/smart-configuration":
            return _json(200, self.smart.configuration(self.token_url))
        if not request.headers.get("Authorization"):
            self.naked.append(f"{request.method} {request.url.path}")
        grant = self.smart.admit(request.headers.get("Authorization"), self.now)
        if grant is None:
            return status(401, "login", WWW_Authenticate="Bearer")(request)
        if not all(grant.allows(*one) for one in _needed(request)):
            return status(403, "forbidden")(request)
        return self._asked(request)

    def beginning(self, following: str | None) -> str:
        """The link to the first page of the search that is being answered."""
        search = parse_qs(httpx.URL(following or "").query.decode()).get("_getpages", ["none"])[0]
        return f"{self.base}?_getpages={search}&_getpagesoffset=0&_bundletype=searchset"

    def remember(self, body: bytes) -> Key:
        """Takes note of a resource as it is held now."""
        key = _key(body)
        if self.held.get(key) != body:
            self.history.setdefault(key, []).append(Written(body, ours=False))
        self.held[key] = body
        return key

    def _token(self, request: httpx.Request) -> httpx.Response:
        kind = request.headers.get("Content-Type", "")
        try:
            return _json(200, self.smart.token(kind, request.content, self.token_url, self.now))
        except Denied as no:
            return _json(400, {"error": no.error, "error_description": no.text})

    def _asked(self, request: httpx.Request) -> httpx.Response:
        """What HAPI says."""
        describing = request.url.path == f"{PATH}/metadata"
        if describing and (known := _METADATA.get(self.base)):
            return reply(200, known)
        answer = forwarded(request, self._upstream, self._http)
        if request.method == "POST" and request.url.path == PATH and answer.status_code == 200:
            self._written(json.loads(request.content), answer.json())
        if describing:
            _METADATA[self.base] = answer.content
        body = self._searched(request, answer.content) if answer.status_code == 200 else answer.content
        return passed_on(answer, body)

    def _searched(self, request: httpx.Request, body: bytes) -> bytes:
        """The body of an answer: where it is a page, or a count, as it is to be given."""
        if b'"type":"searchset"' not in body[:400]:
            return body
        asked = str(request.url) + request.content.decode("utf-8", "replace")
        if "_summary=count" in asked:
            tree = json.loads(body)
            total = self.counted(tree.get("total", 0))
            return body if total == tree.get("total") else json.dumps(tree | {"total": total}).encode()
        page = msgspec.json.decode(body, type=_Page)
        following = next((link.url for link in page.link if link.relation == "next"), None)
        own = next((link.url for link in page.link if link.relation == "self"), "")
        search = parse_qs(httpx.URL(following or own).query.decode()).get("_getpages", [own])[0]
        before = list(self._shown[search])
        bodies = [bytes(one.resource) for one in page.entry]
        self._shown[search] += [_key(one) if _SUBSETTED in one else self.remember(one) for one in bodies]
        return self.bend(bodies, before, following) or body

    def _written(self, sent: Any, answer: Any) -> None:
        for entry, done in zip(sent["entry"], answer["entry"], strict=True):
            response, asked = done["response"], entry["request"]
            if asked["method"] == "GET":
                continue
            if "UPDATE_NO_CHANGE" in json.dumps(response.get("outcome")):
                self.idle.append(asked["url"])
            if response["status"].startswith("200") and "ifMatch" not in asked:
                self.blind.append(asked["url"])


def forwarded(request: httpx.Request, upstream: httpx.URL, http: httpx.Client) -> httpx.Response:
    """What the server behind says, whole and not packed; its links lead to whom the request was sent."""
    headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
    headers |= {"Host": request.url.netloc.decode(), "Accept-Encoding": "identity"}
    url = upstream.copy_with(raw_path=request.url.raw_path)
    return http.request(request.method, url, headers=headers, content=request.content)


def passed_on(answer: httpx.Response, body: bytes) -> httpx.Response:
    """An answer with this body in place of its own."""
    kept = {name.replace("-", "_"): answer.headers[name] for name in _KEPT if name in answer.headers}
    return reply(answer.status_code, body, answer.headers.get("content-type", ""), **kept)


_METADATA: dict[str, bytes] = {}
"""The CapabilityStatement of each address, asked of HAPI once: it weighs 1.5 MB."""

_SUBSETTED = b'"SUBSETTED"'


def _key(body: bytes) -> Key:
    tree = json.loads(body)
    return tree["resourceType"], tree["id"]


def _needed(request: httpx.Request) -> Iterator[tuple[str, str]]:
    """The scopes that a request wants; an export, its files, and a further page only want a token."""
    path = request.url.path.removeprefix(PATH).strip("/")
    if "$" not in path and not path.startswith("Binary/"):
        yield from needed(request.method, path, request.content)


def _json(code: int, document: dict[str, Any]) -> httpx.Response:
    return reply(code, json.dumps(document), "application/json", Cache_Control="no-store")
