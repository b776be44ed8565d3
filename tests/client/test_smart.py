"""A SMART Backend Services token as a flow: every question and answer in the hand, no server, no waiting."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from urllib.parse import parse_qs

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from fhir_msct.client.auth import Ask
from fhir_msct.client.keys import Algorithm, SigningKey, make
from fhir_msct.client.origin import Origin
from fhir_msct.client.reply import Reply
from fhir_msct.client.scopes import Access
from fhir_msct.client.smart import SmartBackend
from fhir_msct.errors import ConfigError, MsctError, ServerFailed, ServerUnfit

BASE = "https://fhir.example.org/r4"
TOKEN_URL = "https://fhir.example.org/oauth2/token"  # noqa: S105  (an address)
NOW = datetime(2024, 6, 30, 8, 0, tzinfo=UTC)
READING = Access(read=("Patient", "Observation"))
GRANTED = "system/Patient.rs system/Observation.rs"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SigningKey]:
    folder = tmp_path_factory.mktemp("keys")
    return {alg: make(folder / alg, alg) for alg in ("RS384", "ES384")}


class Server:
    """Answers what a flow asks, and keeps it."""

    def __init__(self, **told: Any) -> None:
        self.configuration: dict[str, Any] = {
            "token_endpoint": TOKEN_URL,
            "capabilities": ["permission-v2"],
        }
        self.told = {"access_token": "canary-1", "token_type": "bearer", "expires_in": 300, "scope": GRANTED}
        self.told |= told
        self.status, self.date = 200, None  # type: tuple[int, datetime | None]
        self.asked: list[Ask] = []

    def answer(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        if ask.method == "GET":
            return Reply(status=200, body=json.dumps(self.configuration).encode(), date=self.date)
        told = {name: value for name, value in self.told.items() if value is not None}
        return Reply(status=self.status, body=json.dumps(told).encode(), date=self.date)

    @property
    def forms(self) -> list[dict[str, str]]:
        """The forms that came to the token endpoint."""
        posted = [one.content or b"" for one in self.asked if one.method == "POST"]
        return [{name: text for name, (text,) in parse_qs(form.decode()).items()} for form in posted]

    def claims(self, key: SigningKey) -> list[dict[str, Any]]:
        """What the assertions say, each checked with the public key."""
        (public,) = key.jwks["keys"]
        known = (RSAKey if key.alg == "RS384" else ECKey).import_key(public)
        return [
            jwt.decode(form["client_assertion"], known, algorithms=[key.alg]).claims for form in self.forms
        ]


class Clocks:
    """The clock on the wall and the one that only goes forward."""

    def __init__(self) -> None:
        self.wall, self.seconds = NOW, 50.0


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def backend_of(keys: dict[str, SigningKey], clocks: Clocks) -> Callable[..., SmartBackend]:
    def made(alg: str = "ES384", access: Access = READING, **more: Any) -> SmartBackend:
        more = {"clock": lambda: clocks.seconds, "now": lambda: clocks.wall} | more
        return SmartBackend(Origin(BASE), client_id="study-7", key=keys[alg], access=access, **more)

    return made


@pytest.fixture
def backend(backend_of: Callable[..., SmartBackend]) -> SmartBackend:
    return backend_of()


def run(backend: SmartBackend, server: Server) -> str:
    """The header that a flow ends with."""
    flow = backend.flow()
    try:
        ask = next(flow)
        while True:
            ask = flow.send(server.answer(ask))
    except StopIteration as done:
        return str(done.value)
    finally:
        flow.close()


# --- what is asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["RS384", "ES384"])
def test_an_assertion_says_what_the_standard_wants_and_is_signed(
    alg: Algorithm, backend_of: Callable[..., SmartBackend], keys: dict[str, SigningKey], server: Server
) -> None:
    assert run(backend_of(alg), server) == "Bearer canary-1"
    discovery, token = server.asked
    assert (discovery.method, discovery.url) == ("GET", f"{BASE}/.well-known/smart-configuration")
    assert (token.method, token.url) == ("POST", TOKEN_URL)
    assert token.headers["Content-Type"] == "application/x-www-form-urlencoded"
    (form,) = server.forms
    assert form.keys() == {"grant_type", "scope", "client_assertion_type", "client_assertion"}
    assert form["grant_type"] == "client_credentials"
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    (claims,) = server.claims(keys[alg])
    assert claims.keys() == {"iss", "sub", "aud", "exp", "jti"}
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("study-7", "study-7", TOKEN_URL)
    assert claims["exp"] == int((NOW + timedelta(seconds=240)).timestamp())
    (public,) = keys[alg].jwks["keys"]
    key = (RSAKey if alg == "RS384" else ECKey).import_key(public)
    header = jwt.decode(form["client_assertion"], key, algorithms=[alg]).header
    assert header == {"alg": alg, "typ": "JWT", "kid": public["kid"]}


def test_every_assertion_is_made_for_one_use(
    backend: SmartBackend, keys: dict[str, SigningKey], server: Server, clocks: Clocks
) -> None:
    for _ in range(3):
        run(backend, server)
        clocks.seconds += 1000
    assert len({claims["jti"] for claims in server.claims(keys["ES384"])}) == 3


def test_no_question_carries_a_token(backend: SmartBackend, server: Server, clocks: Clocks) -> None:
    run(backend, server)
    clocks.seconds += 1000
    run(backend, server)
    assert all("Authorization" not in ask.headers for ask in server.asked)


@pytest.mark.parametrize(
    ("told", "scope"),
    [
        ({"capabilities": ["permission-v2"]}, GRANTED),
        ({"capabilities": ["permission-v1", "permission-v2"]}, GRANTED),
        ({"capabilities": ["permission-v1"]}, "system/Patient.read system/Observation.read"),
        ({"capabilities": []}, "system/Patient.read system/Observation.read"),
        ({}, "system/Patient.read system/Observation.read"),
        ({"capabilities": [], "scopes_supported": ["openid", "system/*.rs"]}, GRANTED),
        ({"scopes_supported": ["system/*.read", 7]}, "system/Patient.read system/Observation.read"),
        ({"capabilities": "permission-v2"}, "system/Patient.read system/Observation.read"),
    ],
)
def test_scopes_are_asked_for_in_the_version_that_the_server_knows(
    told: dict[str, Any], scope: str, backend: SmartBackend, server: Server
) -> None:
    server.configuration = {"token_endpoint": TOKEN_URL} | told
    run(backend, server)
    assert server.forms[0]["scope"] == scope


def test_writing_asks_for_the_read_back_as_well(
    backend_of: Callable[..., SmartBackend], server: Server
) -> None:
    server.told["scope"] = None
    run(backend_of(access=Access(write=("Observation",))), server)
    server.configuration["capabilities"] = ["permission-v1"]
    run(backend_of(access=Access(write=("Observation",))), server)
    asked = [form["scope"] for form in server.forms]
    assert asked == ["system/Observation.crus", "system/Observation.read system/Observation.write"]


def test_a_token_for_nothing_is_a_defect(backend_of: Callable[..., SmartBackend]) -> None:
    with pytest.raises(ValueError, match="nothing"):
        backend_of(access=Access())


# --- how long a token lives -------------------------------------------------------------------------------


def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over(
    backend: SmartBackend, server: Server, clocks: Clocks
) -> None:
    run(backend, server)
    clocks.seconds += 239.9
    assert run(backend, server) == "Bearer canary-1"
    assert len(server.forms) == 1
    clocks.seconds += 0.1
    server.told["access_token"] = "canary-2"  # noqa: S105
    assert run(backend, server) == "Bearer canary-2"
    assert len(server.forms) == 2


def test_a_life_begins_when_the_token_is_asked_for_and_not_when_it_comes(
    backend: SmartBackend, server: Server, clocks: Clocks
) -> None:
    flow = backend.flow()
    ask = flow.send(server.answer(next(flow)))
    clocks.seconds += 200
    with pytest.raises(StopIteration):
        flow.send(server.answer(ask))
    clocks.seconds += 40
    run(backend, server)
    assert len(server.forms) == 2


def test_the_clock_on_the_wall_moves_no_renewal(
    backend: SmartBackend, server: Server, clocks: Clocks
) -> None:
    run(backend, server)
    clocks.wall += timedelta(days=400)
    run(backend, server)
    assert len(server.forms) == 1


@pytest.mark.parametrize(
    ("expires_in", "lives"),
    [(100, 80), ("100", 80), (None, 240), ("soon", 240), (True, 240), ([], 240), (1e12, 69_120)],
)
def test_a_life_that_is_told_oddly_is_taken_for_a_short_one(
    expires_in: Any, lives: float, backend: SmartBackend, server: Server, clocks: Clocks
) -> None:
    server.told["expires_in"] = expires_in
    run(backend, server)
    clocks.seconds += lives - 1
    run(backend, server)
    assert len(server.forms) == 1
    clocks.seconds += 1
    run(backend, server)
    assert len(server.forms) == 2


@pytest.mark.parametrize("expires_in", [0, -5])
def test_a_token_without_any_life_is_used_once(
    expires_in: int, backend: SmartBackend, server: Server
) -> None:
    server.told["expires_in"] = expires_in
    assert [run(backend, server) for _ in range(2)] == ["Bearer canary-1"] * 2
    assert len(server.forms) == 2


def test_the_token_endpoint_is_learnt_once_and_stays(
    backend: SmartBackend, server: Server, clocks: Clocks
) -> None:
    run(backend, server)
    server.configuration["token_endpoint"] = "https://fhir.example.org/other"  # noqa: S105
    clocks.seconds += 1000
    run(backend, server)
    assert [ask.url for ask in server.asked] == [
        f"{BASE}/.well-known/smart-configuration",
        TOKEN_URL,
        TOKEN_URL,
    ]


def test_a_token_that_was_refused_is_asked_for_anew(backend: SmartBackend, server: Server) -> None:
    spent = run(backend, server)
    assert backend.renew(spent)
    server.told["access_token"] = "canary-2"  # noqa: S105
    assert run(backend, server) == "Bearer canary-2"
    assert backend.renew(spent)  # a second thread that was refused the same old token
    assert run(backend, server) == "Bearer canary-2"
    assert len(server.forms) == 2


def test_threads_that_need_a_token_at_once_ask_for_one(backend: SmartBackend, server: Server) -> None:
    together, found = Barrier(8), list[str]()

    def work() -> None:
        together.wait()
        found.append(run(backend, server))

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["Bearer canary-1"] * 8
    assert len(server.asked) == 2


def test_a_flow_that_is_given_up_lets_the_next_one_in(backend: SmartBackend, server: Server) -> None:
    flow = backend.flow()
    next(flow)
    flow.close()
    assert run(backend, server) == "Bearer canary-1"


# --- clocks that differ -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "counted"), [(86_400, 86_400), (-86_400, -86_400), (31, 31), (29, 0), (-29, 0)]
)
def test_an_assertion_ends_by_the_servers_clock_where_ours_differs(
    ahead: int, counted: int, backend: SmartBackend, keys: dict[str, SigningKey], server: Server
) -> None:
    server.date = NOW + timedelta(seconds=ahead)
    run(backend, server)
    (claims,) = server.claims(keys["ES384"])
    assert claims["exp"] == NOW.timestamp() + counted + 240


def test_a_refusal_that_shows_another_clock_is_answered_once_more(
    backend: SmartBackend, keys: dict[str, SigningKey], server: Server
) -> None:
    flow = backend.flow()
    ask = flow.send(server.answer(next(flow)))
    server.status, server.date = 400, NOW + timedelta(hours=1)
    ask = flow.send(server.answer(ask))
    with pytest.raises(ConfigError):
        flow.send(server.answer(ask))
    first, second = server.claims(keys["ES384"])
    assert second["exp"] - first["exp"] == 3600
    assert second["jti"] != first["jti"]


# --- what the server grants -------------------------------------------------------------------------------


def test_less_than_was_asked_for_stops_and_names_what_is_missing(
    backend: SmartBackend, server: Server
) -> None:
    server.told["scope"] = "system/Patient.rs system/Observation.r launch"
    with pytest.raises(ConfigError, match=r"no full access to Observation; .*system/Observation\.rs$"):
        run(backend, server)


def test_less_than_was_asked_for_will_do_where_the_study_says_so(
    backend_of: Callable[..., SmartBackend], server: Server
) -> None:
    server.told["scope"] = "system/Patient.rs"
    backend = backend_of(partial=True)
    assert run(backend, server) == "Bearer canary-1"
    assert backend.missing == ("Observation",)


def test_nothing_at_all_never_will_do(backend_of: Callable[..., SmartBackend], server: Server) -> None:
    server.told["scope"] = "openid"
    with pytest.raises(ConfigError, match="Patient, Observation"):
        run(backend_of(partial=True), server)


@pytest.mark.parametrize("scope", [None, "system/*.cruds", "system/*.read", GRANTED + " launch"])
def test_all_of_it_may_be_said_in_many_ways(scope: str | None, backend: SmartBackend, server: Server) -> None:
    server.told["scope"] = scope
    run(backend, server)
    assert backend.missing == ()


def test_a_scope_that_shrinks_during_the_run_stops_it_to_be_gone_on_with(
    backend: SmartBackend, server: Server, clocks: Clocks
) -> None:
    run(backend, server)
    clocks.seconds, server.told["scope"] = clocks.seconds + 1000, "system/Patient.rs"
    with pytest.raises(ServerFailed, match="Observation"):
        run(backend, server)


# --- what does not go on ----------------------------------------------------------------------------------

FOREIGN = [
    "https://login.example.org/token",
    "https://fhir.example.org:8443/token",
    "http://fhir.example.org/token",
    "https://fhir.example.org.evil.test/token",
    "https://fhir.example.org@evil.test/token",
    "https://user:pw@fhir.example.org/token",
    "https://fhir.example.org/token#x",
    "//evil.test/token",
    "/oauth2/token",
    "token",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_token_endpoint_elsewhere_never_gets_an_assertion(
    url: str, backend: SmartBackend, server: Server
) -> None:
    server.configuration["token_endpoint"] = url
    with pytest.raises(ConfigError, match="token_origin"):
        run(backend, server)
    assert server.forms == []


def test_a_token_endpoint_elsewhere_is_used_where_the_study_names_it(
    backend_of: Callable[..., SmartBackend], keys: dict[str, SigningKey], server: Server
) -> None:
    server.configuration["token_endpoint"] = FOREIGN[0]
    backend = backend_of(token_origin=Origin("https://login.example.org"))
    assert run(backend, server) == "Bearer canary-1"
    assert server.claims(keys["ES384"])[0]["aud"] == FOREIGN[0]


@pytest.mark.parametrize("named", [None, "https://login.example.org"])
def test_a_token_endpoint_that_was_elsewhere_before_needs_somebody_s_word(
    backend_of: Callable[..., SmartBackend], server: Server, named: str | None
) -> None:
    earlier = "https://login.example.org"
    with pytest.raises(
        ConfigError, match=rf"asked at {earlier}: nothing was sent there.*\[push\] token_origin"
    ):
        run(backend_of(known=earlier, section="push"), server)
    assert server.forms == []
    accepted = backend_of(known=earlier, token_origin=Origin("https://fhir.example.org"))
    assert run(accepted, server) == "Bearer canary-1"
    assert accepted.tokens_from == "https://fhir.example.org"
    again = backend_of(known="https://fhir.example.org", token_origin=Origin(named) if named else None)
    server.configuration["token_endpoint"] = f"{named or 'https://fhir.example.org'}/token"
    assert run(again, server) == "Bearer canary-1"
    assert again.tokens_from == (named or "https://fhir.example.org")


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_a_token_is_never_asked_for_in_clear(
    scheme: str, keys: dict[str, SigningKey], server: Server
) -> None:
    base = Origin("http://fhir.example.org/r4", allow_http=True)
    server.configuration |= {"token_endpoint": f"{scheme}://fhir.example.org/token"}
    clear = SmartBackend(base, client_id="study-7", key=keys["ES384"], access=READING)
    with pytest.raises(ConfigError, match="in clear: nothing was sent"):
        run(clear, server)
    assert server.forms == []


@pytest.mark.parametrize("told", [b"[]", b"{}", b'{"token_endpoint":7}', b"<html>", b'"x"', b"\xff"])
def test_a_configuration_that_is_none_is_a_server_without_smart(told: bytes, backend: SmartBackend) -> None:
    flow = backend.flow()
    next(flow)
    with pytest.raises(ServerUnfit, match="says nothing of SMART"):
        flow.send(Reply(status=200, body=told))


@pytest.mark.parametrize(("status", "kind"), [(404, ServerUnfit), (401, ServerUnfit), (503, ServerFailed)])
def test_a_configuration_that_is_not_there(status: int, kind: type[MsctError], backend: SmartBackend) -> None:
    flow = backend.flow()
    next(flow)
    with pytest.raises(kind, match=str(status)):
        flow.send(Reply(status=status, body=b"{}"))


def test_a_refusal_is_a_setting_before_the_first_token_and_a_matter_of_the_run_later(
    backend: SmartBackend, server: Server, clocks: Clocks
) -> None:
    server.status, server.told = 400, {"error": "invalid_client"}
    with pytest.raises(ConfigError, match=r"400, invalid_client.*registered"):
        run(backend, server)
    good = Server()
    run(backend, good)
    clocks.seconds += 1000
    with pytest.raises(ServerFailed, match="run this again"):
        run(backend, server)


def test_scopes_that_are_refused_are_named(backend: SmartBackend, server: Server) -> None:
    server.status, server.told = 400, {"error": "invalid_scope"}
    with pytest.raises(ConfigError, match=rf"invalid_scope.*{GRANTED}$"):
        run(backend, server)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_token_endpoint_that_is_down_can_be_asked_later(
    status: int, backend: SmartBackend, server: Server
) -> None:
    server.status = status
    with pytest.raises(ServerFailed, match=str(status)):
        run(backend, server)


@pytest.mark.parametrize(
    "told",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "two\r\nlines"},
        {"token_type": "mac"},
    ],
)
def test_an_answer_without_a_usable_token_is_no_token(
    told: dict[str, Any], backend: SmartBackend, server: Server
) -> None:
    server.told |= told
    with pytest.raises(ConfigError, match="without a bearer token"):
        run(backend, server)


# --- secrets ----------------------------------------------------------------------------------------------


def secrets_of(server: Server, key: SigningKey, path: Path) -> Iterator[str]:
    yield from ("canary-1", "canary-echo")
    yield from (form["client_assertion"] for form in server.forms)
    yield from (form["client_assertion"].split(".")[2] for form in server.forms)
    private = json.loads(path.read_text())
    yield from (private[name] for name in ("d", "p", "q") if name in private)


def test_no_message_and_no_repr_shows_a_secret(tmp_path: Path, server: Server) -> None:
    key = make(tmp_path / "key", "RS384")
    backend = SmartBackend(Origin(BASE), client_id="c", key=key, access=READING)
    said = [repr(key)]
    for told in (
        {"scope": "openid canary-echo"},
        {"access_token": "canary-1 canary-echo"},
        {"error": "canary-echo ", "error_description": "canary-echo"},
    ):
        server.status, server.told = 400 if "error" in told else 200, {"access_token": "canary-1"} | told
        with pytest.raises(ConfigError) as caught:
            run(backend, server)
        said += [str(caught.value), repr(caught.value)]
    server.status, server.told = 200, {"access_token": "canary-1", "token_type": "Bearer"}
    run(backend, server)
    said += [repr(backend), repr(vars(backend)), repr(server.asked), str(server.asked)]
    secrets = list(secrets_of(server, key, tmp_path / "key"))
    assert len(secrets) > 8
    assert [secret for secret in secrets for text in said if secret in text] == []
