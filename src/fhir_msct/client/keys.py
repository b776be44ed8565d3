"""The key pair with which a study shows a hospital who it is: the private half stays in one file here.

RS384 (RSA) and ES384 (P-384) are the two that every SMART server must know.
https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html
"""

import errno
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from fhir_msct.client.auth import read_secret
from fhir_msct.errors import ConfigError, Interrupted, UsageError

Algorithm = Literal["RS384", "ES384"]

FILE = "private-key.json"
"""The private key's name in a study folder."""

RSA_BITS, LEAST_BITS = 3072, 2048
_CURVE = "P-384"
_PUBLIC = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}
"""The members of a JWK that are no secret (RFC 7518, section 6)."""


class SigningKey:
    """A private key, and what the hospital needs to know of it."""

    def __init__(self, key: RSAKey | ECKey) -> None:
        self._key = key
        self.alg: Algorithm = "RS384" if isinstance(key, RSAKey) else "ES384"
        self.kid: str = str(key.as_dict(private=False).get("kid") or key.thumbprint())

    def __repr__(self) -> str:
        return f"SigningKey({self.alg}, kid {self.kid})"

    @property
    def jwks(self) -> dict[str, Any]:
        """The public half as a JWK Set (RFC 7517): what the hospital gets, and nothing else of the key."""
        known = self._key.as_dict(private=False)
        public = {name: known[name] for name in _PUBLIC[str(known["kty"])]}
        return {"keys": [public | {"kid": self.kid, "alg": self.alg, "use": "sig", "key_ops": ["verify"]}]}

    def signed(self, claims: Mapping[str, Any]) -> str:
        """The claims as a signed JWT."""
        header = {"alg": self.alg, "kid": self.kid, "typ": "JWT"}
        return jwt.encode(header, dict(claims), self._key, algorithms=[self.alg])


def make(path: Path, alg: Algorithm) -> SigningKey:
    """A new key, its private half in a file that only its owner may read.

    Raises UsageError where the file is there already (a key in use cannot be had back), or cannot be
    written; Interrupted where the disk is full.
    """
    fresh = path.with_name(f".{path.name}.new")
    made: RSAKey | ECKey
    try:
        fresh.unlink(missing_ok=True)  # half a key, where somebody was killed
        if path.exists():
            raise UsageError(f"{path} is there already: a key is never overwritten")
        if alg == "RS384":
            made = RSAKey.generate_key(RSA_BITS, {"alg": alg, "use": "sig"}, auto_kid=True)
        else:
            made = ECKey.generate_key(_CURVE, {"alg": alg, "use": "sig"}, auto_kid=True)
        _written(path, fresh, json.dumps(made.as_dict(private=True), indent=1) + "\n")
    except FileExistsError:
        raise UsageError(f"{path} is there already: a key is never overwritten") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        kind, advice = (Interrupted, "make room, run this again") if full else (UsageError, "choose another")
        raise kind(f"{path} cannot be written: {error.strerror}: {advice}") from None
    return SigningKey(made)


def _written(path: Path, fresh: Path, text: str) -> None:
    """Puts a text that only its owner may read in a place where nothing is: whole, or not at all."""
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123  (the handle, for its owner only)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(fresh)  # fails where somebody was faster; a rename would not
    finally:
        fresh.unlink(missing_ok=True)


def read_key(path: Path, named: str = "key_file") -> SigningKey:
    """The private key in a file that only its owner may read: a JWK, a JWK Set with one key, or PEM.

    Raises ConfigError where it is no RSA key of 2048 bits or more, and no key on P-384; never with its text.
    """
    try:
        text = read_secret(path, "key", named)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # what it warns of is refused below
            found = _imported(text)
    except (JoseError, ValueError, TypeError, KeyError):
        raise ConfigError(f"{path}: holds no RSA or P-384 key (JWK or PEM)") from None
    if not found.is_private:
        raise ConfigError(f"{path}: is a public key: the private one is needed to sign")
    if isinstance(found, RSAKey) and found.private_key.key_size < LEAST_BITS:  # type: ignore[union-attr]
        raise ConfigError(f"{path}: an RSA key of less than {LEAST_BITS} bits is not safe")
    key = SigningKey(found)
    if isinstance(found, ECKey) and found.curve_name != _CURVE:
        raise ConfigError(f"{path}: an elliptic key has to be on {_CURVE}, for ES384")
    if (meant := found.as_dict(private=False).get("alg")) not in (None, key.alg):
        raise ConfigError(f"{path}: is a key for {meant}: SMART servers know RS384 and ES384")
    return key


def _imported(text: str) -> RSAKey | ECKey:
    if text.startswith("-----BEGIN"):
        try:
            return RSAKey.import_key(text)
        except JoseError:
            return ECKey.import_key(text)
    tree = json.loads(text)
    if "keys" in tree:
        (tree,) = tree["keys"]
    return ECKey.import_key(tree) if tree["kty"] == "EC" else RSAKey.import_key(tree)
