"""A wire on which nothing is written but with a tag, and noted before it leaves.

It sits below everything that writes, so whichever way a resource takes (PUT, POST, an entry of a Bundle,
by condition or not), it can be found again by its tag, and by what was noted where no answer comes.
"""

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import httpx
import msgspec
from msgspec import Raw

from fhir_msct.client.network import Network
from fhir_msct.errors import MsctError

RUNS, MARKS = "urn:fhir-msct:demo-run", "urn:fhir-msct:demo-mark"
"""The systems of the two tags: one that a whole run has, and one a resource whose id the server chooses."""

_PLACE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})")
_exact = msgspec.json.Decoder(float_hook=lambda text: Raw(text.encode()))


class Writing(NamedTuple):
    """A resource that is about to be written; without an id where the server chooses one."""

    type: str
    mark: str
    id: str | None


class Marked(httpx.BaseTransport):
    """Tags what is written under a base address with a run, and has it noted. All else passes as it is."""

    def __init__(
        self,
        base_url: str,
        run: str,
        *,
        noted: Callable[[Sequence[Writing]], None],
        answered: Callable[[Sequence[Writing], bool], None],
        inner: httpx.BaseTransport | None = None,
    ) -> None:
        """`noted` is called before a request leaves, `answered` when what it writes is settled.

        That is when the server has answered each sending of it, and not only a gateway on the way to it;
        with whether the answer was that nothing was written.
        """
        self._base, self._run = httpx.URL(base_url.rstrip("/")), run
        self._noted, self._answered = noted, answered
        self.latest: Sequence[Writing] = ()
        """What the latest request that writes writes, in its order."""
        self._doubtful: set[Writing] = set()
        """What was sent and may still be carried out: nobody answered, or somebody who does not know."""
        self._inner = inner or httpx.HTTPTransport(**Network().options(), trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The server's answer; raises MsctError for a write that cannot be marked."""
        path = self._path(request)
        if request.method in ("GET", "HEAD", "DELETE") or path is None or path.endswith("_search"):
            return self._inner.handle_request(request)
        content, writings = self._marked(request.method, path, request.read())
        if not writings:  # a batch that reads, or deletes
            return self._inner.handle_request(request)
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
        marked = httpx.Request(
            request.method, request.url, headers=headers, content=content, extensions=request.extensions
        )
        return self._written(marked, writings)

    def _written(self, request: httpx.Request, writings: Sequence[Writing]) -> httpx.Response:
        """The answer to a request that writes; a 5xx may be a gateway's, and the server still at work."""
        self.latest = writings
        self._noted(writings)
        before = self._doubtful
        self._doubtful = before.union(writings)
        answer = self._inner.handle_request(request)
        if answer.status_code < 500:
            self._doubtful = before
            self._answered([one for one in writings if one not in before], answer.status_code >= 400)
        return answer

    def close(self) -> None:
        """Lets go of the connections."""
        self._inner.close()

    def _path(self, request: httpx.Request) -> str | None:
        """What follows the base address, with its query; None for another address (a token's)."""
        own, url = self._base.raw_path.rstrip(b"/"), request.url
        same = (url.scheme, url.host, url.port) == (self._base.scheme, self._base.host, self._base.port)
        path = url.raw_path.partition(b"?")[0]
        if not same or not (path.rstrip(b"/") == own or path.startswith(own + b"/")):
            return None
        return url.raw_path[len(own) :].decode("ascii").lstrip("/")

    def _marked(self, method: str, path: str, content: bytes) -> tuple[bytes, list[Writing]]:
        tree = _exact.decode(content)
        if path.partition("?")[0] or tree.get("resourceType") != "Bundle":
            return msgspec.json.encode(tree), [self._mark(method, path, tree)]
        writings = []
        for entry in tree.get("entry") or ():
            asked = entry["request"]
            if asked["method"] not in ("GET", "HEAD", "DELETE"):
                address = asked["url"].removeprefix(str(self._base)).lstrip("/")
                writings.append(self._mark(asked["method"], address, entry["resource"]))
        return msgspec.json.encode(tree), writings

    def _mark(self, method: str, path: str, tree: dict[str, Any]) -> Writing:
        """Puts the tags into a resource's meta."""
        if method not in ("PUT", "POST") or "resourceType" not in tree:
            raise MsctError(f"{method} cannot be marked with the run's tag: nothing was sent")
        named = _PLACE.fullmatch(path) if method == "PUT" else None
        mark = named[2] if named else f"{self._run}-{sha256(msgspec.json.encode(tree)).hexdigest()[:32]}"
        tags = [{"system": RUNS, "code": self._run}]
        tags += [] if named else [{"system": MARKS, "code": mark}]
        meta = tree.get("meta") or {}
        tree["meta"] = {**meta, "tag": [*(meta.get("tag") or ()), *tags]}
        return Writing(tree["resourceType"], mark, named[2] if named else None)


def run_of(tree: dict[str, Any], run: str) -> tuple[bool, str | None]:
    """Whether a resource carries the tag of a run; and its mark."""
    meta = tree.get("meta")
    found = meta.get("tag") if isinstance(meta, dict) else None
    tags = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    marks = [one.get("code") for one in tags if one.get("system") == MARKS]
    tagged = any(one.get("system") == RUNS and one.get("code") == run for one in tags)
    return tagged, next((mark for mark in marks if isinstance(mark, str)), None)
