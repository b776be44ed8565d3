"""A client as `study.toml` describes it: the token from its file, and for its own server only."""

import re
import stat
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx

from fhir_msct.client.exchange import Sent
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import Patience
from fhir_msct.errors import ConfigError
from fhir_msct.plan import Plan


def connect(
    url: str,
    plan: Plan,
    *,
    transport: httpx.BaseTransport | None = None,
    patience: Patience | None = None,
    on_sent: Callable[[Sent], None] | None = None,
) -> Client:
    """A client for an address of this study: the source, or where outcomes are pushed.

    The token of [server] goes along only where the address has the origin of [server] url. Raises
    ConfigError.
    """
    server, token = plan.server, None
    if server.auth == "bearer":
        if not server.token_file:
            raise ConfigError('study.toml: [server] auth = "bearer" wants token_file')
        if server.url and Origin(server.url).holds(Origin(url).base):
            token = read_token(Path(server.token_file).expanduser())
    return Client(
        url,
        transport=transport,
        token=token,
        user_agent=user_agent(plan.study.id),
        patience=patience,
        on_sent=on_sent,
    )


def user_agent(study: str) -> str:
    """What the server's owner reads in the log: the tool and the study."""
    try:
        release = version("fhir-msct")
    except PackageNotFoundError:
        release = "0"
    return f"fhir-msct/{release} (study {re.sub(r'[^A-Za-z0-9._-]', '_', study)[:64]})"


def read_token(path: Path) -> str:
    """The token in a file that only its owner may read; raises ConfigError, never with its text."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the token cannot be read ({type(error).__name__})") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: others may read this token: chmod 600 {path}")
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ConfigError(f"{path}: holds something else than one token")
    return text
