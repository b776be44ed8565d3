"""Whether a HAPI server can be had on this machine, and building it.

What stands in `server/` is built once; a stamp in `target/` says of which sources.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(__file__).resolve().parent / "server"
TARGET = SERVER / "target"

OLDEST_JAVA = 17

BUILD_SECONDS = 1500
"""A first build fetches 331 MB."""

_OFFLINE = re.compile(
    r"Could not transfer|Could not find artifact|Unknown host|could not be resolved|"
    r"Connection refused|timed out|unreachable",
    re.IGNORECASE,
)

Run = Callable[[list[str], Path, int], int]
"""Runs a command to its end, its output into a log, and gives its exit code."""


class Unavailable(Exception):
    """This machine lacks something that HAPI needs; the message says what."""


class Broken(Exception):
    """Everything is there, and yet it does not build or run; the message says where to look."""


def java() -> str:
    """The Java to run with; raises Unavailable where there is none that is new enough."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    wanted = f"HAPI wants a JDK of version {OLDEST_JAVA} or newer (for instance openjdk-17-jdk)"
    if found is None:
        raise Unavailable(f"no Java{' in JAVA_HOME' if home else ''}: {wanted}")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise Unavailable(f"Java here is {version[1] if version else 'of an unknown version'}: {wanted}")
    return found


def check() -> None:
    """Raises Unavailable where this machine can neither run what was built nor build it."""
    java()
    if not built() and shutil.which("mvn") is None:
        raise Unavailable("no Maven: HAPI is built with it (`mvn`, 3.8 or newer)")


def built() -> bool:
    """Whether the server as its sources stand now is built, and its jars are still there."""
    stamp, jars = TARGET / "stamp", TARGET / "classpath"
    if not stamp.is_file() or not jars.is_file() or stamp.read_text("utf-8") != _sources():
        return False
    return all(Path(jar).is_file() for jar in jars.read_text("utf-8").strip().split(os.pathsep))


def class_path() -> str:
    """What the built server runs with."""
    return os.pathsep.join([str(TARGET / "classes"), (TARGET / "classpath").read_text("utf-8").strip()])


def build(run: Run, log: Path) -> None:
    """Builds the server unless it is built, once however many ask.

    Raises Unavailable without Maven, its compiler or its jars, and Broken where it does not compile.
    """
    TARGET.mkdir(exist_ok=True)
    with _alone(TARGET / "lock"):
        if built():
            return
        maven = shutil.which("mvn")
        if maven is None:
            raise Unavailable("no Maven: HAPI is built with it (`mvn`, 3.8 or newer)")
        shutil.rmtree(TARGET / "classes", ignore_errors=True)
        command = [maven, "-q", "-B", "-f", str(SERVER / "pom.xml"), "compile"]
        if run(command, log, BUILD_SECONDS) != 0:
            raise _why(log)
        (TARGET / "stamp").write_text(_sources(), "utf-8")


def tail(log: Path, lines: int = 30) -> str:
    """The end of a log; empty where there is none."""
    text = log.read_text("utf-8", errors="replace") if log.is_file() else ""
    return "\n".join(line[:300] for line in text.splitlines()[-lines:])


def _why(log: Path) -> Exception:
    said = tail(log, 200)
    if "No compiler is provided" in said:
        return Unavailable("Java here has no compiler: a JDK is needed (for instance openjdk-17-jdk)")
    if _OFFLINE.search(said):
        return Unavailable(f"Maven cannot reach its jars (Maven Central, 331 MB once): {log} says more")
    return Broken(f"HAPI does not build: {log} says why")


def _sources() -> str:
    paths = [SERVER / "pom.xml", *sorted((SERVER / "src").rglob("*.java"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
