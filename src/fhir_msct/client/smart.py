"""SMART Backend Services: a short-lived token for a signed assertion, as a flow that does no I/O itself.

    backend = SmartBackend(Origin(url), client_id="msct", key=key, access=Access(read=("Patient",)))
    flow = backend.flow()
    ask = next(flow)            # GET <base>/.well-known/smart-configuration, then POST the assertion
    ask = flow.send(reply)      # ... and in the end StopIteration with "Bearer ..."

The token lives in memory only. The token endpoint is learnt once and stays for the whole run; one on
another origin than the server's is refused unless the study names it. No answer's own text is repeated.
https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

import re
import secrets
import threading
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from fhir_msct.client.auth import Ask, Flow
from fhir_msct.client.origin import Origin, shown
from fhir_msct.client.scopes import Access, in_words, speaks_v2, ungranted
from fhir_msct.errors import ConfigError, MsctError, ServerFailed, ServerUnfit

if TYPE_CHECKING:
    from fhir_msct.client.keys import SigningKey
    from fhir_msct.client.reply import Reply

ASSERTION_LIFE = timedelta(seconds=240)
"""At most five minutes are allowed; the rest is for clocks that differ a little."""

SKEW_SEEN = timedelta(seconds=30)
"""Clocks that differ by more are believed to be the server's way: the server judges `exp` by its own."""

RENEWED_AT = 0.8
"""The part of a token's life after which a new one is asked for."""

UNTOLD_LIFE = 300.0
"""Seconds a token is taken to live whose life the server does not tell (it must)."""

WELL_KNOWN = ".well-known/smart-configuration"
_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class _Place(Struct, frozen=True):
    """What the smart-configuration says, kept for the whole run."""

    token_url: str
    v2: bool


class _Held(Struct, frozen=True):
    """A token, and the moment from which it is not used again."""

    header: str
    until: float

    def __repr__(self) -> str:
        return "_Held(...)"


class SmartBackend:
    """Our side of one server's token endpoint. Threads may share it: one at a time asks for a token."""

    key, refused = "client_id", "the token that was given for this client is refused"

    def __init__(
        self,
        base: Origin,
        *,
        client_id: str,
        key: "SigningKey",
        access: Access,
        token_origin: Origin | None = None,
        known: str = "",
        section: str = "server",
        partial: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        unique: Callable[[], str] = lambda: secrets.token_urlsafe(24),
    ) -> None:
        """`partial`: less than what was asked for will do; `missing` then says what was not granted.

        `token_origin`: where the study's [`section`] says that tokens are asked for; `known`: the origin
        where earlier runs asked.
        """
        if not access.needs:
            raise ValueError("a token for nothing: name the types that are read or written")
        self._base, self._client_id, self._key, self._access = base, client_id, key, access
        self._named, self._known, self._section, self.tokens_from = token_origin, known, section, ""
        self._partial, self._clock, self._now, self._unique = partial, clock, now, unique
        self._lock = threading.Lock()
        self._place: _Place | None = None
        self._held: _Held | None = None
        self._skew = timedelta()
        self._began = False
        self.missing: tuple[str, ...] = ()

    def flow(self) -> Flow:
        """`Bearer ...`; asks for a new token where there is none, or four fifths of its life are over.

        Raises ServerUnfit and ConfigError where there never was a token (nothing has happened yet), and
        ServerFailed later on.
        """
        with self._lock:  # held while the flow waits for an answer, by the thread that drives it
            if self._held is None or self._clock() >= self._held.until:
                self._held = None
                if self._place is None:
                    self._place = yield from self._discovered()
                self._held = yield from self._granted(self._place)
                self.tokens_from = str(Origin(self._place.token_url.partition("?")[0], allow_http=True).root)
                self._began = True
            return self._held.header

    def renew(self, spent: str) -> bool:
        """Yes: the token that was refused is forgotten, unless another thread has a new one already."""
        with self._lock:
            if self._held is not None and self._held.header == spent:
                self._held = None
        return True

    def _discovered(self) -> "Generator[Ask, Reply, _Place]":
        url = f"{self._base.base}/{WELL_KNOWN}"
        headers = {"Accept": "application/json", "Cache-Control": "no-cache"}
        reply = yield Ask(method="GET", url=url, route=WELL_KNOWN, headers=headers)
        _later(reply, f"{self._base}/{WELL_KNOWN}")
        self._notice(reply)
        told = _object(reply) if reply.status == 200 else {}
        token_url = told.get("token_endpoint")
        if not isinstance(token_url, str) or not token_url:
            raise ServerUnfit(f"{self._base} says nothing of SMART ({WELL_KNOWN}: {reply.status})")
        self._check_place(token_url)
        return _Place(token_url, speaks_v2(told))

    def _check_place(self, token_url: str) -> None:
        """Returns where an assertion may be sent to; raises ConfigError where somebody has to confirm it."""
        wanted = self._named or self._base.root
        if not wanted.holds(token_url) or "#" in token_url:
            earlier = f"; earlier runs asked at {self._known}" if self._known else ""
            raise ConfigError(
                f"{self._base} wants tokens to be asked for at {shown(token_url)}, not at "
                f"{wanted}{earlier}: nothing was sent there; where the hospital confirms that address, "
                f"name it in study.toml as [{self._section}] token_origin"
            )
        if not token_url.lower().startswith("https:") and not wanted.is_loopback:
            raise ConfigError(
                f"{self._base} wants tokens to be asked for by http, in clear: nothing was sent there; "
                "the hospital has to give them by https"
            )
        if self._known and self._named is None and self._known != str(wanted):
            raise ConfigError(
                f"{self._base} now wants tokens to be asked for at {wanted}, and earlier runs of this study "
                f"asked at {self._known}: nothing was sent there; where the hospital confirms that, name "
                f"the new one in study.toml as [{self._section}] token_origin"
            )

    def _granted(self, place: _Place) -> "Generator[Ask, Reply, _Held]":
        skew, started = self._skew, self._clock()
        reply = yield self._request(place)
        self._notice(reply)
        if reply.status in (400, 401) and self._skew != skew:
            started = self._clock()
            reply = yield self._request(place)  # once more, by the clock that this answer showed
        _later(reply, shown(place.token_url))
        told = _object(reply)
        if reply.status != 200:
            raise self._no(_refusal(place.token_url, reply.status, told, self._scope(place)))
        token, kind = told.get("access_token"), str(told.get("token_type", "bearer"))
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token) or kind.lower() != "bearer":
            raise self._no(f"{shown(place.token_url)} answered without a bearer token")
        self._check_scope(told, place)
        return _Held(f"Bearer {token}", started + RENEWED_AT * _seconds(told.get("expires_in")))

    def _request(self, place: _Place) -> Ask:
        expires = self._now() + self._skew + ASSERTION_LIFE
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": place.token_url,
            "exp": int(expires.timestamp()),
            "jti": self._unique(),
        }
        form = {
            "grant_type": "client_credentials",
            "scope": self._scope(place),
            "client_assertion_type": _TYPE,
            "client_assertion": self._key.signed(claims),
        }
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        content = urlencode(form).encode("ascii")
        return Ask(method="POST", url=place.token_url, route="[token]", headers=headers, content=content)

    def _scope(self, place: _Place) -> str:
        return " ".join(self._access.scopes(v2=place.v2))

    def _check_scope(self, told: dict[str, Any], place: _Place) -> None:
        """Where the answer does not say what was granted, all was (RFC 6749, section 5.1)."""
        granted = told.get("scope")
        missing = ungranted(self._access, granted) if isinstance(granted, str) else ()
        if missing and not (self._partial and len(missing) < len(self._access.needs)):
            asked = [one for one in self._access.scopes(v2=place.v2) if _type(one) in missing]
            raise self._no(
                f"{self._base} grants less than was asked for: no full access to {in_words(missing)}; "
                f"ask the hospital for {' '.join(asked)}"
            )
        self.missing = missing

    def _notice(self, reply: "Reply") -> None:
        """Learns how far the server's clock is from ours."""
        if reply.date is not None:
            skew = reply.date - self._now()
            if abs(skew - self._skew) > SKEW_SEEN:
                self._skew = skew if abs(skew) > SKEW_SEEN else timedelta()

    def _no(self, text: str) -> MsctError:
        """What a refusal is: before the first token a matter of settings, later of the run."""
        return ServerFailed(f"{text}; run this again to go on") if self._began else ConfigError(text)


def _later(reply: "Reply", place: str) -> None:
    if reply.status >= 500 or reply.status == 429:
        raise ServerFailed(f"{place} says {reply.status}: run this again later")


def _refusal(token_url: str, status: int, told: dict[str, Any], asked: str) -> str:
    """The refusal in words: its code is from a closed list (RFC 6749, section 5.2), its text is not."""
    code = told.get("error")
    said = f", {code}" if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code) else ""
    advice = {
        "invalid_client": ": is this key registered there, under this client_id?",
        "invalid_scope": f": it does not give one of these: {asked}",
    }
    return f"{shown(token_url)} gives no token ({status}{said}){advice.get(str(code), '')}"


def _object(reply: "Reply") -> dict[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        tree = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _seconds(told: Any) -> float:
    try:
        seconds = UNTOLD_LIFE if told is None or isinstance(told, bool) else float(told)
    except (TypeError, ValueError):
        return UNTOLD_LIFE
    return min(max(seconds, 0.0), 86_400.0) if seconds == seconds else UNTOLD_LIFE


def _type(scope: str) -> str:
    return scope.removeprefix("system/").partition(".")[0]
