"""Everything that can go wrong between us and a server, drawn from one seeded chance.

A transport: it asks the model server for the honest answer, and then bends it, loses it, delays it, or
kills us. It also watches: every address, every token, every wait that the server had asked for.
"""

import gzip
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Protocol

import httpx

from faults.model import Key, Written
from lib.fake_fhir import Chunks, reply, status
from lib.virtual_time import VirtualTime

TOKEN = "canary-token-7f3a"  # noqa: S105  (of nobody)
FOREIGN = "https://evil.test/fhir?page=2"
LONGEST_WAIT = 300.0
STRANGER = b'{"resourceType":"Observation","id":"stranger","subject":{"reference":"Patient/nobody-of-ours"}}'
"""What a server shows that does not mind a search parameter."""


class Honest(Protocol):
    """The server behind: the model, or a real one."""

    base: str
    time: VirtualTime
    held: dict[Key, bytes]
    history: dict[Key, list[Written]]

    @property
    def now(self) -> datetime:
        """Its clock."""

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What it says when nothing goes wrong, its body as `Chunks`."""

    def beginning(self, following: str | None) -> str:
        """The link to the first page of the search that is being answered."""


class Killed(BaseException):
    """The process dies here: nothing of ours catches it."""


class Hangs(AssertionError):
    """More requests than any honest pull needs."""


class Breaks(httpx.SyncByteStream):
    """A body that ends in an error."""

    def __init__(self, part: bytes, error: BaseException) -> None:
        self._part, self._error = part, error

    def __iter__(self) -> Iterator[bytes]:
        yield self._part
        raise self._error


class Chaos(httpx.BaseTransport):
    """Between client and model server. `rate` is the chance of a fault for each request."""

    def __init__(self, server: Honest, chance: random.Random, *, token: str | None = None) -> None:
        self.server, self.chance, self.token = server, chance, token
        self.foreign = FOREIGN
        self.kinds: tuple[str, ...] = ()
        self.rate = 0.0
        self.zip = False
        self.until_killed: int | None = None
        self.until_full: int | None = None
        self.fill: Callable[[], None] = lambda: None
        self.meanwhile: Callable[[], None] = lambda: None
        self.at_points: Callable[[], None] = lambda: None
        """What else is done wherever the process may die."""
        self.struck: Counter[str] = Counter()
        self.leaks: list[str] = []
        self.known: dict[Key, bytes] = {}
        """What the archive is known to hold: a replica may lag behind it."""
        self.sent = 0
        self.alone = True
        """Whether one thread asks: what several have asked already cannot wait for the answer to one."""
        self._lock = threading.RLock()
        self._not_before = 0.0
        self.fault = ""

    def heal(self) -> None:
        """Every answer is honest again, and nobody dies."""
        self.kinds, self.rate, self.until_killed, self.meanwhile = (), 0.0, None, lambda: None
        self.until_full = None

    def again(self, *, limit: int = 4000) -> None:
        """Another process begins."""
        self.sent, self._limit, self._not_before = 0, limit, 0.0

    def point(self) -> None:
        """A place where the process may die, or the disk be full."""
        self.at_points()
        if self.until_full is not None:
            self.until_full -= 1
            if self.until_full < 0:
                self.struck["disk-full"] += 1
                self.until_full = None
                self.fill()
        if self.until_killed is not None:
            self.until_killed -= 1
            if self.until_killed < 0:
                self.struck["kill"] += 1
                self.until_killed = None
                raise Killed

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            return self._handled(request)

    def _handled(self, request: httpx.Request) -> httpx.Response:
        self._watch(request)
        self.point()
        self.meanwhile()
        self.fault = self._drawn(request)
        if before := _BEFORE.get(self.fault):
            return before(self, request)
        response = self.server.answer(request)
        if after := _AFTER.get(self.fault):
            response = after(self, request, response)
        elif self.zip and response.status_code == 200:
            response = _zipped(self, request, response)
        self.point()
        return response

    def _watch(self, request: httpx.Request) -> None:
        self.sent += 1
        if self.sent > self._limit:
            raise Hangs(f"{self.sent} requests in one run")
        ours, with_token = self.admitted(request)
        told = request.headers.get("authorization")
        if not ours or told != (f"Bearer {self.token}" if self.token and with_token else None):
            self.leaks.append(f"{request.url.host}: token {'sent' if told else 'not sent'}")
        if self.alone and self.server.time.now < self._not_before - 1e-6:
            self.leaks.append("asked again before the server wanted it")

    def admitted(self, request: httpx.Request) -> tuple[bool, bool]:
        """Whether an address may be asked at all, and whether the token has to go along."""
        return str(request.url).startswith(self.server.base), True

    def asked_to_wait(self) -> tuple[str, str]:
        """A Retry-After in any of its forms, and the server's Date; nobody may come back before it."""
        text, date, self._not_before = self.wait_told()
        return text, date

    def wait_told(self) -> tuple[str, str, float]:
        """A Retry-After, the server's Date, and the virtual time that they mean."""
        now = self.server.now.replace(microsecond=0)
        moment = now + timedelta(seconds=40)
        forms: list[tuple[str, float]] = [
            *(("2", 2), ("0", 0), ("7.5", 7.5), ("18000", LONGEST_WAIT), ("-5", 0), ("soon", 0), ("", 0)),
            (format_datetime(moment, usegmt=True), 40),
            (format_datetime(now + timedelta(hours=5), usegmt=True), LONGEST_WAIT),
            (format_datetime(now - timedelta(days=1), usegmt=True), 0),
            (str(int(moment.timestamp())), 40),
            (str(int(moment.timestamp() * 1000)), 40),
        ]
        text, wait = self.chance.choice(forms)
        return text, format_datetime(now, usegmt=True), self.server.time.now + wait

    def fits(self, kind: str, request: httpx.Request) -> bool:
        """Whether a fault can strike this request."""
        return _fits(kind, request)

    def _drawn(self, request: httpx.Request) -> str:
        if not self.kinds or self.chance.random() >= self.rate:
            return ""
        kind = self.chance.choice(self.kinds)
        if not self.fits(kind, request):
            return ""
        self.struck[kind] += 1
        return kind

    # --- bends that the model asks for while it makes a page --------------------------------------------

    def counted(self, true: int) -> int:
        """A count, bent where that is the fault of this request."""
        return true + self.chance.choice([-1, 1, 7]) if self.fault == "wrong-count" else true

    def paged(self, bodies: Sequence[bytes], before: Sequence[Key], following: str | None) -> bytes:
        """A page, bent where that is the fault of this request."""
        bodies, fault = list(bodies), self.fault
        if fault == "duplicates" and before:
            bodies += [self.server.held[key] for key in self._some(before) if key in self.server.held]
        if fault == "older-version":
            bodies += [old for key in self._some(before) for old in self._older(key)]
        if fault == "lagging-replica":
            bodies = [self.lagging(body) for body in bodies]
        if fault == "stranger":
            bodies.append(STRANGER)
        if fault == "next-to-self" and following:
            following = following.replace("_getpagesoffset=", "_getpagesoffset=0&_getpagesoffset=")
        if fault == "next-cycle" and before:
            following = self.server.beginning(following)
        if fault == "next-foreign":
            following = self.foreign
        if fault == "no-next":
            following = None
        return _bundle(bodies, following, fault, self.chance)

    def _some(self, keys: Sequence[Key]) -> list[Key]:
        return self.chance.sample(list(keys), min(3, len(keys)))

    def _older(self, key: Key) -> list[bytes]:
        """An earlier version of what was shown on an earlier page."""
        bodies = [one.body for one in self.server.history[key] if one.body is not None]
        return [self.chance.choice(bodies[:-1])] if len(bodies) > 1 and key in self.server.held else []

    def lagging(self, body: bytes) -> bytes:
        """An earlier version of what the archive is known to hold already."""
        tree = json.loads(body)
        key = (tree["resourceType"], tree.get("id", ""))
        return next(iter(self._older(key)), body) if self.known.get(key) == body else body


# --- before the server hears of it ----------------------------------------------------------------------


def _raises(kind: type[httpx.TransportError]) -> Callable[[Chaos, httpx.Request], httpx.Response]:
    def fault(chaos: Chaos, request: httpx.Request) -> httpx.Response:
        raise kind("no such luck", request=request)

    return fault


def _says(*codes: int, issue: str = "exception") -> Callable[[Chaos, httpx.Request], httpx.Response]:
    def fault(chaos: Chaos, request: httpx.Request) -> httpx.Response:
        return status(chaos.chance.choice(codes), issue)(request)

    return fault


def _later(code: int) -> Callable[[Chaos, httpx.Request], httpx.Response]:
    """Too many requests, with every form of Retry-After, and what must be waited for it."""

    def fault(chaos: Chaos, request: httpx.Request) -> httpx.Response:
        text, date = chaos.asked_to_wait()
        return status(code, "throttled", Retry_After=text, Date=date)(request)

    return fault


# --- after the server has done it -----------------------------------------------------------------------


def _lost(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    raise httpx.ReadTimeout("no answer", request=request)


def _broken(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    whole = _whole(response)
    error = httpx.ReadError("reset", request=request)
    response.stream = Breaks(whole[: chaos.chance.randrange(len(whole) + 1)], error)
    return response


def _killed(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    whole = _whole(response)
    response.stream = Breaks(whole[: chaos.chance.randrange(len(whole) + 1)], Killed())
    return response


def _cut(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    whole = _whole(response)
    response.stream = Chunks(whole[: chaos.chance.randrange(max(1, len(whole)))])
    return response


def _cut_unframed(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    response = _cut(chaos, request, response)
    del response.headers["content-length"]
    return response


def _zipped(
    chaos: Chaos, request: httpx.Request, response: httpx.Response, bend: Callable[[bytes], bytes] = bytes
) -> httpx.Response:
    packed = bend(gzip.compress(_whole(response), compresslevel=1, mtime=0))
    headers = dict(response.headers) | {"content-encoding": "gzip", "content-length": str(len(packed))}
    return httpx.Response(response.status_code, headers=headers, stream=Chunks(packed))


def _gzip_cut(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return _zipped(chaos, request, response, lambda packed: packed[: chaos.chance.randrange(len(packed) - 8)])


def _gzip_no_crc(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return _zipped(chaos, request, response, lambda packed: packed[:-8])


def _gzip_wrong_crc(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """The checksum of another text: what was packed was changed on the way."""

    def bend(packed: bytes) -> bytes:
        whole = gzip.decompress(packed)
        at = whole.rfind(b'"valueString": "') + 16
        if at < 16:
            return packed[:-8] + bytes(8)
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        return gzip.compress(changed, compresslevel=1, mtime=0)[:-8] + packed[-8:]

    return _zipped(chaos, request, response, bend)


def _gzip_bit(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    def bend(packed: bytes) -> bytes:
        flipped = bytearray(packed)
        flipped[chaos.chance.randrange(10, len(packed))] ^= 1 << chaos.chance.randrange(8)
        return bytes(flipped)

    return _zipped(chaos, request, response, bend)


def _gzip_members(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """Two members, which are one text (RFC 1952)."""
    whole = _whole(response)
    half = len(whole) // 2
    packed = gzip.compress(whole[:half], mtime=0) + gzip.compress(whole[half:], mtime=0)
    return _zipped(chaos, request, response, lambda _: packed)


def _login(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return reply(200, "<html>please log in</html>", "text/html")


def _outcome(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return reply(200, '{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"transient"}]}')


def _redirect(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return status(302, "exception", Location=chaos.foreign)(request)


def _empty(chaos: Chaos, request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return reply(200)


_BEFORE: dict[str, Callable[[Chaos, httpx.Request], httpx.Response]] = {
    "connect-timeout": _raises(httpx.ConnectTimeout),
    "connect-refused": _raises(httpx.ConnectError),
    "reset-before": _raises(httpx.RemoteProtocolError),
    "429": _later(429),
    "503": _later(503),
    "500": _says(500, 502, 504),
    "401": _says(401, issue="login"),
    "404-page": _says(404, issue="not-found"),
    "410-page": _says(410, issue="deleted"),
    "409": _says(409, issue="conflict"),
}
_AFTER: dict[str, Callable[[Chaos, httpx.Request, httpx.Response], httpx.Response]] = {
    "answer-lost": _lost,
    "reset-mid-body": _broken,
    "kill-mid-body": _killed,
    "cut-plain": _cut,
    "cut-unframed": _cut_unframed,
    "cut-gzip": _gzip_cut,
    "gzip-no-crc": _gzip_no_crc,
    "gzip-wrong-crc": _gzip_wrong_crc,
    "gzip-bit-flip": _gzip_bit,
    "gzip-two-members": _gzip_members,
    "login-page": _login,
    "outcome-200": _outcome,
    "redirect": _redirect,
    "empty-200": _empty,
}
PAGED = (
    *("duplicates", "older-version", "lagging-replica", "next-to-self", "next-cycle", "next-foreign"),
    *("no-next", "message-entry", "included-entry", "wrong-total", "stranger"),
)
ON_WIRE = (*_BEFORE, *_AFTER)
KINDS = (*ON_WIRE, *PAGED, "wrong-count")
"""Every kind of fault, beside kills at any point and data that change meanwhile."""


def _fits(kind: str, request: httpx.Request) -> bool:
    counting = "_summary=count" in str(request.url)
    paging, exporting = "_getpages" in str(request.url), "$export" in request.url.path
    asking = request.url.path.count("/") == 2 and b"=" in request.url.query and not exporting
    searching = not counting and (paging or asking)
    if kind in ("404-page", "410-page"):
        return paging or "/Binary/" in request.url.path or "$export-poll" in request.url.path
    if kind == "stranger":
        return searching and "_tag" not in str(request.url)
    if kind == "wrong-count":
        return counting
    if kind == "409":
        return request.method == "POST"
    return searching if kind in PAGED else True


def _whole(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, Chunks)
    return b"".join(response.stream)


def _bundle(bodies: Sequence[bytes], following: str | None, fault: str, chance: random.Random) -> bytes:
    entries = [b'{"resource":' + body + b',"search":{"mode":"match"}}' for body in bodies]
    if fault == "message-entry":
        outcome = b'{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"processing"}]}'
        entries.insert(0, b'{"resource":' + outcome + b',"search":{"mode":"outcome"}}')
    if fault == "included-entry":
        like = json.loads(bodies[0]) if bodies else {"resourceType": "Observation"}
        included = json.dumps({**like, "id": "included-1"}).encode()
        entries.append(b'{"resource":' + included + b',"search":{"mode":"include"}}')
    head = '{"resourceType":"Bundle","type":"searchset",'
    if fault == "wrong-total":
        head += f'"total":{chance.choice([0, 1, 9999])},'
    if following:
        head += f'"link":[{{"relation":"next","url":{json.dumps(following)}}}],'
    return f'{head}"entry":['.encode() + b",".join(entries) + b"]}"
