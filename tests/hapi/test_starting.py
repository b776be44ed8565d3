"""Starting a server: one message and exit code 3 for what is missing, and nothing left running, ever.

Java and Maven are stand-ins here: what is tried is how the starter deals with what they do.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_msct import data
from hapi.running import GRACE_SECONDS

HERE = Path(__file__).parent

LOCK = """import fcntl, os
fcntl.flock(os.open({lock!r}, os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
"""

JAVA = """#!{python}
import http.server, os, sys, threading
if "-version" in sys.argv:
    print('openjdk version "{version}.0.1"', file=sys.stderr)
    sys.exit()
{then}
"""

SERVES = """
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"software": {"name": "HAPI FHIR Server"}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
def end():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=end).start()
http.server.HTTPServer(("127.0.0.1", int(os.environ["HAPI_PORT"])), Handler).serve_forever()
"""

MAVEN = """#!{python}
import os, pathlib, sys
{before}
target = pathlib.Path(sys.argv[sys.argv.index("-f") + 1]).parent / "target"
(target / "classpath").write_text({python!r})
with (target / "builds").open("a") as builds:
    builds.write("x")
"""

REFUSED = """
print("[ERROR] Could not transfer artifact x:jar:1 from/to central: Connection refused")
sys.exit(1)
"""


class Machine:
    """A machine with a copy of this folder on it, and the Java and Maven of one's choice."""

    def __init__(self, home: Path) -> None:
        self.home, self.bin, self.alive = home, home / "bin", home / "alive"
        self.bin.mkdir()
        skip = shutil.ignore_patterns("target", "__pycache__")
        shutil.copytree(HERE, home / "hapi", ignore=skip)
        self.started: list[subprocess.Popen[str]] = []

    def has_java(self, then: str = SERVES, version: int = 17) -> None:
        then = LOCK.format(lock=str(self.alive)) + then
        self._tool("java", JAVA.format(python=sys.executable, version=version, then=then))

    def has_maven(self, before: str = "") -> None:
        self._tool("mvn", MAVEN.format(python=sys.executable, before=before))

    def _tool(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text, "utf-8")
        (self.bin / name).chmod(0o755)

    def python(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        """Runs Python here, with the tools that this machine has and no others."""
        source = str(Path(data.__file__).parents[1])
        kept = {name: os.environ[name] for name in ("TMPDIR", "LANG") if name in os.environ}
        paths = os.pathsep.join([str(self.home), source, str(HERE.parent)])
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.home,
            env={**kept, "PATH": str(self.bin), "PYTHONPATH": paths, **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def make_hapi(self, **settings: str) -> tuple[int, list[str]]:
        """What `make hapi` runs: its exit code, and what it says after its first line."""
        process = self.python("-m", "hapi", **settings)
        said = process.communicate(timeout=120)[1].splitlines()
        return process.returncode, said[1:]

    def wait_until_the_server_is_gone(self) -> None:
        """Returns when the server's process has let go of its lock, as the kernel makes it at its end."""
        with self.alive.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for process in machine.started:
        process.kill()
        process.communicate()


def test_without_java_it_says_which_one_is_wanted(machine: Machine) -> None:
    machine.has_maven()
    code, said = machine.make_hapi()
    assert code == 3
    assert said == [
        "make hapi: no Java: HAPI wants a JDK of version 17 or newer (for instance openjdk-17-jdk)"
    ]


def test_an_old_java_is_none(machine: Machine) -> None:
    machine.has_java(version=11)
    machine.has_maven()
    code, (said,) = machine.make_hapi()
    assert (code, said.startswith("make hapi: Java here is 11: ")) == (3, True)


def test_without_maven_it_says_so(machine: Machine) -> None:
    machine.has_java()
    code, said = machine.make_hapi()
    assert (code, said) == (3, ["make hapi: no Maven: HAPI is built with it (`mvn`, 3.8 or newer)"])


def test_a_maven_that_cannot_reach_its_jars_is_named_and_its_log_as_well(machine: Machine) -> None:
    machine.has_java()
    machine.has_maven(REFUSED)
    code, (said,) = machine.make_hapi()
    assert code == 3
    assert said.startswith("make hapi: Maven cannot reach its jars")
    assert "hapi.log" in said


def test_a_java_without_a_compiler_is_named(machine: Machine) -> None:
    machine.has_java()
    machine.has_maven('print("[ERROR] No compiler is provided in this environment."); sys.exit(1)')
    code, (said,) = machine.make_hapi()
    assert (code, said.startswith("make hapi: Java here has no compiler: a JDK is needed")) == (3, True)


def test_a_java_home_without_java_is_not_passed_over(machine: Machine) -> None:
    machine.has_java()
    machine.has_maven()
    code, (said,) = machine.make_hapi(JAVA_HOME=str(machine.home / "nothing"))
    assert (code, said.startswith("make hapi: no Java in JAVA_HOME: ")) == (3, True)


def test_a_source_that_does_not_compile_is_no_missing_jar(machine: Machine) -> None:
    machine.has_java()
    machine.has_maven('print("[ERROR] COMPILATION ERROR"); sys.exit(1)')
    code, (said,) = machine.make_hapi()
    assert (code, said.startswith("make hapi: HAPI does not build: ")) == (3, True)


def test_a_port_in_use_is_named_with_the_way_out(machine: Machine) -> None:
    import socket

    machine.has_java()
    machine.has_maven()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        code, said = machine.make_hapi(HAPI_PORT=port)
    wanted = f"make hapi: port {port} is in use: choose another one, HAPI_PORT=8081 for instance"
    assert (code, said) == (3, [wanted])


def test_a_port_that_is_none_is_refused(machine: Machine) -> None:
    process = machine.python("-m", "hapi", HAPI_PORT="many")
    said = process.communicate(timeout=120)[1]
    assert (process.returncode, said) == (3, "make hapi: HAPI_PORT is 'many': wants a port number\n")


def test_a_server_that_dies_while_starting_shows_the_end_of_its_log(machine: Machine) -> None:
    machine.has_java('sys.exit("the database is broken")')
    machine.has_maven()
    code, said = machine.make_hapi(HAPI_PORT=free_port())
    assert code == 3
    assert said[0].startswith("make hapi: HAPI ended while starting")
    assert said[-1] == "the database is broken"
    machine.wait_until_the_server_is_gone()


def test_it_is_built_once_and_again_when_a_source_changes(machine: Machine) -> None:
    machine.has_java('sys.exit("enough")')
    machine.has_maven()
    target = machine.home / "hapi" / "server" / "target"
    for _ in range(2):
        machine.make_hapi(HAPI_PORT=free_port())
    assert (target / "builds").read_text("utf-8") == "x"
    with (machine.home / "hapi" / "server" / "pom.xml").open("a") as pom:
        pom.write("<!-- changed -->\n")
    machine.make_hapi(HAPI_PORT=free_port())
    assert (target / "builds").read_text("utf-8") == "xx"


def test_a_server_that_dies_with_data_on_it_says_where_to_look(machine: Machine) -> None:
    """After it had answered: at its first transaction."""
    machine.has_java(SERVES.replace("def do_GET", "def do_POST(self):\n        os._exit(7)\n    def do_GET"))
    machine.has_maven()
    code, said = machine.make_hapi(HAPI_PORT=free_port())
    assert code == 3
    assert len(said) == 1 and said[0].startswith("make hapi: "), said
    machine.wait_until_the_server_is_gone()


def free_port() -> str:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


# --- nothing is left running -------------------------------------------------------------------------------

HOLDS = """
import pathlib, sys
from hapi.keeper import Shared
shared = Shared("{session}", pathlib.Path("log"))
print(shared.url(), flush=True)
sys.stdin.read()
shared.leave()
"""


def holder(machine: Machine) -> "subprocess.Popen[str]":
    """A process that uses the session's server until it is told to leave."""
    return machine.python("-c", HOLDS.format(session=machine.home.parent.name + machine.home.name))


def told(process: "subprocess.Popen[str]") -> Any:
    """The address that a process was given."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_of_a_session_share_one_server_until_the_last_one_leaves(machine: Machine) -> None:
    machine.has_java()
    machine.has_maven()
    first, second = holder(machine), holder(machine)
    assert told(first) == told(second) != ""
    first.communicate(timeout=60)
    third = holder(machine)
    assert told(third).startswith("http://127.0.0.1:")
    second.communicate(timeout=60)
    third.communicate(timeout=60)
    machine.wait_until_the_server_is_gone()


def test_the_server_ends_when_its_users_are_killed(machine: Machine) -> None:
    machine.has_java()
    machine.has_maven()
    users = [holder(machine), holder(machine)]
    assert told(users[0]) == told(users[1]) != ""
    for user in users:
        user.send_signal(signal.SIGKILL)
    machine.wait_until_the_server_is_gone()


def test_every_user_hears_why_there_is_no_server(machine: Machine) -> None:
    machine.has_java('sys.exit("the database is broken")')
    machine.has_maven()
    users = [holder(machine), holder(machine)]
    for user in users:
        assert "the database is broken" in user.communicate(timeout=60)[1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_make_hapi_takes_its_server_with_it(machine: Machine, how: signal.Signals) -> None:
    machine.has_java(
        SERVES.replace("def do_GET", "def do_POST(self):\n        os.kill({parent}, {how})\n    def do_GET")
        .replace("{parent}", "os.getppid()")
        .replace("{how}", str(int(how)))
    )
    machine.has_maven()
    code, _ = machine.make_hapi(HAPI_PORT=free_port())  # its first transaction brings the signal
    assert code == (0 if how != signal.SIGKILL else -signal.SIGKILL)
    machine.wait_until_the_server_is_gone()


def test_a_second_ctrl_c_waits_for_nothing_and_leaves_no_maven_behind(machine: Machine) -> None:
    machine.has_java()
    busy = machine.home / "busy"
    machine.has_maven(
        LOCK.format(lock=str(machine.alive)) + f"import time\nopen({str(busy)!r}, 'w')\ntime.sleep(600)"
    )
    process = machine.python("-m", "hapi", HAPI_PORT=free_port())
    began = time.monotonic()
    while not busy.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < began + 60
        time.sleep(0.05)
    began = time.monotonic()
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said.splitlines()[-1]) == (0, "stopped")
    assert time.monotonic() - began < GRACE_SECONDS
    machine.wait_until_the_server_is_gone()


def test_what_somebody_exported_for_a_server_of_their_own_is_not_for_that_of_the_tests(
    machine: Machine,
) -> None:
    machine.has_java(
        "import json\nsys.exit(json.dumps(sorted(n for n in os.environ if n.startswith('HAPI_'))))"
    )
    machine.has_maven()
    start = (
        "import pathlib; from hapi.running import Hapi; "
        "Hapi(log=pathlib.Path('hapi.log'), settings={'HAPI_PAGE': '7'}).start()"
    )
    said = machine.python("-c", start, HAPI_DB="/somebody/elses").communicate(timeout=60)[1]
    assert said.splitlines()[-1] == '["HAPI_PAGE", "HAPI_PORT"]'


@pytest.mark.parametrize(
    ("ci", "code", "said"), [("", 0, "1 skipped"), ("true", 1, "must run here: no Java")]
)
def test_without_java_the_tests_are_skipped_and_where_that_may_not_be_they_fail(
    machine: Machine, ci: str, code: int, said: str
) -> None:
    machine.has_maven()
    one = f"{machine.home}/hapi/test_hapi_writes.py::test_tags_only_ever_add"
    process = machine.python(
        *("-m", "pytest", "-q", "-rs", "--import-mode=importlib", "-p", "no:cacheprovider", one), CI=ci
    )
    out = process.communicate(timeout=120)[0]
    assert process.returncode == code, out
    assert said in out
    assert "HAPI wants a JDK" in out
