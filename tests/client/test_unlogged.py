"""Our requests are in no log, at no level; what others ask by httpx in the same process is logged as ever."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from fhir_msct.client.body import read_body
from fhir_msct.client.keys import make
from fhir_msct.client.rest import Client
from fhir_msct.client.unlogged import LOGGERS
from fhir_msct.errors import MsctError, Unreachable
from fhir_msct.sandbox import Faults, Registration, Sandbox, Smart
from lib.loopback import TLS
from lib.sandbox_study import TYPES, Clock, Study, Through, people
from lib.virtual_time import VirtualTime

GROUP = b"""{"resourceType": "Group", "id": "g", "member": [{"entity": {"reference": "Patient/p1"}},
 {"entity": {"reference": "Patient/p2"}}, {"entity": {"reference": "Patient/p3"}}]}"""


class Heard(logging.Handler):
    """Everything that is logged at any level, as a notebook sees it that wants to see everything."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines = list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")

    @property
    def of_httpx(self) -> list[str]:
        return [line for line in self.lines if line.startswith(("httpx", "httpcore", "hpack"))]


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler, root = Heard(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with Sandbox(clock=Clock()) as running:
        running.load([*people(), GROUP])
        yield running


def theirs(url: str) -> None:
    """Somebody else's request."""
    with httpx.Client(verify=TLS) as client:
        client.get(f"{url}/metadata?theirs=1")


@pytest.mark.parametrize("how", ["search", "export"])
@pytest.mark.parametrize("connections", [1, 4])
def test_a_pull_with_a_token_is_in_no_log(tmp_path: Path, heard: Heard, how: str, connections: int) -> None:
    key = make(tmp_path / "key", "ES384")
    smart = Smart({"study": Registration(key.jwks, tuple(f"system/{one}.rs" for one in (*TYPES, "Group")))})
    own = f'auth = "smart"\nclient_id = "study"\nkey_file = "{tmp_path / "key"}"\n'
    more = f'[pull]\nhow = "{how}"\nconnections = {connections}\n'
    with Sandbox(smart=smart) as server:
        server.load([*people(), GROUP])
        study = Study(tmp_path / "s", server, Clock(), more, cohort='group = "g"', server_more=own)
        assert study.pull().complete
        assert {"GET", "POST"} <= {one.method for one in server.seen}
    assert heard.of_httpx == []


@pytest.mark.parametrize(
    "faults",
    [
        Faults(cut_body="loud", where="Observation"),
        Faults(lose_answer=True, where="Observation"),
        Faults(status_once={"Observation": (500, 429, 503)}),
        Faults(html_login=True, where="Observation"),
    ],
)
def test_what_fails_is_in_no_log(server: Sandbox, tmp_path: Path, heard: Heard, faults: Faults) -> None:
    study = Study(tmp_path / "s", server, Clock())
    server.faults = faults
    with suppress(MsctError):
        study.pull()
    assert len(server.seen) > 3
    assert heard.of_httpx == []


def test_a_body_that_is_read_after_the_call_and_a_connection_that_is_closed_are_in_no_log(
    server: Sandbox, heard: Heard
) -> None:
    with Client(server.url, patience=VirtualTime().patience()) as client:
        exchange = client.exchange
        url = f"{server.url}/Patient?_id=p1"
        with exchange.stream(
            "GET", url, route="x", headers={}, with_token=True, admits=client.origin.holds
        ) as reply:
            assert b"p1" in read_body(reply, exchange.limits)
    assert heard.of_httpx == []


def test_where_nobody_answers_nothing_is_logged(server: Sandbox, heard: Heard) -> None:
    with (
        Client("http://127.0.0.1:1/fhir", patience=VirtualTime().patience(2)) as client,
        pytest.raises(Unreachable),
    ):
        client.read("Patient", "p1")
    assert heard.of_httpx == []


def test_who_else_uses_httpx_here_is_logged_as_ever(server: Sandbox, heard: Heard) -> None:
    theirs(server.url)
    before, heard.lines = heard.of_httpx, []
    with Client(server.url) as client:
        client.metadata()
        theirs(server.url)
    after = heard.of_httpx
    for lines in (before, after):
        assert any(line.startswith("httpx: HTTP Request: GET") and "theirs=1" in line for line in lines)
        assert any(line.startswith("httpcore.http11: receive_response_headers") for line in lines)
        assert any(line.startswith("httpcore.connection: ") for line in lines)
    kinds = [[line.partition(" ")[0] for line in lines] for lines in (before, after)]
    assert kinds[0] == kinds[1]


def test_who_uses_httpx_in_another_thread_while_we_ask_is_logged_too(server: Sandbox, heard: Heard) -> None:
    def meanwhile(request: httpx.Request) -> httpx.Response | None:
        other = Thread(target=theirs, args=(server.url,))
        other.start()
        other.join()
        return None

    with Client(server.url, transport=Through(meanwhile)) as client:
        assert client.read("Patient", "p1") is not None
    assert sum(line.startswith("httpx: ") for line in heard.of_httpx) == 1
    assert not any("Patient" in line for line in heard.of_httpx)


def test_every_logger_of_httpx_and_httpcore_is_known() -> None:
    import httpcore

    assert httpcore
    known: dict[str, Any] = logging.root.manager.loggerDict
    found = {name for name in known if name.partition(".")[0] in ("httpx", "httpcore")}
    assert found <= {*LOGGERS}
