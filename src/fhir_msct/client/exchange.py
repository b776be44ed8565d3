"""One question, one whole answer: sent at a guest's pace, tried again where that is right, read strictly.

No credential sits in the HTTP client: the token is put on each request whose address lies on our own
origin, and nothing else is ever sent anywhere; what a way to authenticate has to ask first (`auth.Ask`)
goes without one. Redirects are not followed, proxies of the environment are not used.
"""

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec
from msgspec import Struct

from fhir_msct.client import origin as origins
from fhir_msct.client.auth import Ask, Auth, bearer
from fhir_msct.client.body import Limits, read_body
from fhir_msct.client.bundle import checked_text
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.network import Network
from fhir_msct.client.origin import Origin
from fhir_msct.client.retry import RETRIED, TRANSIENT, Gate, Patience, http_date, retry_after
from fhir_msct.errors import MsctError, ServerFailed, ServerUnfit, Unreachable

FHIR_JSON = "application/fhir+json"
_JSON = frozenset({FHIR_JSON, "application/json", "application/json+fhir"})

GUEST_CONNECTIONS, GUEST_REQUESTS = 4, 5.0
"""What a server that is not our own machine is asked to bear: connections, and requests a second."""

TIMEOUT = 60.0


class Reply(Struct, frozen=True, kw_only=True):
    """A whole answer."""

    status: int
    body: bytes = b""
    codes: tuple[str, ...] = ()
    etag: str | None = None
    date: datetime | None = None
    """The server's own clock."""
    media: str = ""
    """The media type, in lower case and without its parameters."""
    encoding: str = ""
    """How the body was compressed on its way."""


class Sent(Struct, frozen=True):
    """One line of the request log: never an address, which may name a patient."""

    method: str
    route: str
    status: int
    bytes: int


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
    ) -> None:
        self.origin = origin
        self.auth = auth or bearer(token)
        self._patience, self._limits = patience, limits
        self.patience, self.limits = patience, limits
        self._on_sent = on_sent
        self._gate = Gate(patience, None if origin.is_loopback else GUEST_REQUESTS)
        way = {"transport": transport} if transport else (network or Network()).options()
        self._http = httpx.Client(
            **way,
            trust_env=False,
            follow_redirects=False,
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=GUEST_CONNECTIONS),
            headers={"User-Agent": user_agent, "Accept": FHIR_JSON, "Accept-Encoding": "gzip"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
    ) -> Reply:
        """The answer, whatever its status; a status that says "later" is tried again first.

        With `repeat=False` (a write whose effect is unknown when no answer comes) only a 429 is tried
        again. A 401 is asked again once, with a new token where there can be one. Raises Unreachable,
        Unusable, ServerUnfit (a page for people, or another address, instead of FHIR), MsctError where
        the address lies on another origin, and what keeps us from getting a token.
        """
        if not self.origin.holds(url):
            raise MsctError(f"{route}: {origins.shown(url)} is not {self.origin}: nothing was sent")
        tried, renewed = 0, False
        while True:
            tried += 1
            last = tried >= self._patience.tries
            authorization = self._authorization()
            said = {**(headers or {})} | ({"Authorization": authorization} if authorization else {})
            self._gate.wait()
            try:
                reply, wait = self._once(method, url, route, said, content)
            except (Unreachable, Unusable) as error:
                if last or not repeat or isinstance(error, _NoUse):
                    raise
                wait = None
            else:
                if reply.status == 401 and not renewed and self.auth.renew(authorization):
                    tried, renewed = tried - 1, True
                    continue
                later = _says_later(reply)
                if last or not later or not (repeat or reply.status == 429):
                    self._gate.close_for((wait or 0.0) if later else 0.0)
                    return reply
            self._gate.close_for(self._patience.backoff(tried) if wait is None else wait)

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        route: str,
        headers: Mapping[str, str],
        with_token: bool,
        content: bytes | None = None,
    ) -> Iterator[httpx.Response]:
        """One try at an answer whose body the caller reads; raises Unreachable, also while it is read.

        Whoever calls has made sure that the address may be asked, and that the token may go there.
        """
        authorization = self._authorization() if with_token else ""
        said = {**headers} | ({"Authorization": authorization} if authorization else {})
        self._gate.wait()
        request = self._http.build_request(method, url, headers=said, content=content)
        status = size = 0
        try:
            response = self._http.send(request, stream=True)
            try:
                status = response.status_code
                if status == 401 and with_token:
                    self.auth.renew(authorization)
                yield response
                size = response.num_bytes_downloaded
            finally:
                response.close()
        except httpx.TransportError as error:
            raise _no_answer(error, origins.shown(url)) from None
        finally:
            if self._on_sent:
                self._on_sent(Sent(method, route, status, size))

    def _authorization(self) -> str:
        """What goes into the header: what is held, or what the server gives after being asked, patiently.

        Each try begins the flow anew: an assertion is good for one use.
        """
        tried = 0
        while True:
            tried += 1
            last = tried >= self._patience.tries
            try:
                found = self._driven(last)
            except Unusable as error:
                if last:
                    raise ServerFailed(str(error)) from None
                found = None
            except Unreachable as error:
                if last or isinstance(error, _NoUse):
                    raise
                found = None
            if isinstance(found, str):
                return found
            self._gate.close_for(self._patience.backoff(tried) if found is None else found)

    def _driven(self, last: bool) -> str | float | None:
        """The header's value; else how long to wait (None: as long as we like) before the next try."""
        flow = self.auth.flow()
        try:
            ask: Ask = next(flow)
            while True:
                self._gate.wait()
                reply, wait = self._once(ask.method, ask.url, ask.route, dict(ask.headers), ask.content)
                if _says_later(reply) and not last:
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
        request = self._http.build_request(method, url, headers=headers, content=content)
        status = size = 0
        try:
            response = self._http.send(request, stream=True)
            try:
                status = response.status_code
                body = self._body(response, route)
                size = len(body)
            finally:
                response.close()
        except httpx.TransportError as error:
            raise _no_answer(error, self._named(url)) from None
        finally:
            if self._on_sent:
                self._on_sent(Sent(method, route, status, size))
        date = http_date(response.headers.get("date"))
        reply = Reply(
            status=status,
            body=body,
            codes=() if status < 300 else issue_codes(body),
            etag=response.headers.get("etag"),
            date=date,
            media=media_type(response.headers.get("content-type", "")),
            encoding=response.headers.get("content-encoding", "").strip().lower(),
        )
        return reply, retry_after(response.headers.get("retry-after"), date or datetime.now(UTC))

    def _body(self, response: httpx.Response, route: str) -> bytes:
        if 300 <= response.status_code < 400 and response.status_code != 304:
            place = origins.shown(self.origin.resolve(response.headers.get("location", "")))
            named = self._named(str(response.request.url))
            raise ServerUnfit(f"{route}: {named} sends us on to {place}: write the final address")
        if response.status_code >= 300:
            try:
                return read_body(response, self._limits)
            except Unusable:
                return b""
        body = read_body(response, self._limits)
        if body:
            _checked(body, response.headers.get("content-type", ""), route)
        elif response.request.method in ("GET", "POST") and response.status_code == 200:
            raise Unusable("cut", f"{route}: an answer without a body")
        return body

    def _named(self, url: str) -> str:
        """Whose address that is."""
        return str(self.origin) if self.origin.holds(url) else origins.shown(url)


def _no_answer(error: BaseException, named: str) -> Unreachable:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return _NoUse(f"{named}: the secure connection was refused: {cause.reason or 'TLS'}")
        cause = cause.__cause__ or cause.__context__
    return Unreachable(f"{named} gives no answer ({type(error).__name__}): run this again later")


class _NoUse(Unreachable):
    """No answer, and no hope that the next try brings one."""


def _says_later(reply: Reply) -> bool:
    transient = 400 <= reply.status < 500 and not TRANSIENT.isdisjoint(reply.codes)
    return reply.status in RETRIED or transient


def _checked(body: bytes, content_type: str, route: str) -> None:
    """Returns for whole JSON; a login page with status 200 is not FHIR, and half a body is none."""
    media = media_type(content_type)
    if media not in _JSON:
        what = "a page for people (a login?)" if "html" in media else "something else"
        raise ServerUnfit(f"{route}: answered with {what}, not with FHIR JSON: check address and access")
    checked_text(body)
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        raise Unusable("cut", f"{route}: the answer is cut short, or not JSON") from None


def media_type(content_type: str) -> str:
    """The media type of a Content-Type header, in lower case and without its parameters."""
    return content_type.split(";", 1)[0].strip().lower()


def issue_codes(body: bytes) -> tuple[str, ...]:
    """The issue codes of an OperationOutcome, which are a closed list and hold no patient's data."""
    try:
        tree: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ()
    issues = tree.get("issue") if isinstance(tree, dict) else None
    codes = [issue.get("code") for issue in issues or [] if isinstance(issue, dict)]
    return tuple(code for code in codes if isinstance(code, str) and re.fullmatch(r"[a-z-]{1,30}", code))


def declined(reply: Reply, route: str) -> Declined:
    """The error that an answer deserves which is not the one that was wanted."""
    why = f" ({', '.join(reply.codes)})" if reply.codes else ""
    advice = {401: ": the token is missing, wrong or expired", 403: ": our access does not cover this"}
    later = ": run this again later" if reply.status >= 500 else ""
    message = f"{route}: the server says {reply.status}{why}{advice.get(reply.status, later)}"
    return Declined(reply.status, reply.codes, message)
