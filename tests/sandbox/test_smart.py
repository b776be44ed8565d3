"""The sandbox as a SMART server: it gives tokens to those who prove who they are, and only for what they may.

The assertions are made here by hand, so that the server is tested without our own client.
"""

import base64
import hmac
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ForbiddenError
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from fhir_msct.errors import UsageError
from fhir_msct.sandbox import Faults, Registration, Sandbox, Smart
from fhir_msct.sandbox.smart import registered
from sandbox.conftest import Clock

KEYS = {
    "RS384": RSAKey.generate_key(2048, {"kid": "rsa", "alg": "RS384"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "ec", "alg": "ES384"}),
}
ANY_RSA = RSAKey.import_key({k: v for k, v in KEYS["RS384"].as_dict(private=True).items() if k != "alg"})
STRANGER = ECKey.generate_key("P-384", {"kid": "ec"})
JWKS = {"keys": [key.as_dict(private=False) for key in KEYS.values()]}
SCOPES = ("system/Patient.rs", "system/Observation.cruds")
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Site:
    """A sandbox with SMART, seen by somebody who has a key."""

    def __init__(self, server: Sandbox, smart: Smart, clock: Clock, http: httpx.Client) -> None:
        self.server, self.smart, self.clock, self.http = server, smart, clock, http
        self.token_url = server.url.removesuffix("/fhir") + "/auth/token"
        self._number = 0

    def claims(self, **other: Any) -> dict[str, Any]:
        """Claims that are right, but for the ones given; None leaves one out."""
        self._number += 1
        right = {
            "iss": "study",
            "sub": "study",
            "aud": self.token_url,
            "exp": int(self.clock().timestamp()) + 240,
            "jti": f"jti-{self._number}",
        }
        return {name: value for name, value in (right | other).items() if value is not None}

    def signed(self, claims: dict[str, Any], alg: str = "ES384", key: Any = None, **header: Any) -> str:
        key = key or KEYS[alg]
        said = {"alg": alg, "typ": "JWT", "kid": key.kid} | header
        return jwt.encode(said, claims, key, algorithms=[alg])

    def ask(self, assertion: str, scope: str = "system/Patient.rs", **form: str) -> httpx.Response:
        right = {
            "grant_type": "client_credentials",
            "scope": scope,
            "client_assertion_type": TYPE,
            "client_assertion": assertion,
        }
        return self.http.post(self.token_url, data=right | form)

    def token(self, scope: str = "system/Patient.rs") -> str:
        return str(self.ask(self.signed(self.claims()), scope).json()["access_token"])

    def get(self, path: str, token: str) -> httpx.Response:
        return self.http.get(f"{self.server.url}/{path}", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def open_site() -> Iterator[Site]:
    clock, smart = Clock(), Smart({})
    with Sandbox(clock=clock, smart=smart) as server, httpx.Client(trust_env=False) as http:
        yield Site(server, smart, clock, http)


@pytest.fixture
def site(open_site: Site) -> Site:
    """A server as new, with one client that is registered."""
    open_site.server.clear()
    open_site.smart.clients = {"study": Registration(JWKS, SCOPES)}
    open_site.smart.lifetime, open_site.smart.versions = 300, ("v2",)
    open_site.server.load([b'{"resourceType":"Patient","id":"p"}', b'{"resourceType":"Condition","id":"c"}'])
    return open_site


# --- assertions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["RS384", "ES384"])
def test_a_right_assertion_gives_a_token_that_opens_the_server(site: Site, alg: str) -> None:
    told = site.ask(site.signed(site.claims(), alg))
    assert told.status_code == 200
    assert told.headers["Cache-Control"] == "no-store"
    answer = told.json()
    assert answer.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == (
        "bearer",
        300,
        "system/Patient.rs",
    )
    assert site.get("Patient/p", answer["access_token"]).status_code == 200


def test_the_configuration_says_where_tokens_are_given_and_to_everybody(site: Site) -> None:
    told = site.http.get(f"{site.server.url}/.well-known/smart-configuration")
    assert (told.status_code, told.headers["Content-Type"]) == (200, "application/json")
    assert told.json()["token_endpoint"] == site.token_url
    assert told.json()["token_endpoint_auth_signing_alg_values_supported"] == ["ES384", "RS384"]
    assert told.json()["capabilities"] == ["client-confidential-asymmetric", "permission-v2"]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(site: Site) -> str:
    header = {"alg": "none", "typ": "JWT", "kid": "ec"}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(site.claims()).encode())}."


def by_secret(site: Site) -> str:
    """HS384 with the public key as the secret: the old way to fool a verifier."""
    header = {"alg": "HS384", "typ": "JWT", "kid": "rsa"}
    said = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(site.claims()).encode())}"
    mac = hmac.digest(KEYS["RS384"].as_pem(private=False), said.encode(), "sha384")
    return f"{said}.{b64(mac)}"


def tampered(site: Site) -> str:
    header, _, signature = site.signed(site.claims()).split(".")
    return f"{header}.{b64(json.dumps(site.claims(exp=None) | {'exp': 9e9}).encode())}.{signature}"


def flipped(site: Site) -> str:
    signed = site.signed(site.claims())
    return signed[:-10] + ("A" if signed[-10] != "A" else "B") + signed[-9:]


def now(site: Site) -> int:
    return int(site.clock().timestamp())


WRONG: dict[str, tuple[Callable[[Site], str], str]] = {
    "alg none": (unsigned, "signs"),
    "HS with the public key": (by_secret, "signs"),
    "RS256": (lambda s: s.signed(s.claims(), "RS256", ANY_RSA), "signs"),
    "PS384": (lambda s: s.signed(s.claims(), "PS384", ANY_RSA), "signs"),
    "another key under our kid": (lambda s: s.signed(s.claims(), key=STRANGER), "signature"),
    "claims changed": (tampered, "signature"),
    "signature changed": (flipped, "signature"),
    "kid unknown": (lambda s: s.signed(s.claims(), kid="other"), "kid"),
    "kid of the other key": (lambda s: s.signed(s.claims(), kid="rsa"), "signs"),
    "typ not JWT": (lambda s: s.signed(s.claims(), typ="at+jwt"), "signs"),
    "expired": (lambda s: s.signed(s.claims(exp=now(s))), "exp"),
    "long expired": (lambda s: s.signed(s.claims(exp=1)), "exp"),
    "more than five minutes": (lambda s: s.signed(s.claims(exp=now(s) + 301)), "exp"),
    "exp missing": (lambda s: s.signed(s.claims(exp=None)), "exp"),
    "exp a text": (lambda s: s.signed(s.claims(exp="4102444800")), "exp"),
    "exp true": (lambda s: s.signed(s.claims(exp=True)), "exp"),
    "aud the base": (lambda s: s.signed(s.claims(aud=s.server.url)), "aud"),
    "aud with a slash more": (lambda s: s.signed(s.claims(aud=s.token_url + "/")), "aud"),
    "aud missing": (lambda s: s.signed(s.claims(aud=None)), "aud"),
    "iss unknown": (lambda s: s.signed(s.claims(iss="other", sub="other")), "iss"),
    "iss missing": (lambda s: s.signed(s.claims(iss=None)), "iss"),
    "sub another": (lambda s: s.signed(s.claims(sub="other")), "iss"),
    "jti missing": (lambda s: s.signed(s.claims(jti=None)), "jti"),
    "jti empty": (lambda s: s.signed(s.claims(jti="")), "jti"),
    "no JWT": (lambda s: "a.b", "not a JWT"),
    "claims a list": (lambda s: f"{b64(b'{}')}.{b64(b'[]')}.x", "not a JWT"),
    "nothing": (lambda s: "", "not a JWT"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_assertion_gives_no_token(site: Site, name: str) -> None:
    make, why = WRONG[name]
    told = site.ask(make(site))
    assert (told.status_code, told.json()["error"]) == (400, "invalid_client")
    assert why in told.json()["error_description"]
    assert site.smart.refusals == [told.json()["error_description"]]
    assert site.smart.given == 0


def test_exp_may_be_five_minutes_ahead_and_not_a_second_more(site: Site) -> None:
    assert site.ask(site.signed(site.claims(exp=now(site) + 300))).status_code == 200


def test_an_assertion_is_good_for_one_use_also_under_another_signature(site: Site) -> None:
    claims = site.claims()
    first = site.signed(claims)
    assert site.ask(first).status_code == 200
    for again in (first, site.signed(claims), site.signed(claims, "RS384")):
        assert "jti" in site.ask(again).json()["error_description"]


def test_one_client_cannot_use_the_key_of_another(site: Site) -> None:
    site.smart.clients["other"] = Registration({"keys": []})
    told = site.ask(site.signed(site.claims(iss="other", sub="other")))
    assert "kid" in told.json()["error_description"]


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"client_assertion_type": "urn:other"}, "invalid_request"),
    ],
)
def test_a_request_of_another_kind_is_refused(site: Site, form: dict[str, str], error: str) -> None:
    assert site.ask(site.signed(site.claims()), **form).json()["error"] == error


def test_only_a_form_with_each_parameter_once_is_read(site: Site) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers, body in (
        ({"Content-Type": "application/json"}, b"{}"),
        (form, b"grant_type=a&grant_type=b"),
        (form, b"grant_type"),
        (form, b"\xff=1"),
    ):
        told = site.http.post(site.token_url, content=body, headers=headers)
        assert (told.status_code, told.json()["error"]) == (400, "invalid_request")


# --- tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer nonsense", "Basic cDpw"])
def test_without_a_token_nothing_is_shown(site: Site, header: str | None) -> None:
    for path in ("metadata", "Patient/p", "Patient", ""):
        headers = {} if header is None else {"Authorization": header}
        told = site.http.get(f"{site.server.url}/{path}", headers=headers)
        assert told.status_code == 401
        assert told.headers["WWW-Authenticate"] == "Bearer"
        assert told.json()["issue"][0]["code"] == "login"


def test_a_token_ends_by_the_servers_clock(site: Site) -> None:
    token = site.token()
    site.clock.now += timedelta(seconds=299.9)
    assert site.get("Patient/p", token).status_code == 200
    site.clock.now += timedelta(seconds=0.1)
    assert site.get("Patient/p", token).status_code == 401


def test_the_life_of_a_token_can_be_chosen(site: Site) -> None:
    site.smart.lifetime = 5
    told = site.ask(site.signed(site.claims())).json()
    assert told["expires_in"] == 5
    site.clock.now += timedelta(seconds=5)
    assert site.get("Patient/p", told["access_token"]).status_code == 401


def test_a_revoked_token_is_over_and_the_next_one_is_good(site: Site) -> None:
    token = site.token()
    site.smart.revoke()
    assert site.get("Patient/p", token).status_code == 401
    assert site.get("Patient/p", site.token()).status_code == 200


def test_a_server_as_new_knows_no_token_and_no_assertion(site: Site) -> None:
    token, assertion = site.token(), site.signed(site.claims())
    assert site.ask(assertion).status_code == 200
    site.server.clear()
    assert site.get("Patient", token).status_code == 401
    assert site.ask(assertion).status_code == 200


# --- scopes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("system/Patient.rs", "system/Patient.rs"),
        ("system/Patient.cruds", "system/Patient.rs"),
        ("system/Observation.crus system/Condition.rs", "system/Observation.crus"),
        ("system/Patient.r system/Patient.s", "system/Patient.rs"),
    ],
)
def test_what_is_granted_is_what_is_asked_for_and_registered(site: Site, asked: str, granted: str) -> None:
    assert site.ask(site.signed(site.claims()), asked).json()["scope"] == granted


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "system/Condition.rs",
        "user/Patient.rs",
        "system/Patient.sr",
        "system/Patient.",
        "system/Patient.read",
    ],
)
def test_a_scope_that_is_not_registered_or_not_known_gives_no_token(site: Site, asked: str) -> None:
    told = site.ask(site.signed(site.claims()), asked)
    assert (told.status_code, told.json()["error"]) == (400, "invalid_scope")


def test_a_server_of_version_1_knows_only_its_words(site: Site) -> None:
    site.smart.versions = ("v1",)
    told = site.ask(site.signed(site.claims()), "system/Observation.read system/Observation.write").json()
    assert told["scope"] == "system/Observation.read system/Observation.write"
    assert site.ask(site.signed(site.claims()), "system/Patient.rs").json()["error"] == "invalid_scope"
    configuration = site.http.get(f"{site.server.url}/.well-known/smart-configuration").json()
    assert "permission-v1" in configuration["capabilities"]


BUNDLE = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "resource": {"resourceType": "Observation", "id": "o"},
            "request": {"method": "PUT", "url": "Observation/o"},
        },
        {
            "resource": {"resourceType": "Patient", "id": "p"},
            "request": {"method": "PUT", "url": "Patient/p"},
        },
    ],
}
OBSERVATION = {"resourceType": "Observation", "id": "o"}

REQUESTS: dict[str, tuple[str, str, Any]] = {
    "r": ("GET", "Observation/o", None),
    "s": ("GET", "Observation?_id=o", None),
    "c": ("POST", "Observation", {"resourceType": "Observation"}),
    "u": ("PUT", "Observation/o", OBSERVATION),
    "d": ("DELETE", "Observation/o", None),
}


@pytest.mark.parametrize("letter", REQUESTS)
def test_a_letter_opens_its_own_interaction_and_no_other(site: Site, letter: str) -> None:
    site.server.load([json.dumps(OBSERVATION).encode()])
    token = site.token(f"system/Observation.{letter}")
    statuses = {}
    for name, (method, path, body) in REQUESTS.items():
        told = site.http.request(
            method,
            f"{site.server.url}/{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        )
        statuses[name] = told.status_code
        if told.status_code == 403:
            assert told.json()["issue"][0]["code"] == "forbidden"
    assert {name for name, status in statuses.items() if status < 300} == {letter}
    assert {status for name, status in statuses.items() if name != letter} == {403}


def test_a_type_opens_itself_and_no_other(site: Site) -> None:
    token = site.token()
    assert site.get("Condition/c", token).status_code == 403
    assert site.get("Condition?_id=c", token).status_code == 403
    form = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Bearer {token}"}
    search = [
        site.http.post(f"{site.server.url}/{type_}/_search", content=b"_id=p", headers=form).status_code
        for type_ in ("Patient", "Condition")
    ]
    assert search == [200, 403]


def test_a_next_page_opens_to_those_only_who_may_search_that_type(site: Site) -> None:
    site.server.load([b'{"resourceType":"Patient","id":"q"}'])
    token = site.token("system/Patient.rs system/Observation.cruds")
    links = site.get("Patient?_count=1", token).json()["link"]
    following = next(link["url"] for link in links if link["relation"] == "next")
    path = following.removeprefix(site.server.url).lstrip("/")
    assert site.get(path, token).json()["entry"][0]["resource"]["id"] == "q"
    for scope in ("system/Observation.cruds", "system/Patient.r"):
        assert site.get(path, site.token(scope)).status_code == 403


def test_a_transaction_needs_what_each_of_its_entries_needs(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.token('system/Observation.cruds system/Patient.rs')}"}
    assert site.http.post(site.server.url, json=BUNDLE, headers=headers).status_code == 403
    assert site.server.dump("Observation") == []
    alone = BUNDLE | {"entry": BUNDLE["entry"][:1]}  # type: ignore[index]
    assert site.http.post(site.server.url, json=alone, headers=headers).status_code == 200
    assert len(site.server.dump("Observation")) == 1


# --- as others see it -------------------------------------------------------------------------------------


def test_fhirpy_finds_a_server_when_it_has_a_token(site: Site) -> None:
    client = SyncFHIRClient(site.server.url, authorization=f"Bearer {site.token()}")
    assert client.resources("Patient").search(_id="p").count() == 1
    with pytest.raises(ForbiddenError):
        client.resources("Condition").fetch()


def test_faults_strike_the_token_endpoint_too(site: Site) -> None:
    site.server.faults = Faults(status_once={"POST /auth/token": (503,)})
    assert site.ask(site.signed(site.claims())).status_code == 503
    assert site.ask(site.signed(site.claims())).status_code == 200


def test_without_smart_there_is_no_token_endpoint(server: Sandbox, http: httpx.Client) -> None:
    assert http.get("/.well-known/smart-configuration").status_code in (404, 405)
    assert httpx.post(server.url.removesuffix("/fhir") + "/auth/token", trust_env=False).status_code >= 404


def test_a_jwks_file_registers_a_client_that_may_do_everything(tmp_path: Any) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(JWKS))
    with Sandbox(smart=registered(path, "study")) as server, httpx.Client(trust_env=False) as http:
        clock = Clock()
        clock.now = clock.now.fromtimestamp(time.time(), tz=clock.now.tzinfo)
        site = Site(server, Smart({}), clock, http)
        assert site.get("Patient", site.token("system/*.cruds")).status_code == 200


def test_the_command_demands_tokens_from_the_client_of_a_jwks(tmp_path: Any) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps(JWKS))
    words = ["sandbox", "--port", "0", "--smart", str(tmp_path / "jwks.json")]
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as in a terminal
    code += f"import sys; from fhir_msct.cli import main; sys.argv = {['fhir-msct', *words]!r}; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = next(word for word in process.stderr.readline().split() if word.startswith("http"))
    assert httpx.get(f"{url}/Patient", trust_env=False).status_code == 401
    assert httpx.get(f"{url}/.well-known/smart-configuration", trust_env=False).status_code == 200
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


@pytest.mark.parametrize("text", ["", "{}", '{"keys":[]}', '{"keys":[{"kty":"oct","kid":"x"}]}', "[]", None])
def test_a_file_that_is_no_jwks_is_a_usage_error(tmp_path: Any, text: str | None) -> None:
    path = tmp_path / "jwks.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r"jwks\.json"):
        registered(path, "study")


def test_an_export_holds_what_the_token_may_read_and_no_more(site: Site) -> None:
    asking = {"Prefer": "respond-async", "Accept": "application/fhir+json"}
    site.server.load([b'{"resourceType":"Observation","id":"o"}', b'{"resourceType":"Condition","id":"c"}'])

    def begun(query: str, token: str) -> httpx.Response:
        headers = {**asking, "Authorization": f"Bearer {token}"}
        return site.http.get(f"{site.server.url}/$export{query}", headers=headers)

    below = f"{site.server.url}/"
    both, patients = site.token("system/Patient.rs system/Observation.rs"), site.token()
    place = begun("", both).headers["content-location"].removeprefix(below)
    site.get(place, both)
    listed = site.get(place, both).json()["output"]
    files = {one["type"]: one["url"].removeprefix(below) for one in listed}
    assert set(files) == {"Patient", "Observation"}
    assert site.get(files["Patient"], patients).status_code == 200
    assert site.get(files["Observation"], patients).status_code == 403
    assert begun("?_type=Patient", patients).status_code == 202
    assert begun("?_type=Patient,Observation", patients).status_code == 403
    stranger = begun("", "nobody's")
    assert (stranger.status_code, stranger.headers["www-authenticate"]) == (401, "Bearer")
