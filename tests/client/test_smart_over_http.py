"""SMART over a real wire: pull and push with tokens that the sandbox gives, ends, revokes and keeps short.

A listener on a second port counts what is sent to it: no token and no assertion ever is.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from fhir_msct import plan as plans
from fhir_msct.archive import token_places
from fhir_msct.archive.store import Archive
from fhir_msct.cli import app
from fhir_msct.client.failures import Declined
from fhir_msct.client.keys import Algorithm, make
from fhir_msct.errors import ConfigError, MsctError, exit_code
from fhir_msct.mapping.library import Mapping
from fhir_msct.sandbox import Faults, Registration, Sandbox, Smart
from fhir_msct.tasks.pull import PullReport, pull
from lib.loopback import serving
from push.small_trial import Trial, lines, resources
from push.wires import Wire

CLIENT = "study-7"
READS = ("Patient", "Observation", "Procedure", "MedicationAdministration", "Condition")
SCOPES = tuple(f"system/{type_}.rs" for type_ in READS)


class Clock:
    """The server's time."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Site:
    """A hospital's server, and a study that has a key there."""

    def __init__(self, folder: Path, alg: Algorithm = "ES384", **smart: Any) -> None:
        self.folder, self.clock = folder, Clock()
        self.key_file = folder.parent / "key"
        self.key = make(self.key_file, alg)
        self.smart = Smart({CLIENT: Registration(self.key.jwks, SCOPES)}, **smart)
        self.server = Sandbox(clock=self.clock, smart=self.smart)

    def __enter__(self) -> "Site":
        self.server.__enter__()
        self.server.load(lines(resources()))
        self.trial = Trial(self.folder, self.server, self.settings())
        return self

    def __exit__(self, *about: Any) -> None:
        self.server.__exit__(None, None, None)

    def settings(self, more: str = "", push: str = "") -> str:
        """What stands behind [server] url, up to [cohort]."""
        keys = f'auth = "smart"\nclient_id = "{CLIENT}"\nkey_file = "{self.key_file}"\n'
        return f'{keys}{more}[push]\nurl = "{self.server.url}"\nsame_as_source = true\n{push}'

    def settle(self, **keys: str) -> None:
        """Writes study.toml anew."""
        self.trial = Trial(self.folder, self.server, self.settings(**keys))

    def pull(self, wire: httpx.BaseTransport | None = None) -> PullReport:
        plan = plans.load(self.folder)
        wanted = Mapping.load(self.folder, plan).wanted()
        return pull(self.folder, plan, wanted, transport=wire, say=lambda line: None)

    def bodies(self) -> list[str]:
        """What the archive holds."""
        with Archive.open(self.folder) as archive:
            return sorted(f"{t}/{one.id}" for t in archive.types() for one in archive.current(t))

    @property
    def everything(self) -> list[str]:
        return sorted(f"{tree['resourceType']}/{tree['id']}" for tree in resources())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path / "study") as site:
        yield site


@pytest.mark.parametrize("alg", ["RS384", "ES384"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_whole_trial_goes_through_smart(tmp_path: Path, alg: Algorithm, version: str) -> None:
    with Site(tmp_path / "study", alg, versions=(version,)) as site:
        every = "system/*.cruds" if version == "v2" else "system/*.*"
        site.smart.clients[CLIENT] = Registration(site.key.jwks, (every,))
        first = site.trial.story()
        assert first.read_back_equal and first.written > 10
        assert site.trial.push().written == 0
        assert site.bodies() == site.everything
        fhir = [
            one
            for one in site.server.seen
            if one.target.startswith("/fhir/") and "smart-conf" not in one.target
        ]
        assert all(one.headers["authorization"].startswith("Bearer ") for one in fhir)
        others = [one for one in site.server.seen if one not in fhir and one.target != "/fhir"]
        assert all("authorization" not in one.headers for one in others)
        assert site.smart.refusals == []


def test_what_a_pull_would_ask_is_said_without_a_key_and_sends_nothing(site: Site) -> None:
    site.key_file.unlink()
    run = CliRunner().invoke(app, ["pull", str(site.folder), "--plan"])
    asked = run.output.splitlines()
    assert asked[0] == f"GET {site.server.url}/.well-known/smart-configuration"
    assert asked[1].startswith("POST ")
    assert sorted(asked[-1].removeprefix("scopes: ").split()) == sorted(SCOPES)
    assert site.server.seen == ()


class Striking(Wire):
    """Something happens at the server before the n-th FHIR request arrives."""

    def __init__(self, at: int, happens: Callable[[], None]) -> None:
        super().__init__()
        self._at, self._happens = at, happens

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if len([one for one in self.sent if "/fhir/" in one.url.path]) == self._at:
            self._happens()
        return super().handle_request(request)


@pytest.mark.parametrize("at", range(2, 10))
def test_a_token_that_is_revoked_during_a_pull_costs_nothing_but_another_one(site: Site, at: int) -> None:
    report = site.pull(Striking(at, site.smart.revoke))
    assert report.complete and site.bodies() == site.everything
    assert site.smart.given == 2


def test_a_token_that_ends_during_a_pull_costs_nothing_but_another_one(site: Site) -> None:
    def an_hour() -> None:
        site.clock.ahead += timedelta(hours=1)

    report = site.pull(Striking(6, an_hour))
    assert report.complete and site.bodies() == site.everything
    assert site.smart.given == 2
    assert len(site.smart.refusals) == 1  # its clock leapt; the refusal showed by how much


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_server_in_another_time_gives_a_token(site: Site, hours: int) -> None:
    site.clock.ahead = timedelta(hours=hours)
    assert site.pull().complete
    assert site.smart.refusals == []


def test_two_refusals_stop_a_pull_and_the_next_one_goes_on(site: Site) -> None:
    site.server.faults = Faults(status_once={"GET /fhir/Observation": (401, 401)})
    with pytest.raises(Declined, match="401") as caught:
        site.pull()
    assert exit_code(caught.value) == 5
    assert site.smart.given == 2
    report = site.pull()
    assert report.complete and site.bodies() == site.everything


def test_a_registration_that_ends_during_a_pull_stops_it_and_the_next_one_goes_on(site: Site) -> None:
    def ends() -> None:
        site.smart.revoke()
        site.smart.clients.clear()

    with pytest.raises(MsctError, match="invalid_client") as caught:
        site.pull(Striking(6, ends))
    assert exit_code(caught.value) == 5
    site.smart.clients[CLIENT] = Registration(site.key.jwks, SCOPES)
    assert site.pull().complete
    assert site.bodies() == site.everything


# --- what is granted --------------------------------------------------------------------------------------


def test_less_than_is_needed_stops_before_anything_is_stored(site: Site) -> None:
    site.smart.clients[CLIENT] = Registration(site.key.jwks, SCOPES[:-1])
    with pytest.raises(ConfigError, match=r"no full access to Condition; .*system/Condition\.rs"):
        site.pull()
    assert not (site.folder / "archive").exists()
    assert [one for one in site.server.seen if "metadata" in one.target] == []


def test_less_than_is_needed_goes_on_where_the_study_says_so_and_is_not_complete(site: Site) -> None:
    site.smart.clients[CLIENT] = Registration(site.key.jwks, SCOPES[:-1])
    site.settle(more='scopes_policy = "partial"\n')
    report = site.pull()
    assert not report.complete
    assert [why for why in report.problems if "Condition" in why] == [
        "the server grants no access to Condition: it was not asked for"
    ]
    assert site.bodies() == site.everything
    assert [one.target for one in site.server.seen if "/Condition" in one.target] == []


def test_a_push_that_may_not_write_writes_nothing(site: Site) -> None:
    site.trial.pull()
    site.trial.compute()
    before = site.server.versions
    with pytest.raises(ConfigError, match=r"system/Observation\.crus"):
        site.trial.push()
    assert site.server.versions == before


def test_a_push_has_a_key_and_a_client_of_its_own(site: Site, tmp_path: Path) -> None:
    key = make(tmp_path / "push-key", "RS384")
    writes = tuple(f"system/{t}.crus" for t in ("Observation", "Device", "Provenance", "ResearchStudy"))
    site.smart.clients["writer"] = Registration(key.jwks, writes)
    keys = f'auth = "smart"\nclient_id = "writer"\nkey_file = "{tmp_path / "push-key"}"\n'
    site.settle(push=keys)
    assert site.trial.story().read_back_equal


def test_a_key_that_is_not_registered_is_said_plainly(site: Site) -> None:
    site.smart.clients[CLIENT] = Registration({"keys": []}, SCOPES)
    with pytest.raises(ConfigError, match=r"400, invalid_client.*is this key registered"):
        site.pull()


# --- elsewhere --------------------------------------------------------------------------------------------


class Listener(ThreadingHTTPServer):
    """Another server on this machine, and everything that was sent to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Listening)
        self.heard = list[bytes]()


class Listening(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        self.server.heard.append(  # type: ignore[attr-defined]
            self.requestline.encode() + str(self.headers).encode() + self.rfile.read(length)
        )
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815  (http.server's name)

    def log_message(self, *about: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    with serving(Listener()) as server:
        yield server


class Leading(Wire):
    """Leads every request of one kind to another place."""

    def __init__(self, part: str, place: str) -> None:
        super().__init__()
        self._part, self._place = part, place

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._part in str(request.url):
            self.sent.append(request)
            return httpx.Response(307, headers={"Location": self._place}, stream=httpx.ByteStream(b""))
        return super().handle_request(request)


def place(listener: Listener) -> str:
    return f"127.0.0.1:{listener.server_port}"


def test_a_next_link_that_leads_elsewhere_gets_nothing(site: Site, listener: Listener) -> None:
    site.server.faults = Faults(next_host=place(listener))
    toml = site.folder / "study.toml"
    toml.write_text(toml.read_text() + "[pull]\npage_size = 1\n")
    report = site.pull()
    assert not report.complete
    assert any("next link leads to" in why for why in report.problems)
    assert listener.heard == []


@pytest.mark.parametrize("part", ["smart-configuration", "/auth/token", "/metadata", "/Observation"])
def test_a_redirect_that_leads_elsewhere_gets_nothing(site: Site, listener: Listener, part: str) -> None:
    with pytest.raises(MsctError, match=r"sends us on to .*http://127\.0\.0\.1"):
        site.pull(Leading(part, f"http://{place(listener)}/fhir{part}"))
    assert listener.heard == []


def test_a_token_endpoint_elsewhere_gets_nothing(site: Site, listener: Listener) -> None:
    site.smart.token_url = f"http://{place(listener)}/auth/token"
    with pytest.raises(ConfigError, match="token_origin"):
        site.pull()
    assert listener.heard == []


def test_a_token_endpoint_that_the_study_names_gets_the_assertion_and_no_token(
    site: Site, listener: Listener
) -> None:
    site.smart.token_url = f"http://{place(listener)}/auth/token"
    site.settle(more=f'token_origin = "http://{place(listener)}"\n')
    with pytest.raises(ConfigError, match="404"):
        site.pull()
    (heard,) = listener.heard
    assert b"client_assertion=" in heard and b"Authorization" not in heard


def test_where_tokens_were_asked_for_is_known_to_the_next_run(site: Site) -> None:
    assert site.pull().complete
    with Archive.open(site.folder) as archive:
        place = token_places.known(archive, site.server.url)
        assert place == site.server.url.removesuffix("/fhir")
        token_places.keep(archive, site.server.url, "https://login.example.org")
    given = site.smart.given
    with pytest.raises(ConfigError, match=r"earlier runs of this study asked at https://login\.example\.org"):
        site.pull()
    assert site.smart.given == given
    site.settle(more=f'token_origin = "{place}"\n')
    assert site.pull().complete
    site.settle()
    assert site.pull().complete  # what was confirmed once is known


# --- secrets ----------------------------------------------------------------------------------------------


def test_no_secret_is_kept_or_said(site: Site) -> None:
    """Nothing on disk, on the screen or in an error: neither tokens, nor assertions, nor the key."""
    wire, said = Wire(), list[str]()
    site.pull(wire)
    run = CliRunner().invoke
    said.append(run(app, ["pull", str(site.folder), "--json"]).output)
    site.smart.clients.clear()
    refused = run(app, ["pull", str(site.folder)])
    said += [refused.output, str(refused.exception), repr(refused.exception)]
    assert "invalid_client" in str(refused.exception)
    site.smart.clients[CLIENT] = Registration(site.key.jwks, SCOPES)
    site.server.faults = Faults(status_once={"GET /fhir/Observation": (401, 401)})
    said.append(str(run(app, ["pull", str(site.folder)]).exception))
    tokens = {
        one.headers["authorization"].removeprefix("Bearer ")
        for one in site.server.seen
        if "authorization" in one.headers
    }
    assertions = [one.content for one in wire.sent if one.method == "POST" and b"assertion" in one.content]
    secrets = [*map(str.encode, tokens), json.loads(site.key_file.read_text())["d"].encode()]
    secrets += [part for one in assertions for part in one.split(b".")[-2:]]
    assert len(tokens) >= 3 and len(assertions) == 1
    kept = [path.read_bytes() for path in site.folder.rglob("*") if path.is_file()]
    assert len(kept) > 1
    assert [secret for secret in secrets for text in [*kept, *map(str.encode, said)] if secret in text] == []
