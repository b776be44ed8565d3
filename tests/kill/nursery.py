"""A process that has imported everything and gives birth to commands, each a process of its own.

Orders come as lines of JSON, and each is answered by two: the child's number, and how it ended. A child is
watched by the interpreter's own audit hooks and SQLite's own trace: nothing of the product is changed or
knows of it. So `die` can name a moment by what happens then: the n-th SQL statement, or the n-th time that
something in the study folder is opened for writing, made, renamed or removed.
"""

import errno
import gc
import json
import logging
import mmap
import os
import resource
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

KINDS = ("sql", "file")
CHANGES = frozenset({"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "shutil.rmtree"})
NEEDS_ROOM = frozenset({"open", "os.mkdir", "os.rename", "os.link"})
COUNTS = struct.Struct(f"{len(KINDS)}q")
LISTENING = "what is logged is heard"
"""The first line of a child that says what is logged."""

HEAVY = (
    *("fhir_msct.cli", "fhir_msct.study", "fhir_msct.tasks.told", "fhir_msct.tasks.verify"),
    *("fhir_msct.tasks.load", "fhir_msct.tasks.init", "fhir.resources.R4B.observation"),
    *("fhir.resources.R4B.provenance", "fhir.resources.R4B.device", "fhir.resources.R4B.researchstudy"),
    *("scipy.stats", "pandas", "pyarrow.parquet", "httpx", "joserfc.jwt", "fhir_msct.report.page"),
    *("fhir_msct.client.smart", "fhir_msct.client.keys", "jinja2", "altair"),
)


class Ended(Struct, frozen=True):
    """How a command ended: its exit code (below 0: killed by that signal), what it said, what it did."""

    code: int
    said: str
    seconds: float
    counts: dict[str, int]

    @property
    def killed(self) -> bool:
        """Whether it was killed, and did not end by itself before."""
        return self.code == -signal.SIGKILL


class Nursery:
    """The process, from the outside. A context manager."""

    def __enter__(self) -> "Nursery":
        path = os.pathsep.join(one for one in sys.path if one)
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._child, self._born = 0, threading.Event()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def run(
        self,
        *words: object,
        folder: Path,
        die: tuple[str, int] | None = None,
        after: float | None = None,
        limit: int | None = None,
        pages: int | None = None,
        fail: int | None = None,
        log: bool = False,
    ) -> Ended:
        """Runs `fhir-msct words` in a process of its own.

        `die`: killed at the n-th event of a kind; `after`: killed after that many seconds; `limit`: no file
        may grow beyond these bytes; `pages`: the database may not; `fail`: the n-th change of a file says
        that the disk is full; `log`: everything that anybody logs, at any level, is said too.
        """
        stdin, stdout = self._pipes()
        order = {
            "argv": [str(word) for word in words],
            "folder": str(folder),
            "die": die,
            "after": after,
            "limit": limit,
            "pages": pages,
            "fail": fail,
            "log": log,
        }
        self._born.clear()
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        self._child = json.loads(stdout.readline())
        self._born.set()
        return Ended(**json.loads(stdout.readline()))

    def kill(self) -> None:
        """Kills the child that runs now; from another thread."""
        assert self._born.wait(30)
        os.kill(self._child, signal.SIGKILL)

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout


class Watch:
    """Counts what a child does, where its parent can read it, and strikes at the moment that was named."""

    def __init__(self, order: dict[str, Any], shared: mmap.mmap) -> None:
        self.order, self.shared = order, shared
        self.counts = dict.fromkeys(KINDS, 0)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and _writes(args)):
            path = os.fsdecode(args[0]) if isinstance(args[0], str | bytes | os.PathLike) else ""
            if path.startswith(self.order["folder"]):
                self.happened("file")
                if self.counts["file"] == self.order["fail"] and event in NEEDS_ROOM:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def connect(self, *args: Any, **more: Any) -> sqlite3.Connection:
        """As SQLite's own, and watched: an audit hook is told of a connection before it can be used."""
        connection = sqlite3.Connection(*args, **more)
        if self.order["pages"]:
            connection.execute(f"pragma max_page_count = {int(self.order['pages'])}")
        connection.set_trace_callback(lambda _: self.happened("sql"))
        return connection

    def happened(self, kind: str) -> None:
        """One more of a kind; the child is dead before it happens, where this is the one."""
        self.counts[kind] += 1
        COUNTS.pack_into(self.shared, 0, *self.counts.values())
        if self.order["die"] == [kind, self.counts[kind]]:
            os.kill(os.getpid(), signal.SIGKILL)


def _writes(args: tuple[Any, ...]) -> bool:
    _, mode, flags = args
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _live(order: dict[str, Any], shared: mmap.mmap, out: int) -> None:
    """The child: it becomes the command, and never comes back."""
    from fhir_msct.cli import main

    os.dup2(out, 1)
    os.dup2(out, 2)
    watch = Watch(order, shared)
    sqlite3.connect = watch.connect  # type: ignore[assignment]
    sys.addaudithook(watch)
    if order["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], order["limit"]))
    if order["log"]:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s:%(name)s:%(message)s")
        logging.debug(LISTENING)
    sys.argv = ["fhir-msct", *order["argv"]]
    code = 70
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _raise(order: dict[str, Any]) -> int:
    """Gives birth to a child, and tells of its end; its number."""
    shared = mmap.mmap(-1, COUNTS.size)
    inward, outward = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        _live(order, shared, outward)
    os.close(outward)
    print(child, flush=True)
    said = _heard(inward, child, order["after"], started)
    # Not reaped before the next order, so that nobody who kills it late can hit another process.
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    counts = dict(zip(KINDS, COUNTS.unpack_from(shared), strict=True))
    seconds = time.monotonic() - started
    print(json.dumps({"code": code, "said": said, "seconds": seconds, "counts": counts}), flush=True)
    return child


def _heard(inward: int, child: int, after: float | None, started: float) -> str:
    """All that a child says; it is killed when its time is up."""
    parts: list[bytes] = []
    while True:
        left = None if after is None else max(0.0, started + after - time.monotonic())
        if not select.select([inward], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            after = None
            continue
        part = os.read(inward, 65536)
        if not part:
            os.close(inward)
            return b"".join(parts).decode()
        parts.append(part)


def _warm() -> None:
    """What each process does once is done before there are children; they look for garbage in their own."""
    from fhir_msct.client.network import Network

    Network().options()
    gc.collect()
    gc.freeze()


def _serve() -> None:
    for name in HEAVY:
        __import__(name)
    _warm()
    child = 0
    for line in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = _raise(json.loads(line))


if __name__ == "__main__":
    _serve()
