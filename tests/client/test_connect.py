"""A client as study.toml describes it."""

from pathlib import Path

import pytest

from fhir_msct import plan as plans
from fhir_msct.client.connect import connect, read_token, user_agent
from fhir_msct.errors import ConfigError
from lib.fake_fhir import BASE, FakeFhir
from lib.virtual_time import VirtualTime


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("canary\n")
    path.chmod(0o600)
    return path


def study(folder: Path, server: str) -> plans.Plan:
    (folder / "study.toml").write_text(f'[study]\nid = "my trial"\n[server]\n{server}\n')
    return plans.load(folder)


def test_the_token_goes_to_its_own_server_and_to_no_other(tmp_path: Path, token: Path) -> None:
    plan = study(tmp_path, f'url = "{BASE}"\nauth = "bearer"\ntoken_file = "{token}"')
    own, other = FakeFhir(), FakeFhir(base="http://127.0.0.1:8100/fhir")
    for server in (own, other):
        with connect(server.base, plan, transport=server.transport) as client:
            client.metadata()
    assert own.requests[0].headers["authorization"] == "Bearer canary"
    assert "authorization" not in other.requests[0].headers


def test_without_auth_nothing_is_sent_along(tmp_path: Path) -> None:
    server = FakeFhir()
    with connect(BASE, study(tmp_path, f'url = "{BASE}"'), transport=server.transport) as client:
        client.metadata()
    assert "authorization" not in server.requests[0].headers
    assert server.requests[0].headers["user-agent"].endswith("(study my_trial)")


@pytest.mark.parametrize(("said", "seconds"), [("", 2.0), ("[pull]\nrequests_per_second = 0.5\n", 20.0)])
def test_a_server_elsewhere_gets_as_many_requests_a_second_as_the_study_says(
    tmp_path: Path, said: str, seconds: float
) -> None:
    server, time = FakeFhir(base="https://fhir.example.org/r4"), VirtualTime()
    plan = study(tmp_path, f'url = "{server.base}"\n{said}')
    began = time.now
    with connect(server.base, plan, transport=server.transport, patience=time.patience()) as client:
        for _ in range(11):
            client.count("Observation", {})
    assert time.now - began == pytest.approx(seconds)


def test_bearer_without_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token_file"):
        connect(BASE, study(tmp_path, f'url = "{BASE}"\nauth = "bearer"'))


def test_a_token_that_others_may_read_is_refused(token: Path) -> None:
    assert read_token(token) == "canary"
    token.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(token)


@pytest.mark.parametrize("text", ["", "two words", "line\nline", "canary\u00e9"])
def test_a_file_that_is_no_token_is_refused_without_its_text(token: Path, text: str) -> None:
    token.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_token(token)
    assert "canary" not in str(caught.value) and "words" not in str(caught.value)


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        read_token(tmp_path / "absent")


def test_the_user_agent_names_tool_and_study() -> None:
    assert user_agent("msct\r\nX: y").startswith("fhir-msct/")
    assert user_agent("msct\r\nX: y").endswith("(study msct__X__y)")
