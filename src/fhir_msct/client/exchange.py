"""One question, one whole answer: sent at a guest's pace, tried again where that is right, read strictly.

No credential sits in the HTTP client: the token is put on each request whose address lies on our own
origin, a cookie goes back to that origin only, and nothing else is ever sent anywhere; what a way to
authenticate has to ask first (`auth.Ask`) goes without a token. Redirects are followed by hand
(`redirects.py`), proxies of the environment are not used.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import httpx
import msgspec
from msgspec import Struct

from fhir_msct.client import origin as origins
from fhir_msct.client.auth import Ask, Auth, bearer
from fhir_msct.client.body import Limits, read_body
from fhir_msct.client.failures import NoUse, TooSlow, Unusable, no_answer
from fhir_msct.client.network import Network
from fhir_msct.client.origin import Origin
from fhir_msct.client.redirects import Trail
from fhir_msct.client.reply import FHIR_JSON, REFUSED, Reply, checked, reply_of, request_id, says_later
from fhir_msct.client.retry import FAILED, RETRIED, Gate, Patience, asked_wait
from fhir_msct.client.unlogged import unlogged
from fhir_msct.errors import MsctError, ServerFailed, ServerUnfit, Unreachable

TIMEOUT = 75.0
"""Seconds: HAPI gives up on a search after 60, and says so."""

METADATA = "metadata"
"""The route of what a server says of itself."""


class Sent(Struct, frozen=True):
    """One line of the request log: never an address, which may name a patient."""

    method: str
    route: str
    status: int
    bytes: int
    id: str = ""
    """X-Request-Id as the server answered it, else as it was sent: what finds it in the server's own log."""


class Exchange:
    """The connection to one origin."""

    def __init__(
        self,
        origin: Origin,
        *,
        transport: httpx.BaseTransport | None,
        token: str | None,
        user_agent: str,
        patience: Patience,
        limits: Limits,
        on_sent: Callable[[Sent], None] | None,
        auth: Auth | None = None,
        network: Network | None = None,
        section: str = "server",
        may_send: Callable[[], None] | None = None,
    ) -> None:
        """`section` of study.toml describes the way to this server: messages name its keys.

        `may_send` is called before each request leaves, and keeps it here by raising.
        """
        self.origin, self._section, self._let_in = origin, section, False
        self.auth = auth or bearer(token)
        self.patience, self.limits = patience, limits
        self._on_sent, self._may_send = on_sent, may_send
        network = network or Network()
        self._gate = Gate(patience, None if origin.is_loopback else network.requests_per_second)
        way = {"transport": transport} if transport else network.options()
        self._http = httpx.Client(
            **way,
            trust_env=False,
            follow_redirects=False,
            timeout=TIMEOUT,
            headers={"User-Agent": user_agent, "Accept": FHIR_JSON, "Accept-Encoding": "gzip"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with unlogged():
            self._http.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        route: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        repeat: bool = True,
        failing: int | None = None,
    ) -> Reply:
        """The answer, whatever its status; a status that says "later" is tried again first.

        `failing` is how many failures (FAILED, or no answer in time) are enough, where fewer than usual.
        With `repeat=False` (a write whose effect is unknown when no answer comes) only a 429 is tried
        again. A 401 is asked again once, with a new token where there can be one. Raises Unreachable,
        Unusable, ServerUnfit (a page for people, or an address elsewhere, instead of FHIR), MsctError
        where the address lies on another origin, and what keeps us from getting a token.
        """
        if not self.origin.holds(url):
            raise MsctError(f"{route}: {origins.shown(url)} is not {self.origin}: nothing was sent")
        tried, renewed = 0, False
        while True:
            tried += 1
            last = tried >= self.patience.tries
            enough = failing is not None and tried >= failing
            self._gate.wait()  # first: a token may not live as long as the server makes us wait
            authorization = self._authorization()
            said = {**(headers or {})} | ({"Authorization": authorization} if authorization else {})
            try:
                reply, wait = self._once(method, url, route, said, content)
            except (Unreachable, Unusable) as error:
                if last or not repeat or isinstance(error, NoUse) or (enough and isinstance(error, TooSlow)):
                    raise
                wait = None
            else:
                if reply.status == 401 and not renewed and self.auth.renew(authorization):
                    tried, renewed = tried - 1, True
                    continue
                reply, later = self._judged(reply, route), says_later(reply)
                last = last or (enough and reply.status in FAILED)
                if last or not later or not (repeat or reply.status == 429):
                    self._gate.close_for((wait or 0.0) if later else 0.0)
                    return reply
            self._gate.close_for(self.patience.backoff(tried) if wait is None else wait)

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        route: str,
        headers: Mapping[str, str],
        with_token: bool,
        admits: Callable[[str], bool],
        content: bytes | None = None,
    ) -> Iterator[httpx.Response]:
        """One try at an answer whose body the caller reads; raises Unreachable, also while it is read.

        Whoever calls has made sure that the address may be asked, and that the token may go there;
        `admits` says the same of where a redirect leads to. Raises Unusable (`redirect`) where it may not.
        """
        self._gate.wait()
        authorization = self._authorization() if with_token else ""
        said = {**headers} | ({"Authorization": authorization} if authorization else {})
        trail = self._trail(method, url, route, admits)
        while True:
            with self._streamed(method, trail.url, route, said, content) as response:
                status, place = response.status_code, response.headers.get("location", "")
                if not trail.leads_on(status):
                    if status == 401 and with_token:
                        self.auth.renew(authorization)
                    if status in RETRIED:
                        self._gate.close_for(asked_wait(response.headers) or 0.0)
                    self._let_in |= status < 300
                    yield response
                    return
            try:
                trail.go_on(status, place)
            except ServerUnfit as error:
                raise Unusable("redirect", str(error)) from None
            self._gate.wait()

    @contextmanager
    def _streamed(
        self, method: str, url: str, route: str, headers: Mapping[str, str], content: bytes | None
    ) -> Iterator[httpx.Response]:
        """One answer, of which nothing is read yet; noted down when it is."""
        own, status, size = secrets.token_hex(8), 0, 0
        named, answered = {**headers, "X-Request-Id": own}, ""
        request = self._http.build_request(method, url, headers=named, content=content)
        if not self.origin.is_place_of(url):
            request.headers.pop("Cookie", None)  # the session of our server is nobody else's
        if self._may_send:
            self._may_send()
        try:
            with unlogged():
                response = self._http.send(request, stream=True)
                try:
                    status = response.status_code
                    answered = request_id(response.headers.get("x-request-id", ""))
                    yield response
                    size = response.num_bytes_downloaded
                finally:
                    response.close()
        except httpx.TransportError as error:
            raise no_answer(error, self._named(url)) from None
        except httpx.InvalidURL:  # of a Location, which httpx reads though it is not to follow it
            raise Unusable("redirect", f"{route}: sent on to an address that is none") from None
        finally:
            if self._on_sent:
                self._on_sent(Sent(method, route, status, size, answered or own))

    def _authorization(self) -> str:
        """What goes into the header: what is held, or what the server gives after being asked, patiently.

        Each try begins the flow anew: an assertion is good for one use.
        """
        tried = 0
        while True:
            tried += 1
            last = tried >= self.patience.tries
            try:
                found = self._driven(last)
            except Unusable as error:
                if last:
                    raise ServerFailed(str(error)) from None
                found = None
            except Unreachable as error:
                if last or isinstance(error, NoUse):
                    raise
                found = None
            if isinstance(found, str):
                return found
            self._gate.close_for(self.patience.backoff(tried) if found is None else found)

    def _driven(self, last: bool) -> str | float | None:
        """The header's value; else how long to wait (None: as long as we like) before the next try."""
        flow = self.auth.flow()
        try:
            ask: Ask = next(flow)
            while True:
                self._gate.wait()
                reply, wait = self._once(ask.method, ask.url, ask.route, dict(ask.headers), ask.content)
                if says_later(reply) and not last:
                    return wait
                ask = flow.send(reply)
        except StopIteration as done:
            return str(done.value)
        finally:
            flow.close()

    def _once(
        self, method: str, url: str, route: str, headers: dict[str, str], content: bytes | None
    ) -> tuple[Reply, float | None]:
        """One answer and how long the server wants us to wait before the next request."""
        trail = self._trail(method, url, route, self.origin.holds)
        while True:
            with self._streamed(method, trail.url, route, headers, content) as response:
                status, place = response.status_code, response.headers.get("location", "")
                if not trail.leads_on(status):
                    return self._read(response, route)
            trail.go_on(status, place)
            self._gate.wait()

    def _read(self, response: httpx.Response, route: str) -> tuple[Reply, float | None]:
        body = self._body(response, route)
        return reply_of(response.status_code, response.headers, body), asked_wait(response.headers)

    def _body(self, response: httpx.Response, route: str) -> bytes:
        if response.status_code >= 300:
            try:
                return read_body(response, self.limits)
            except Unusable:
                return b""
        body = read_body(response, self.limits)
        if body:
            named = self._named(str(response.request.url))
            checked(body, response.headers.get("content-type", ""), route, named, self._key("url"))
        elif response.request.method in ("GET", "POST") and response.status_code == 200:
            raise Unusable("cut", f"{route}: an answer without a body")
        return body

    def _judged(self, reply: Reply, route: str) -> Reply:
        """An answer, and what a refusal is: a matter of settings as long as nothing was ever let through."""
        if reply.status in REFUSED:
            why = self.auth.refused if reply.status == 401 else "our access does not cover this"
            refusal = f"{why}: see {self._key(self.auth.key)} in study.toml"
            return msgspec.structs.replace(reply, refusal=refusal, let_in=self._let_in)
        self._let_in |= reply.status < 300 and route != METADATA  # which many servers show to everybody
        return reply

    def _trail(self, method: str, url: str, route: str, admits: Callable[[str], bool]) -> Trail:
        named = self._named(url)
        return Trail(method, url, route=route, named=named, key=self._key("url"), admits=admits)

    def _key(self, name: str) -> str:
        return f"[{self._section}] {name}"

    def _named(self, url: str) -> str:
        """Whose address that is."""
        return str(self.origin) if self.origin.holds(url) else origins.shown(url)
