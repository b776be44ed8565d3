"""What every bad stretch between our client and HAPI has: a site, trouble, and what must never happen."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
from joserfc.jwk import ECKey, RSAKey

from faults.chaos import LONGEST_WAIT, ON_WIRE, PAGED, Chaos
from fhir_msct import plan as plans
from fhir_msct.plan import Plan
from fhir_msct.sandbox.smart import Registration, Smart
from hapi.ground import Ground
from hapi.guarded import Guarded
from hapi.proxy import Foreign, Proxy
from lib.loopback import TLS
from lib.virtual_time import VirtualTime

REVOKED = "token-revoked"
"""The server forgets its tokens in the middle of a run; 401 follows by itself."""


class Site(NamedTuple):
    """What the seeds of one session share: HAPI, the doors, and a key of each kind with its JWK Set."""

    hapi: str
    http: httpx.Client
    proxy: Proxy
    foreign: Foreign
    keys: tuple[tuple[Path, dict[str, Any]], ...]


@contextmanager
def site(hapi: str, home: Path) -> Iterator[Site]:
    """A proxy before this HAPI, a foreign server beside it, and keys in a folder."""
    made = (RSAKey.generate_key(2048, auto_kid=True), ECKey.generate_key("P-384", auto_kid=True))
    keys = []
    for key in made:
        path = home / f"{key.kid}.json"
        path.touch(0o600)
        path.write_text(json.dumps(key.as_dict(private=True)), "utf-8")
        keys.append((path, {"keys": [key.as_dict(private=False)]}))
    with (
        Proxy() as proxy,
        Foreign() as foreign,
        httpx.Client(verify=TLS, trust_env=False, timeout=120) as http,
    ):
        yield Site(hapi, http, proxy, foreign, tuple(keys))


class Hurried(VirtualTime):
    """A clock that runs so many times as fast; not faster, since HAPI's own work takes real time."""

    def __init__(self, pace: float = 1000) -> None:
        super().__init__()
        self.pace = pace

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        time.sleep(min(seconds / self.pace, 0.2))


class Wires(Chaos):
    """Trouble between real sockets, in front of a server that wants tokens."""

    def __init__(self, server: Guarded, chance: random.Random, foreign: str) -> None:
        super().__init__(server, chance)
        self.guarded, self.foreign = server, foreign
        server.bend = lambda *page: self.paged(*page) if self.fault in PAGED else None
        server.counted = self.counted

    def _watch(self, request: httpx.Request) -> None:
        self.sent += 1
        if self.sent > self._limit:
            self.leaks.append("more requests than any honest run needs")
            raise httpx.ReadError("no more", request=request)
        if self.alone and self.server.time.now < self._not_before - 1e-6:
            self.leaks.append("asked again before the server wanted it")

    def _drawn(self, request: httpx.Request) -> str:
        fault = super()._drawn(request)
        if fault != REVOKED:
            return fault
        self.guarded.smart.revoke()
        return ""


class Through:
    """What every seed has: its own ground on HAPI, a door of its own, and a study folder."""

    way = ""

    def __init__(self, seed: int, site: Site, folder: Path, ground: Ground) -> None:
        self.seed, self.site, self.folder, self.ground = seed, site, folder, ground
        self.chance = chance = random.Random(f"through {seed}")
        self.time = Hurried()
        self.key, jwks = site.keys[seed % len(site.keys)]
        self.smart = Smart({"study": Registration(jwks)}, versions=chance.choice([("v1",), ("v2",)]))
        self.guarded = Guarded(site.hapi, site.proxy.url, site.http, self.time, self.smart)
        self.chaos = Wires(self.guarded, chance, site.foreign.root + "/fhir?page=2")
        site.proxy.behind = self.chaos.handle_request
        self.outcomes: list[str] = []

    @property
    def patience(self) -> Any:
        """Waits that last no time, with the seed's own jitter."""
        return msgspec.structs.replace(self.time.patience(), chance=self.chance.random)

    def plan(self, more: str) -> Plan:
        """The plan of a study that reaches HAPI through the proxy."""
        way = f'url = "{self.site.proxy.url}"\nauth = "smart"\nclient_id = "study"\nkey_file = "{self.key}"\n'
        text = f'[study]\nid = "{self.ground.prefix}"\n[server]\n{way}{more}'
        (self.folder / "study.toml").write_text(text, "utf-8")
        return plans.load(self.folder)

    def trouble(self, *kinds: str) -> None:
        """What goes wrong from now on: some of what wires do, and some of these kinds."""
        chance, chaos = self.chance, self.chaos
        usual = [REVOKED, *(kind for kind in ON_WIRE if kind not in ("kill-mid-body", "401"))]
        wires = chance.sample(usual, chance.randrange(1, 7))
        chaos.kinds = (*wires, *chance.sample(kinds, chance.randrange(min(5, len(kinds) + 1))))
        chaos.rate = chance.choice([0.1, 0.3, 0.6])
        chaos.zip = chance.random() < 0.3

    def check_secrets(self) -> None:
        """Nobody else was shown anything, nothing was asked without a token, and no wait was too long."""
        assert self.chaos.leaks == [], self.chaos.leaks
        assert self.site.foreign.heard == [], f"{len(self.site.foreign.heard)} requests to another origin"
        assert self.guarded.naked == [], f"asked without a token: {self.guarded.naked[:3]}"
        assert self.smart.refusals == [], f"assertions refused: {self.smart.refusals[:3]}"
        waits = [wait for wait in self.time.waits if not 0 <= wait <= LONGEST_WAIT]
        assert waits == [], f"waited {waits}"

    def play(self) -> None:
        """The whole story; raises AssertionError where a promise is broken."""
        raise NotImplementedError
