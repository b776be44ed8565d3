"""Who we are, shown to one server: the flow that every way to authenticate follows, and the two simple ways.

A flow does no input or output itself: it yields what has to be asked first, is sent the answers, and
returns what goes into the `Authorization` header. Whoever drives it sends nothing of that anywhere else.
A secret comes from a file that only its owner may read; no message and no `repr` shows one.
"""

import base64
import os
import re
import stat
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from fhir_msct.errors import ConfigError

if TYPE_CHECKING:
    from fhir_msct.client.reply import Reply

LARGEST = 64 * 1024
"""Bytes of a file that may be a token, a password or a key."""


class Ask(Struct, frozen=True, kw_only=True):
    """One request of a flow."""

    method: str
    url: str
    route: str
    headers: dict[str, str] = {}
    content: bytes | None = None

    def __repr__(self) -> str:
        return f"Ask({self.method} {self.route})"  # the content may hold a signed assertion


Flow = Generator[Ask, "Reply", str]
"""What has to be asked, and in the end the value of the `Authorization` header; empty: none."""


class Auth(Protocol):
    """A way to authenticate at one server."""

    missing: tuple[str, ...]
    """The types that the server does not let us use as asked."""
    key: str
    """What describes it in study.toml."""
    refused: str
    """What a 401 means that no renewal helps against."""
    tokens_from: str
    """The origin where tokens were asked for; empty where none was."""

    def flow(self) -> Flow:
        """The header's value, after as many questions as that takes; usually none."""

    def renew(self, spent: str) -> bool:
        """Whether another header is worth a try, now that the server answered 401 to this one."""


class Fixed:
    """The same header for every request, or none."""

    missing: tuple[str, ...] = ()
    tokens_from = ""

    def __init__(
        self, header: str = "", *, key: str = "auth", refused: str = "no credentials were sent"
    ) -> None:
        self._header, self.key, self.refused = header, key, refused

    def flow(self) -> Flow:
        """The header's value; asks nothing."""
        yield from ()
        return self._header

    def renew(self, spent: str) -> bool:
        """No: there is no other one."""
        return False


def bearer(token: str | None) -> Fixed:
    """A token that somebody gave us; nothing is sent along without one. RFC 6750."""
    if not token:
        return Fixed()
    return Fixed(f"Bearer {token}", key="token_file", refused="the token is missing, wrong or expired")


def basic(user_and_password: str) -> Fixed:
    """`user:password`, as HTTP's basic authentication wants it. RFC 7617."""
    header = f"Basic {base64.b64encode(user_and_password.encode()).decode()}"
    return Fixed(header, key="basic_file", refused="this user with this password is not let in")


def read_token(path: Path, named: str = "token_file") -> str:
    """The token in a file that only its owner may read; raises ConfigError, never with its text.

    `named` is the key, or the option, that names the file.
    """
    text = read_secret(path, "token", named)
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ConfigError(f"{path}: holds something else than one token")
    return text


def read_password(path: Path, named: str = "basic_file") -> str:
    """`user:password` from a file that only its owner may read; raises ConfigError, never with its text."""
    text = read_secret(path, "password", named)
    if not re.fullmatch(r"[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]+", text):
        raise ConfigError(f"{path}: wants one line, user:password")
    return text


def read_secret(path: Path, what: str, named: str = "") -> str:
    """The text of a file that only its owner may read, without the space round it.

    Raises ConfigError, never with its text; nor with the path where nothing is: somebody may have put the
    secret itself in its place. `named` says which key, or which option, that is.
    """
    if not _is_there(path):
        raise ConfigError(
            f"{named or what}: the file with the {what} is absent (a path is wanted; what was given is not "
            f"shown, since it may be the {what} itself)"
        )
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of what is read, not of what lay there a moment ago
            text = file.read(LARGEST + 1).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the {what} cannot be read ({type(error).__name__})") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: others may read this {what}: chmod 600 {path}")
    if len(text) > LARGEST:
        raise ConfigError(f"{path}: too long to be a {what}")
    return text


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long for one, or holds what none may hold
        return False
