"""Our client and a real HAPI, and between them everything that a hospital's network can do to both.

Over real sockets, with SMART: every kind of fault that the simulator knows, drawn by seed.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_msct.client.keys import read_key
from fhir_msct.sandbox.smart import ASSERTION_TYPE, Registration, Smart
from hapi.ground import Ground
from hapi.guarded import Guarded
from hapi.seeds import played
from hapi.through import Hurried, Site, site

SEEDS, MANY = 30, 2000
CHUNK = 10


@pytest.fixture(scope="module")
def hospital(hapi: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(hapi, tmp_path_factory.mktemp("keys")) as made:
        yield made


def struck_in(hospital: Site, seeds: range) -> Counter[str]:
    """What struck; the first seed that breaks a promise is named."""
    struck: Counter[str] = Counter()
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="through-") as folder:
            try:
                struck += played(seed, hospital, Path(folder))
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
    return struck


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(s, s + CHUNK) for s in range(0, SEEDS, CHUNK)], ids=str)
def test_whatever_the_network_does_hapi_is_read_and_written_as_if_it_did_nothing(
    hospital: Site, seeds: range
) -> None:
    struck = struck_in(hospital, seeds)
    assert len(struck) >= 8, struck  # 10 to 14: how many requests there are depends on HAPI's timing


@pytest.mark.soak
@pytest.mark.parametrize("seeds", [range(s, s + 50) for s in range(SEEDS, MANY, 50)], ids=str)
def test_two_thousand_times(hospital: Site, seeds: range) -> None:
    struck_in(hospital, seeds)


# --- the door itself -----------------------------------------------------------------------------------


class Door:
    """The way in without trouble, and somebody who has a key."""

    def __init__(self, hospital: Site, number: int) -> None:
        path, jwks = hospital.keys[number]
        self.key, self.http = read_key(path), hospital.http
        smart = Smart({"study": Registration(jwks, ("system/Patient.rs",))})
        self.guarded = Guarded(hospital.hapi, hospital.proxy.url, hospital.http, Hurried(), smart)
        hospital.proxy.behind = self.guarded.answer

    def assertion(self, **other: Any) -> str:
        """One that is right, but for the claims given."""
        right = {"iss": "study", "sub": "study", "aud": self.guarded.token_url, "jti": f"{time.time_ns()}"}
        return self.key.signed(right | {"exp": int(time.time()) + 240} | other)

    def ask(self, assertion: str) -> httpx.Response:
        """The answer of the token endpoint."""
        form = {
            "grant_type": "client_credentials",
            "scope": "system/Patient.rs",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        return self.http.post(self.guarded.token_url, data=form)

    def get(self, path: str, token: str) -> httpx.Response:
        """What HAPI says to one who carries a token."""
        said = {"Authorization": f"Bearer {token}"} if token else {}
        return self.http.get(f"{self.guarded.base}/{path}", headers=said)


@pytest.fixture(params=[0, 1], ids=["RS384", "ES384"])
def door(hospital: Site, request: pytest.FixtureRequest) -> Door:
    return Door(hospital, request.param)


def test_hapi_answers_who_has_a_token_and_its_links_lead_back_to_the_door(door: Door, ground: Ground) -> None:
    ground.put(*(ground.patient(number) for number in range(3)))
    token = door.ask(door.assertion()).json()["access_token"]
    page = door.get(f"Patient?_tag={ground.tagged['_tag'].replace('|', '%7C')}&_count=2", token).json()
    following = next(link["url"] for link in page["link"] if link["relation"] == "next")
    assert following.startswith(f"{door.guarded.base}?")
    rest = door.get(following.removeprefix(door.guarded.base), token).json()
    assert len(page["entry"]) + len(rest["entry"]) == 3


@pytest.mark.parametrize("token", ["", "invented"])
def test_hapi_is_not_even_asked_without_a_good_token(door: Door, token: str) -> None:
    answer = door.get("Patient", token)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_token_opens_what_its_scopes_name_and_nothing_else(door: Door) -> None:
    token = door.ask(door.assertion()).json()["access_token"]
    assert door.get("Patient?_summary=count", token).status_code == 200
    assert door.get("Observation?_summary=count", token).status_code == 403


WRONG: dict[str, dict[str, Any]] = {
    "another server's token endpoint": {"aud": "http://127.0.0.1:1/auth/token"},
    "an assertion that is over": {"exp": 1_700_000_000},
    "one that is good for an hour": {"exp": int(time.time()) + 3600},
    "another client": {"iss": "other"},
    "one without a jti": {"jti": ""},
}


@pytest.mark.parametrize("claims", WRONG.values(), ids=WRONG)
def test_no_token_is_given_for_an_assertion_that_is_wrong(door: Door, claims: dict[str, Any]) -> None:
    answer = door.ask(door.assertion(**claims))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def test_an_assertion_is_good_once(door: Door) -> None:
    once = door.assertion()
    assert [door.ask(once).status_code for _ in range(2)] == [200, 400]
    assert "used before" in door.guarded.smart.refusals[0]


def test_an_assertion_signed_with_a_key_that_is_not_registered_is_refused(hospital: Site) -> None:
    mine, other = Door(hospital, 0), Door(hospital, 1)
    assert other.ask(mine.assertion()).status_code == 400
