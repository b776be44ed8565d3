"""One HAPI server as a child process: built where needed, started, and gone when we are."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

from hapi import building
from hapi.building import Broken, Unavailable

START_SECONDS = 420
"""It takes 20 s on an idle machine; the others here may be busy."""

GRACE_SECONDS = 10

KNOWN = frozenset(
    f"HAPI_{name}"
    for name in ("PORT", "DB", "REUSE_MS", "EXPIRE_MS", "PAGE", "PAGE_MAX", "BATCH_MS", "RETRY_CONFLICTS")
)
"""The server's settings: what somebody has exported for a server of their own is not meant for another."""

_FLAGS = ("-Xmx1500m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""C1 only and the simplest collector: half the processor time to start, and nothing lost in a short life."""


class Hapi:
    """A HAPI FHIR JPA R4 server on loopback. `settings` are the HAPI_… variables it is started with.

    `port` 0 takes any free one. The server holds the other end of a pipe of ours and ends with it, so
    that it cannot outlive this process, however that ends. One that was killed can be started again, on
    another port where any would do.
    """

    def __init__(self, *, log: Path, port: int = 0, settings: Mapping[str, str] | None = None) -> None:
        self.log, self.settings = log, dict(settings or {})
        self.url = ""
        self._port = port
        self._child: subprocess.Popen[bytes] | None = None
        self._lock, self._stopped = threading.Lock(), False

    def start(self) -> None:
        """Returns when the server answers.

        Raises Unavailable for what this machine lacks (a free port, too), Broken where it dies or stays
        silent.
        """
        building.check()
        if self._port and not _is_free(self._port):
            raise Unavailable(f"port {self._port} is in use: choose another one, HAPI_PORT=8081 for instance")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        building.build(self._run, self.log)
        for _ in range(3):
            port = self._port or _free_port()
            self.url = f"http://127.0.0.1:{port}/fhir"
            if self._answers(self._launched(port)):
                return
            if self._port or "already in use" not in building.tail(self.log, 200):
                break
        raise Broken(f"HAPI ended while starting; the end of {self.log}:\n{building.tail(self.log)}")

    def wait(self) -> int:
        """The exit code of a server that has ended."""
        return self._child.wait() if self._child else 0

    def stop(self, *, grace: float = GRACE_SECONDS) -> None:
        """Ends whatever runs, politely for so many seconds; a stopped server is never started again."""
        with self._lock:
            self._stopped = True
            child = self._child
        if child is None or child.poll() is not None:
            return
        try:
            if child.stdin and grace:
                child.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(grace)
        finally:  # also where somebody does not want to wait
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # its own group: Maven and what Maven started
            child.wait()
        if child.stdin:
            child.stdin.close()

    def kill(self) -> None:
        """SIGKILL to the server itself, which `start` may start again; Maven is left alone."""
        with self._lock:
            child = self._child
        assert child is not None
        child.kill()
        child.wait()
        if child.stdin:
            child.stdin.close()

    def _launched(self, port: int) -> "subprocess.Popen[bytes]":
        command = [building.java(), *_FLAGS, "-cp", building.class_path(), "HapiServer"]
        return self._popen(command, self.log, {**self.settings, "HAPI_PORT": str(port)})

    def _run(self, command: list[str], log: Path, seconds: int) -> int:
        try:
            return self._popen(command, log, {}).wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop(grace=0)
            raise Broken(f"{command[0]} was not done after {seconds} s: {log} says more") from None

    def _popen(self, command: list[str], log: Path, more: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        with self._lock, log.open("ab") as out:
            if self._stopped:
                raise Broken("stopped while starting")
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**{name: text for name, text in os.environ.items() if name not in KNOWN}, **more},
                start_new_session=True,  # Ctrl+C is for us; we tell the child
            )
            return self._child

    def _answers(self, child: "subprocess.Popen[bytes]") -> bool:
        """Whether the server came up: False where its process ended."""
        end = time.monotonic() + START_SECONDS
        while child.poll() is None:
            if time.monotonic() > end:
                self.stop(grace=0)
                raise Broken(f"HAPI gave no answer in {START_SECONDS} s: {self.log} says more")
            with contextlib.suppress(OSError, HTTPException):
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"{self.url}/metadata", timeout=60) as answer:
                    # Somebody else may have taken the port between our look and HAPI's.
                    if answer.status == 200 and b"HAPI FHIR Server" in answer.read() and child.poll() is None:
                        return True
            time.sleep(0.3)
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])
