"""The authorization side of SMART Backend Services: assertions checked for real, short-lived tokens, scopes.

Written from the standards alone, and sharing nothing with our own client, so that the two agree only where
both are right. https://hl7.org/fhir/smart-app-launch/backend-services.html, RFC 7523, RFC 6749.

    smart = Smart({"msct": Registration(jwks, ("system/*.rs",))})
    with Sandbox(smart=smart) as server: ...
"""

import base64
import re
import secrets
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from fhir_msct.errors import UsageError

GRANT = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = {"RSA": "RS384", "EC": "ES384"}
"""The algorithm that a registered key may sign with, by its kty."""

LONGEST_ASSERTION = 300
"""Seconds: an assertion may not be good for longer."""

LETTERS = "cruds"
_WORDS = {"read": "rs", "write": "cud", "*": LETTERS}
_V1 = re.compile(r"system/(\*|[A-Z][A-Za-z]+)\.(read|write|\*)")
_V2 = re.compile(r"system/(\*|[A-Z][A-Za-z]+)\.(?=[cruds])(c?r?u?d?s?)")


class Registration(Struct, frozen=True):
    """A client that the server's owner knows: its public keys, and what it may do at most."""

    jwks: dict[str, Any]
    scopes: tuple[str, ...] = ("system/*.cruds",)


class _Grant(Struct, frozen=True):
    """What a token is good for: letters for each type (`*`: for every type), and until when."""

    letters: dict[str, frozenset[str]]
    expires: datetime

    def allows(self, type_: str, letter: str) -> bool:
        return letter in self.letters.get(type_, frozenset()) | self.letters.get("*", frozenset())


class Denied(Exception):
    """A token is not given: `error` is a code of RFC 6749, section 5.2; the text says why, for people."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(text)
        self.error, self.text = error, text


class Smart:
    """The clients that are registered, and the tokens that are good. All of it can be changed at any time."""

    def __init__(
        self,
        clients: Mapping[str, Registration],
        *,
        lifetime: float = 300,
        versions: tuple[Literal["v1", "v2"], ...] = ("v2",),
        token_url: str = "",
        tells_scope: bool = True,
    ) -> None:
        """`lifetime`: seconds a token is good for. `token_url`: where tokens are said to be asked for."""
        self.clients = dict(clients)
        self.lifetime, self.versions, self.tells_scope = lifetime, versions, tells_scope
        self.token_url = token_url
        self.refusals: list[str] = []
        """Why tokens were not given, oldest first."""
        self._tokens: dict[str, _Grant] = {}
        self._used: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def revoke(self) -> None:
        """No token that was given is good any more."""
        with self._lock:
            self._tokens.clear()

    def forget(self) -> None:
        """A token endpoint as new: no token was given, no assertion used, nobody refused."""
        self.revoke()
        self._used.clear()
        self.refusals.clear()

    @property
    def given(self) -> int:
        """How many assertions were accepted so far."""
        return len(self._used)

    def configuration(self, token_url: str) -> dict[str, Any]:
        """What stands at `.well-known/smart-configuration`."""
        versions = [f"permission-{version}" for version in self.versions]
        forms = {"v1": "system/*.read", "v2": "system/*.rs"}
        return {
            "token_endpoint": self.token_url or token_url,
            "grant_types_supported": [GRANT],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": sorted(ALGORITHMS.values()),
            "scopes_supported": [forms[version] for version in self.versions],
            "capabilities": ["client-confidential-asymmetric", *versions],
        }

    def token(self, content_type: str, body: bytes, token_url: str, now: datetime) -> dict[str, Any]:
        """The token response for a request; raises Denied."""
        try:
            return self._token(_form(content_type, body), self.token_url or token_url, now)
        except Denied as no:
            self.refusals.append(no.text)
            raise

    def _token(self, form: dict[str, str], token_url: str, now: datetime) -> dict[str, Any]:
        if form.get("grant_type") != GRANT:
            raise Denied("unsupported_grant_type", f"grant_type: only {GRANT}")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Denied("invalid_request", "client_assertion_type is not the one for a JWT")
        client = self._client(form.get("client_assertion", ""), token_url, now)
        letters = self._letters(form.get("scope", ""), self.clients[client])
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[token] = _Grant(letters, now + timedelta(seconds=self.lifetime))
        told = {"access_token": token, "token_type": "bearer", "expires_in": int(self.lifetime)}
        return told | ({"scope": " ".join(self._written(letters))} if self.tells_scope else {})

    def _client(self, assertion: str, token_url: str, now: datetime) -> str:
        """The client that an assertion proves to be."""
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import ECKey, RSAKey

        header, claims = _parts(assertion)
        client = claims.get("iss")
        if not isinstance(client, str) or client not in self.clients or claims.get("sub") != client:
            raise Denied("invalid_client", "iss and sub are not the id of one registered client")
        known = [one for one in self.clients[client].jwks["keys"] if one.get("kid") == header.get("kid")]
        if len(known) != 1:
            raise Denied("invalid_client", "kid: this key is not registered")
        alg = ALGORITHMS[known[0]["kty"]]
        if header.get("alg") != alg or header.get("typ") != "JWT":
            raise Denied("invalid_client", f"this key signs a JWT with {alg}")
        key = (RSAKey if alg == "RS384" else ECKey).import_key(known[0])
        try:
            claims = jwt.decode(assertion, key, algorithms=[alg]).claims
        except (JoseError, ValueError):
            raise Denied("invalid_client", "the signature is not that of the registered key") from None
        self._check(client, claims, token_url, now)
        return client

    def _check(self, client: str, claims: dict[str, Any], token_url: str, now: datetime) -> None:
        if claims.get("aud") != token_url:
            raise Denied("invalid_client", "aud is not the address of the token endpoint")
        expires, jti = claims.get("exp"), claims.get("jti")
        if isinstance(expires, bool) or not isinstance(expires, int | float):
            raise Denied("invalid_client", "exp is missing")
        if not 0 < expires - now.timestamp() <= LONGEST_ASSERTION:
            raise Denied("invalid_client", "exp is over, or more than five minutes ahead")
        if not isinstance(jti, str) or not jti:
            raise Denied("invalid_client", "jti is missing")
        with self._lock:
            if (client, jti) in self._used:
                raise Denied("invalid_client", "jti: this assertion was used before")
            self._used.add((client, jti))

    def _letters(self, scope: str, registered: Registration) -> dict[str, frozenset[str]]:
        """What is asked for and allowed; a type of which nothing is allowed is left out."""
        allowed = _union(registered.scopes, (_V1, _V2))
        forms = [{"v1": _V1, "v2": _V2}[version] for version in self.versions]
        asked = _union(scope.split(), forms)
        everywhere = allowed.get("*", frozenset())
        found = {
            type_: letters & (allowed.get(type_, frozenset()) | everywhere)
            for type_, letters in asked.items()
        }
        granted = {type_: letters for type_, letters in found.items() if letters}
        if not granted:
            raise Denied("invalid_scope", "nothing of what is asked for is allowed")
        return granted

    def _written(self, letters: Mapping[str, frozenset[str]]) -> Iterable[str]:
        for type_, held in letters.items():
            if "v2" in self.versions:
                yield f"system/{type_}." + "".join(letter for letter in LETTERS if letter in held)
            else:
                yield from (f"system/{type_}.{w}" for w in ("read", "write") if set(_WORDS[w]) <= held)

    def admit(self, authorization: str | None, now: datetime) -> _Grant | None:
        """What the token of a request is good for; None where it carries none that is."""
        kind, _, token = (authorization or "").partition(" ")
        grant = self._tokens.get(token) if kind.lower() == "bearer" else None
        return grant if grant is not None and now < grant.expires else None


def registered(path: Path, client: str) -> Smart:
    """A server with one client that may do everything, its public keys from a file with a JWK Set.

    Raises UsageError where the file is none.
    """
    try:
        tree = msgspec.json.decode(path.read_bytes())
        kinds = {one["kty"] for one in tree["keys"] if one["kid"]}
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        kinds = set()
    if not kinds or not kinds <= ALGORITHMS.keys():
        raise UsageError(f"{path}: wants a JWK Set of RSA or P-384 keys, as `fhir-msct keys` prints it")
    return Smart({client: Registration(tree)})


def _form(content_type: str, body: bytes) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Denied("invalid_request", "a token is asked for with a form")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise Denied("invalid_request", "this is not a form") from None
    if len(dict(pairs)) != len(pairs):
        raise Denied("invalid_request", "a parameter comes twice")
    return dict(pairs)


def _parts(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as they are claimed: only to know whose key has to prove them."""
    try:
        header, claims, _ = assertion.split(".")
        trees = [msgspec.json.decode(base64.urlsafe_b64decode(part + "==")) for part in (header, claims)]
    except (ValueError, msgspec.DecodeError):
        raise Denied("invalid_client", "client_assertion is not a JWT") from None
    if not all(isinstance(tree, dict) for tree in trees):
        raise Denied("invalid_client", "client_assertion is not a JWT")
    return trees[0], trees[1]


def _union(scopes: Iterable[str], forms: Iterable[re.Pattern[str]]) -> dict[str, frozenset[str]]:
    """Letters by type; raises Denied for a scope in none of these forms."""
    found: dict[str, frozenset[str]] = {}
    for scope in scopes:
        match = next((one for form in forms if (one := form.fullmatch(scope))), None)
        if match is None:
            raise Denied("invalid_scope", "a scope is not one that this server knows")
        found[match[1]] = found.get(match[1], frozenset()) | frozenset(_WORDS.get(match[2], match[2]))
    return found
