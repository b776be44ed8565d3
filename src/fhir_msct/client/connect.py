"""A client as `study.toml` describes it: who we are at this server, shown to it and to nobody else."""

import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx

from fhir_msct.client.auth import Auth, Fixed, basic, bearer, read_password, read_token
from fhir_msct.client.exchange import Sent
from fhir_msct.client.network import Network
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import Patience
from fhir_msct.client.scopes import Access
from fhir_msct.errors import ConfigError
from fhir_msct.plan import Plan, Push, Server

__all__ = ["connect", "read_token", "user_agent"]


def connect(
    url: str,
    plan: Plan,
    *,
    access: Access | None = None,
    pushing: bool = False,
    transport: httpx.BaseTransport | None = None,
    patience: Patience | None = None,
    on_sent: Callable[[Sent], None] | None = None,
    tokens_from: str = "",
    may_send: Callable[[], None] | None = None,
) -> Client:
    """A client for an address of this study: the source, or (`pushing`) where outcomes are written.

    The credentials are those of [server], or of [push] where that has its own; they go along only where
    the address has the origin of that section's url. `access` is what a SMART server is asked for,
    `tokens_from` the origin where earlier runs asked for tokens; `may_send` keeps a request here by raising.
    Raises ConfigError.
    """
    section = _section(url, plan, pushing)
    way: Server | Push = plan.push if section == "push" else plan.server
    return Client(
        url,
        transport=transport,
        user_agent=user_agent(plan.study.id),
        patience=patience,
        on_sent=on_sent,
        allow_http=way.allow_http,
        auth=_auth(
            Origin(url, allow_http=way.allow_http), way, section, access or Access(), patience, tokens_from
        ),
        network=Network(
            proxy=way.proxy,
            ca_file=_path(way.ca_file),
            client_cert_file=_path(way.client_cert_file),
            connections=plan.pull.connections,
            requests_per_second=plan.pull.requests_per_second,
        ),
        section=section,
        may_send=may_send,
    )


def user_agent(study: str) -> str:
    """What the server's owner reads in the log: the tool and the study."""
    try:
        release = version("fhir-msct")
    except PackageNotFoundError:
        release = "0"
    return f"fhir-msct/{release} (study {re.sub(r'[^A-Za-z0-9._-]', '_', study)[:64]})"


def _section(url: str, plan: Plan, pushing: bool) -> str:
    """Which section of study.toml describes the way to an address."""
    if not pushing or (plan.push.auth is None and _is_of(url, plan.server)):
        return "server"
    return "push"


def _is_of(url: str, way: Server | Push) -> bool:
    """Whether an address lies where the section's url says that its server is."""
    if not way.url:
        return False
    return Origin(way.url, allow_http=True).holds(Origin(url, allow_http=True).base)


def _auth(
    origin: Origin,
    way: Server | Push,
    section: str,
    access: Access,
    patience: Patience | None,
    tokens_from: str,
) -> Auth:
    if way.auth in (None, "none"):
        return Fixed()
    wants = {"bearer": ("token_file",), "basic": ("basic_file",), "smart": ("client_id", "key_file")}
    if absent := [name for name in wants[str(way.auth)] if not getattr(way, name)]:
        raise ConfigError(f'study.toml: [{section}] auth = "{way.auth}" wants {" and ".join(absent)}')
    if not _is_of(origin.base, way):
        return Fixed()
    if way.auth == "bearer":
        return bearer(read_token(_needed(way.token_file), f"study.toml: [{section}] token_file"))
    if way.auth == "basic":
        return basic(read_password(_needed(way.basic_file), f"study.toml: [{section}] basic_file"))
    return _smart(origin, way, section, access, patience or Patience(), tokens_from)


def _smart(
    origin: Origin, way: Server | Push, section: str, access: Access, patience: Patience, tokens_from: str
) -> Auth:
    from fhir_msct.client.keys import read_key  # joserfc and cryptography take a moment to load
    from fhir_msct.client.smart import SmartBackend

    tokens_at = Origin(way.token_origin, allow_http=way.allow_http) if way.token_origin else None
    return SmartBackend(
        origin,
        client_id=str(way.client_id),
        key=read_key(_needed(way.key_file), f"study.toml: [{section}] key_file"),
        access=access,
        token_origin=tokens_at,
        known=tokens_from,
        section=section,
        clock=patience.clock,
        partial=isinstance(way, Server) and not access.write and way.scopes_policy == "partial",
    )


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _needed(text: str | None) -> Path:
    return Path(str(text)).expanduser()
