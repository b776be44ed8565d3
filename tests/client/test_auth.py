"""The simple ways to show who we are, and how a request waits for the less simple one."""

import json
import re
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from fhir_msct import data
from fhir_msct import plan as plans
from fhir_msct.client.auth import basic, bearer, read_password, read_secret
from fhir_msct.client.connect import connect
from fhir_msct.client.exchange import Sent
from fhir_msct.client.failures import Declined
from fhir_msct.client.keys import make
from fhir_msct.client.network import checked_proxy
from fhir_msct.client.rest import Client
from fhir_msct.client.scopes import Access
from fhir_msct.errors import ConfigError, ServerFailed, ServerUnfit, Unreachable
from lib.fake_fhir import BASE, FakeFhir, patient, reply, status
from lib.virtual_time import VirtualTime

PLACE = BASE.removesuffix("/fhir")
TOKEN_URL = f"{PLACE}/oauth2/token"
READING = Access(read=("Patient",))


class SmartFhir(FakeFhir):
    """A server that wants the newest token it gave; every second answer can be bent, also about tokens."""

    def __init__(self, *held: dict[str, Any], base: str = BASE) -> None:
        super().__init__(held or [patient("p1")], base=base)
        self.given, self.lifetime = 0, 300
        self.token_url, self.refuse = TOKEN_URL, 0

    @property
    def token(self) -> str:
        return f"canary-{self.given}"

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/.well-known/smart-configuration"):
            told = {"token_endpoint": self.token_url, "capabilities": ["permission-v2"]}
            return reply(200, json.dumps(told), "application/json")
        if str(request.url) == self.token_url:
            self.given += 1
            told = {"access_token": self.token, "token_type": "bearer", "expires_in": self.lifetime}
            return reply(200, json.dumps(told), "application/json")
        if request.headers.get("Authorization") != f"Bearer {self.token}" or self.refuse > 0:
            self.refuse -= 1
            return status(401, "login")(request)
        return super().answer(request)

    @property
    def posted(self) -> list[bytes]:
        """The forms that came to the token endpoint."""
        return [one.content for one in self.requests if str(one.url) == self.token_url]

    def paths(self) -> list[str]:
        return [f"{one.method} {one.url.path}" for one in self.requests]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    make(tmp_path / "key", "ES384")
    return tmp_path / "key"


def secret(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def study(folder: Path, server: str, push: str = "") -> plans.Plan:
    (folder / "study.toml").write_text(f"[server]\n{server}\n[push]\n{push}\n")
    return plans.load(folder)


def smart(folder: Path, key_file: Path, base: str = BASE, more: str = "") -> plans.Plan:
    keys = f'auth = "smart"\nclient_id = "c"\nkey_file = "{key_file}"\n'
    return study(folder, f'url = "{base}"\n{keys}{more}')


def client(plan: plans.Plan, server: FakeFhir, time: VirtualTime | None = None, **more: Any) -> Client:
    patience = (time or VirtualTime()).patience()
    more = {"access": READING} | more
    return connect(server.base, plan, transport=server.transport, patience=patience, **more)


# --- basic and bearer -------------------------------------------------------------------------------------


def shown(server: FakeFhir) -> list[str | None]:
    return [one.headers.get("authorization") for one in server.requests]


def test_a_password_goes_along_as_http_wants_it(tmp_path: Path) -> None:
    path = secret(tmp_path, "Aladdin:open sesame\n")
    server = FakeFhir()
    with client(study(tmp_path, f'url = "{BASE}"\nauth = "basic"\nbasic_file = "{path}"'), server) as one:
        one.metadata()
    assert shown(server) == ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]  # RFC 7617, section 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_password_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="others may read this password: chmod 600"):
        read_password(secret(tmp_path, "user:canary", mode))


@pytest.mark.parametrize(
    "text", ["", "canary", ":canary", "user:", "user:canary\nmore:canary", "a\tb:canary"]
)
def test_a_file_that_holds_no_password_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_password(secret(tmp_path, text))
    assert "canary" not in str(caught.value)


def test_a_secret_too_long_to_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        read_secret(secret(tmp_path, "x" * 100_000), "token")


@pytest.mark.parametrize("auth", ["bearer", "basic", "smart"])
@pytest.mark.parametrize("section", ["server", "push"])
def test_a_way_without_its_file_is_a_configuration_error(tmp_path: Path, auth: str, section: str) -> None:
    keys = f'url = "{BASE}"\nauth = "{auth}"'
    plan = study(tmp_path, *((keys,) if section == "server" else (f'url = "{BASE}"', keys)))
    wants = {"bearer": "token_file", "basic": "basic_file", "smart": "client_id and key_file"}
    with pytest.raises(ConfigError, match=rf'\[{section}\] auth = "{auth}" wants {wants[auth]}'):
        client(plan, FakeFhir(), pushing=section == "push")


def test_reading_and_writing_have_their_own_credentials(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    read, write = secret(tmp_path / "a", "reads"), secret(tmp_path, "user:writes")
    other = "http://127.0.0.1:8100/fhir"
    plan = study(
        tmp_path,
        f'url = "{BASE}"\nauth = "bearer"\ntoken_file = "{read}"',
        f'url = "{other}"\nauth = "basic"\nbasic_file = "{write}"',
    )
    source, target = FakeFhir(), FakeFhir(base=other)
    with client(plan, source) as one, client(plan, target, pushing=True) as two:
        one.metadata()
        two.metadata()
    assert (shown(source), shown(target)) == (["Bearer reads"], ["Basic dXNlcjp3cml0ZXM="])


@pytest.mark.parametrize(
    ("push", "goes"),
    [
        (f'url = "{BASE}"', True),
        (f'url = "{BASE}"\nauth = "none"', False),
        ('url = "http://127.0.0.1:8100/fhir"', False),
    ],
)
def test_a_push_takes_the_credentials_of_the_source_only_to_the_source(
    tmp_path: Path, push: str, goes: bool
) -> None:
    plan = study(
        tmp_path, f'url = "{BASE}"\nauth = "bearer"\ntoken_file = "{secret(tmp_path, "canary")}"', push
    )
    server = FakeFhir(base=plan.push.url or "")
    with client(plan, server, pushing=True) as one:
        one.metadata()
    assert shown(server) == (["Bearer canary"] if goes else [None])


def test_no_repr_shows_what_is_sent_along() -> None:
    for one in (bearer("canary"), basic("user:canary")):
        assert "canary" not in repr(one)
        assert not one.renew("x")


# --- a token that has to be asked for ---------------------------------------------------------------------


def test_the_first_request_waits_for_a_token_and_the_others_use_it(tmp_path: Path, key_file: Path) -> None:
    server, log = SmartFhir(), list[Sent]()
    with client(smart(tmp_path, key_file), server, on_sent=log.append) as one:
        one.metadata()
        assert one.read("Patient", "p1") is not None
    assert server.paths() == [
        "GET /fhir/.well-known/smart-configuration",
        "POST /oauth2/token",
        "GET /fhir/metadata",
        "GET /fhir/Patient/p1",
    ]
    assert shown(server) == [None, None, "Bearer canary-1", "Bearer canary-1"]
    routes = [one.route for one in log]
    assert routes == [".well-known/smart-configuration", "[token]", "metadata", "Patient/[id]"]


def test_a_token_is_renewed_in_time(tmp_path: Path, key_file: Path) -> None:
    server, time = SmartFhir(), VirtualTime()
    with client(smart(tmp_path, key_file), server, time) as one:
        one.metadata()
        time.now += 240
        one.metadata()
    assert shown(server)[2:] == ["Bearer canary-1", None, "Bearer canary-2"]


def test_a_token_that_ends_before_its_time_is_renewed_and_the_request_sent_again(
    tmp_path: Path, key_file: Path
) -> None:
    server, time = SmartFhir(), VirtualTime()
    with client(smart(tmp_path, key_file), server, time) as one:
        one.metadata()
        server.refuse = 1
        assert one.read("Patient", "p1") is not None
    assert server.given == 2
    assert time.waits == []


def test_a_write_that_met_a_token_at_its_end_is_sent_again(tmp_path: Path, key_file: Path) -> None:
    server = SmartFhir()
    with client(smart(tmp_path, key_file), server) as one:
        one.metadata()
        server.refuse = 1
        assert one.put("Patient", "p2", b'{"resourceType":"Patient","id":"p2"}').status == 201
    assert [path for path in server.paths() if path.startswith("PUT")] == ["PUT /fhir/Patient/p2"] * 2


def test_two_refusals_of_one_request_are_the_servers_word(tmp_path: Path, key_file: Path) -> None:
    server, time = SmartFhir(), VirtualTime()
    with client(smart(tmp_path, key_file), server, time) as one:
        one.metadata()
        server.refuse = 2
        with pytest.raises(Declined) as caught:
            one.read("Patient", "p1")
    assert (caught.value.status, server.given, time.waits) == (401, 2, [])


def test_a_fixed_token_that_is_refused_is_not_sent_again() -> None:
    server = SmartFhir()
    with (
        Client(BASE, transport=server.transport, token="canary") as one,  # noqa: S106
        pytest.raises(Declined, match="401"),
    ):
        one.read("Patient", "p1")
    assert len(server.requests) == 1


@pytest.mark.parametrize("what", ["smart-configuration", "oauth2/token"])
def test_a_token_endpoint_that_is_busy_is_asked_again_with_a_new_assertion(
    tmp_path: Path, key_file: Path, what: str
) -> None:
    server, time = SmartFhir(), VirtualTime()
    server.bend(what, status(503, Retry_After="7"), times=2)
    with client(smart(tmp_path, key_file), server, time) as one:
        one.metadata()
    assert time.waits == [7, 7]
    assert len(set(server.posted)) == len(server.posted)


def test_an_assertion_whose_answer_was_lost_is_not_sent_twice(tmp_path: Path, key_file: Path) -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    server = SmartFhir()
    server.bend("oauth2/token", lost, times=2)
    with client(smart(tmp_path, key_file), server) as one:
        one.metadata()
    assert len(set(server.posted)) == len(server.posted) == 3


def test_a_token_endpoint_that_stays_away_ends_the_run_to_be_gone_on_with(
    tmp_path: Path, key_file: Path
) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    for bend, kind in ((nobody, Unreachable), (status(503), ServerFailed)):
        server = SmartFhir()
        server.bend("oauth2/token", bend, times=100)
        with client(smart(tmp_path, key_file), server) as one, pytest.raises(kind) as caught:
            one.metadata()
        assert caught.value.exit_code == 5
        assert len(server.posted) == 6


def test_a_failure_that_somebody_holds_on_to_keeps_nobody_waiting(tmp_path: Path, key_file: Path) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    server, done = SmartFhir(), list[dict[str, Any]]()
    server.bend("oauth2/token", nobody, times=6)
    with client(smart(tmp_path, key_file), server) as one:
        with pytest.raises(Unreachable) as caught:
            one.metadata()
        again = Thread(target=lambda: done.append(one.metadata()), daemon=True)
        again.start()
        again.join(10)
        assert done, caught.value


def test_half_a_token_is_none(tmp_path: Path, key_file: Path) -> None:
    server = SmartFhir()
    half = reply(200, '{"access_token":"can', "application/json")
    server.bend("oauth2/token", lambda request: half, times=1)
    with client(smart(tmp_path, key_file), server) as one:
        one.metadata()
    assert server.given == 1


def test_a_token_endpoint_that_sends_us_on_is_not_followed(tmp_path: Path, key_file: Path) -> None:
    server = SmartFhir()
    server.bend("oauth2/token", lambda request: reply(307, Location="https://evil.test/token"))
    with (
        client(smart(tmp_path, key_file), server) as one,
        pytest.raises(ServerUnfit, match=r"sends us on to https://evil\.test"),
    ):
        one.metadata()
    assert {one.url.host for one in server.requests} == {"127.0.0.1"}


def test_a_token_endpoint_elsewhere_is_named_in_the_settings_and_gets_no_token(
    tmp_path: Path, key_file: Path
) -> None:
    server = SmartFhir()
    server.token_url = "https://login.example.org/token"  # noqa: S105
    with (
        client(smart(tmp_path, key_file), server) as one,
        pytest.raises(ConfigError, match=r"https://login\.example\.org.*token_origin"),
    ):
        one.metadata()
    assert server.posted == []
    more = 'token_origin = "https://login.example.org"\n'
    with client(smart(tmp_path, key_file, more=more), server) as one:
        one.metadata()
    (asked,) = [one for one in server.requests if one.url.host == "login.example.org"]
    assert "authorization" not in asked.headers


def test_a_smart_client_sends_no_assertion_to_an_address_that_is_not_the_sections(
    tmp_path: Path, key_file: Path
) -> None:
    other = FakeFhir(base="http://127.0.0.1:8100/fhir")
    with client(smart(tmp_path, key_file), other) as one:
        one.metadata()
    assert (len(other.requests), shown(other)) == (1, [None])


@pytest.mark.parametrize(("section", "following"), [("server", "push"), ("push", "cohort")])
def test_every_key_stands_in_the_settings_that_are_shipped(section: str, following: str) -> None:
    text = (data.mappings() / "study.toml").read_text("utf-8")
    part = text.partition(f"[{section}]")[2].partition(f"[{following}]")[0]
    known = {"server": plans.Server, "push": plans.Push}[section].__struct_fields__
    assert set(re.findall(r"^(?:# )?(\w+) = ", part, re.MULTILINE)) == set(known)


# --- http, and what else a setting may say ----------------------------------------------------------------


def test_http_off_this_machine_has_to_be_allowed(tmp_path: Path) -> None:
    base = "http://fhir.example.org/r4"
    with pytest.raises(ConfigError, match="in clear"):
        client(study(tmp_path, f'url = "{base}"'), FakeFhir(base=base))
    server = FakeFhir(base=base)
    with client(study(tmp_path, f'url = "{base}"\nallow_http = true'), server) as one:
        one.metadata()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        *("", "proxy:3128", "ftp://proxy", "http://", "socks5://proxy:1"),
        *("http://user:canary@proxy:3128", "http://proxy/canary", "http://proxy?canary"),
    ],
)
def test_a_proxy_is_host_and_port_and_no_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_proxy(url)
    assert "canary" not in str(caught.value)
    assert checked_proxy("http://proxy.example.org:3128") == "http://proxy.example.org:3128"
