"""The sandbox from Python: starts ready, stops cleanly, keeps its file, says plainly what is in the way."""

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import httpx
import pytest

from fhir_msct.errors import Locked, UsageError
from fhir_msct.sandbox import Faults, Sandbox, serve

BODY = b'{"resourceType":"Basic","id":"b"}'


def test_it_is_ready_when_entered_and_gone_when_left() -> None:
    with Sandbox() as server:
        assert httpx.get(f"{server.url}/metadata", trust_env=False).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/metadata", trust_env=False)


def test_it_listens_on_loopback_only() -> None:
    with Sandbox() as server:
        assert server.url.startswith("http://127.0.0.1:")


def test_it_can_be_left_before_anybody_came() -> None:
    with Sandbox():
        pass


def test_two_in_memory_know_nothing_of_each_other() -> None:
    with Sandbox() as one, Sandbox() as other:
        one.load([BODY])
        assert (len(one.dump("Basic")), len(other.dump("Basic"))) == (1, 0)


def test_it_stops_although_a_client_holds_a_connection_and_another_waits() -> None:
    def wait(url: str) -> None:
        with pytest.raises(httpx.HTTPError):
            httpx.get(url, timeout=0.1, trust_env=False)

    with Sandbox() as server, httpx.Client(trust_env=False) as held:
        held.get(f"{server.url}/Basic")
        server.faults = Faults(delay=3600)
        waiting = Thread(target=wait, args=(f"{server.url}/Basic",))
        waiting.start()
        waiting.join()


def test_a_port_in_use_is_a_usage_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}"), Sandbox(port=port):
            pass


def test_a_port_that_cannot_be_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="port 99999"), Sandbox(port=99999):
        pass


def test_a_file_keeps_everything_and_a_restart_ends_the_pages(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.sqlite"
    with Sandbox(file) as server:
        server.load([BODY, b'{"resourceType":"Basic"}'])
        httpx.put(f"{server.url}/Basic/b", json={"resourceType": "Basic", "id": "b", "x": 1}, trust_env=False)
        kept = server.dump("Basic")
        page = httpx.get(f"{server.url}/Basic?_count=1", trust_env=False).json()
        link = page["link"][1]["url"].partition("?")[2]
    with Sandbox(file) as server:
        assert server.dump("Basic") == kept
        assert server.versions == 3
        assert httpx.get(f"{server.url}/Basic/b/_history/1", trust_env=False).status_code == 200
        assert httpx.get(f"{server.url}?{link}", trust_env=False).status_code == 410
        new = httpx.post(f"{server.url}/Basic", json={"resourceType": "Basic"}, trust_env=False)
        assert new.json()["id"] == "2"


def test_a_file_in_use_is_locked(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.sqlite"
    with Sandbox(file), pytest.raises(Locked, match=r"sandbox\.sqlite"), Sandbox(file):
        pass


def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_bytes(b"not a database at all, but long enough to be looked at twice" * 20)
    db = sqlite3.connect(other)
    db.execute("create table mine(x)")
    db.commit()
    db.close()
    before = other.read_bytes()
    for file in (text, other):
        with pytest.raises(UsageError, match="not the database of a sandbox"), Sandbox(file):
            pass
    assert other.read_bytes() == before


def test_a_folder_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"), Sandbox(tmp_path / "no" / "sandbox.sqlite"):
        pass


def test_what_fails_inside_the_server_fails_the_block() -> None:
    times = [datetime(2024, 1, 1, tzinfo=UTC)]  # one for the start, none for what comes after

    def ask() -> None:
        with Sandbox(clock=times.pop) as server:
            answer = httpx.put(f"{server.url}/Basic/b", content=BODY, trust_env=False)
            assert answer.status_code == 500

    with pytest.raises(IndexError):
        ask()


def test_the_requests_that_came_are_remembered(server: Sandbox, http: httpx.Client) -> None:
    http.get("/Basic?_id=a%7Cb", headers={"Authorization": "Bearer x"})
    [seen] = server.seen
    assert (seen.method, seen.target) == ("GET", "/fhir/Basic?_id=a%7Cb")
    assert seen.headers["authorization"] == "Bearer x"


def test_a_server_with_a_token_answers_nobody_without_it() -> None:
    with Sandbox(token="open sesame") as server, httpx.Client(base_url=server.url, trust_env=False) as http:  # noqa: S106
        refused = http.get("/Basic")
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert "sesame" not in refused.text
        assert http.get("/Basic", headers={"Authorization": "Bearer open sesame"}).status_code == 200


def test_loading_while_clients_read_disturbs_nobody(server: Sandbox, http: httpx.Client) -> None:
    loading = Thread(
        target=lambda: server.load(b'{"resourceType":"Basic","id":"b%d"}' % number for number in range(2000))
    )
    loading.start()
    totals = [http.get("/Basic?_summary=count").json()["total"] for _ in range(20)]
    loading.join()
    assert set(totals) <= {0, 2000}
    assert http.get("/Basic?_summary=count").json()["total"] == 2000


def test_no_answer_is_held_back_by_the_network_stack(server: Sandbox, http: httpx.Client) -> None:
    start = time.monotonic()
    for _ in range(100):
        http.get("/Basic?_summary=count")
    assert time.monotonic() - start < 3.5  # it takes 0.2 s; with Nagle's 40 ms an answer, over 4


def test_importing_the_sandbox_loads_no_server() -> None:
    heavy = "('uvicorn', 'starlette', 'sqlite3')"
    code = f"import sys, fhir_msct.sandbox; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_serving_says_where_and_stops_on_ctrl_c() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as in a terminal
    code += "from functools import partial; from fhir_msct.sandbox import serve\n"
    code += f"serve(port=0, resources=[{BODY!r}], say=partial(print, flush=True))"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    url = next(word for word in line.split() if word.startswith("http"))
    assert "(1 resources loaded)" in line
    assert httpx.get(f"{url}/Basic/b", trust_env=False).status_code == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out.strip(), err) == (0, "stopped", "")


def test_serving_on_a_port_in_use_is_a_usage_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match="choose another port"),
    ):
        serve(port=taken.getsockname()[1], say=print)
