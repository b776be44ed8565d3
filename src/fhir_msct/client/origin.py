"""The one origin that a client talks to: where a token may go, and where a link may lead.

A `next` link comes from outside. It is followed only where scheme, host, port and the path's beginning
are those of the base address; the same parser that opens the connection decides (RFC 6454).
"""

import ipaddress
import re
import socket
from functools import lru_cache
from urllib.parse import urlsplit

import httpx

from fhir_msct.errors import ConfigError

DEFAULT_PORTS = {"http": 80, "https": 443}

_DISGUISED = re.compile(rb"%2e|%2f|%5c|%25|\\|//|/\.{1,2};", re.IGNORECASE)
"""Ways to write a dot, a slash or a backslash that a server, or its proxy, may read as another path."""


class Origin:
    """A FHIR base address, taken apart once."""

    def __init__(self, base_url: str, *, allow_http: bool = False) -> None:
        """Raises ConfigError where the address is none, holds a password, or would send data in clear."""
        url = _parsed(base_url.strip())
        if url is None or url.scheme not in DEFAULT_PORTS or not re.fullmatch(r"[^\s%]+", url.host):
            raise ConfigError("the server's address must look like https://host/path")
        if url.userinfo or url.query or url.fragment:
            raise ConfigError(f"the address of {url.host} holds more than a base: no user, no ?, no #")
        self.host = url.host
        self.is_loopback = _is_loopback(url.host)
        self.is_inside = self.is_loopback or _is_inside(url.host)
        """Whether the host is an address that means another machine in each network: 10.0.0.5, 127.1."""
        if url.scheme == "http" and not (self.is_loopback or allow_http):
            raise ConfigError(f"{url.host}: http would send patients' data in clear; use https")
        self._place = _place(url)
        self._path = url.raw_path.rstrip(b"/")
        self.base = str(url).rstrip("/")

    def __str__(self) -> str:
        scheme, host, port = self._place
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}" + ("" if port == DEFAULT_PORTS[scheme] else f":{port}")

    @property
    def root(self) -> "Origin":
        """The whole origin, whatever the base path."""
        return Origin(str(self), allow_http=True)

    def holds(self, url: str) -> bool:
        """Whether an absolute address lies on this origin and under its base path."""
        parsed = _parsed(url)
        if parsed is None or parsed.scheme not in DEFAULT_PORTS or parsed.userinfo:
            return False
        path = parsed.raw_path.split(b"?", 1)[0]
        if _place(parsed) != self._place or _DISGUISED.search(path[len(self._path) :]):
            return False
        return path.rstrip(b"/") == self._path or path.startswith(self._path + b"/")

    def is_place_of(self, url: str) -> bool:
        """Whether an absolute address has this scheme, host and port, whatever its path."""
        parsed = _parsed(url)
        if parsed is None or parsed.scheme not in DEFAULT_PORTS or parsed.userinfo:
            return False
        return _place(parsed) == self._place

    def resolve(self, link: str) -> str:
        """A link as an absolute address: as it is, or relative to the base (FHIR R4 `Bundle.link`)."""
        parsed = _parsed(link)
        if parsed is not None and parsed.scheme:
            return link
        if link.startswith("//"):
            return f"{self._place[0]}:{link}"
        if link.startswith("/"):
            return f"{self}{link}"
        return f"{self.base}{link}" if link.startswith("?") else f"{self.base}/{link}"


def shown(url: str) -> str:
    """Scheme and host of an address, for messages: the rest may name a patient or hold a secret."""
    parsed = _parsed(url)
    return f"{parsed.scheme}://{parsed.host}" if parsed and parsed.host else "an address that is none"


@lru_cache(maxsize=64)  # of one address several things are asked, and a long one takes a while
def _parsed(url: str) -> httpx.URL | None:
    try:
        found = httpx.URL(url)
        return found if found.host is not None else None  # asking is what finds a name that is none
    except (httpx.InvalidURL, ValueError):  # UnicodeError, too: a label that no name may have
        return None


def _place(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host.lower(), url.port or DEFAULT_PORTS.get(url.scheme, 0)


def _is_inside(host: str) -> bool:
    """Also in the shorter spellings that a resolver takes for an address: 127.1, 2130706433, 0x7f.1."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(name))
        except OSError:
            return False
    return not (getattr(address, "ipv4_mapped", None) or address).is_global


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_server(one: str, other: str) -> bool:
    """Whether two base addresses are of one server; this machine is one under each of its names."""
    return _taken_apart(one) == _taken_apart(other)


def _taken_apart(url: str) -> tuple[str, str, int | None, str]:
    origin = Origin(url, allow_http=True)
    parts = urlsplit(origin.base.lower())
    host = "localhost" if origin.is_loopback else parts.hostname or ""
    return parts.scheme, host, parts.port, parts.path
