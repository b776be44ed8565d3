"""The way from here to a server, where a hospital prescribes one: a proxy, its own CA, a client certificate.

Only what `study.toml` names is used: no proxy and no CA of the environment. TLS is 1.2 or newer, and
there is no switch that turns its checks off.
"""

import ssl
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from fhir_msct.client.auth import read_secret
from fhir_msct.errors import ConfigError

OLDEST = ssl.TLSVersion.TLSv1_2

GUEST_CONNECTIONS = 4
"""What a server is asked to bear at once, unless the study says otherwise."""

GUEST_REQUESTS = 5.0
"""What a server that is not our own machine is asked to bear a second, unless the study says otherwise."""


class Network(Struct, frozen=True, kw_only=True):
    """What lies between, all of it optional."""

    proxy: str | None = None
    ca_file: Path | None = None
    """The only certificates that are trusted, where it is given (PEM)."""
    client_cert_file: Path | None = None
    """Our certificate and its private key in one file (PEM)."""
    connections: int = GUEST_CONNECTIONS
    """Open at once, at most."""
    requests_per_second: float = GUEST_REQUESTS
    """Sent to a server that is not our own machine, at most."""

    def options(self) -> dict[str, Any]:
        """What httpx has to be told; raises ConfigError where a file or an address cannot be used."""
        limits = httpx.Limits(max_connections=self.connections)
        found: dict[str, Any] = {"verify": self._context(), "limits": limits}
        if self.proxy is not None:
            found["proxy"] = checked_proxy(self.proxy)
        return found

    def _context(self) -> ssl.SSLContext:
        if self.ca_file is None and self.client_cert_file is None:
            return _public()
        if self.ca_file is None:
            context = httpx.create_ssl_context(trust_env=False)
        else:
            try:
                context = ssl.create_default_context(cafile=str(self.ca_file))
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"{self.ca_file}: no CA certificates: {type(error).__name__}") from None
        context.minimum_version = OLDEST
        if self.client_cert_file is not None:
            read_secret(self.client_cert_file, "client certificate's key", "client_cert_file")
            try:
                context.load_cert_chain(str(self.client_cert_file), password=_nothing)
            except (OSError, ssl.SSLError, ValueError) as error:
                raise ConfigError(
                    f"{self.client_cert_file}: wants a certificate and its unencrypted private key in PEM "
                    f"({type(error).__name__})"
                ) from None
        return context


@cache
def _public() -> ssl.SSLContext:
    """For every connection that needs nothing of its own: reading the public CAs takes 20 ms each time."""
    context = httpx.create_ssl_context(trust_env=False)
    context.minimum_version = OLDEST
    return context


def checked_proxy(url: str) -> str:
    """A proxy's address; raises ConfigError where it is none, or holds a password."""
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        found = httpx.URL("")
    if found.scheme not in ("http", "https") or not found.host:
        raise ConfigError("study.toml: proxy must look like http://host:port")
    if found.userinfo or found.query or found.fragment or found.path not in ("", "/"):
        raise ConfigError("study.toml: proxy holds more than http://host:port: no user, no password, no path")
    return url


def _nothing() -> bytes:
    """No password: OpenSSL would ask for one on the terminal."""
    return b""
