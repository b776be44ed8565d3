"""One HAPI for a whole test session, shared by the processes that run its tests.

Whoever comes first starts a keeper, which builds and starts the server in the background. Everybody holds
a named pipe open; when the last one lets go, or is killed, the keeper ends and the server with it. A lock
is held until the server is ready, or the keeper has ended: waiting for it is waiting for either.

    python -m hapi.keeper HOME LOG LOCK        (the pipe is its standard input)
"""

import contextlib
import fcntl
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hapi.building import Broken, Unavailable
from hapi.running import Hapi

T = TypeVar("T")

READY, UNAVAILABLE, BROKEN = "ready", "unavailable", "broken"


class Shared:
    """A hold on the server of one session; the server lives at least as long."""

    def __init__(self, session: str, log: Path) -> None:
        """Joins the session's server, starting it when there is none yet. Returns at once."""
        self.log = log
        self._home = Path(tempfile.gettempdir()) / f"fhir-msct-hapi-{os.getuid()}-{session}"
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._keeper: subprocess.Popen[bytes] | None = None
        with (self._home / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            pipe = self._home / "pipe"
            first = not pipe.exists()
            if first:
                os.mkfifo(pipe, 0o600)
            self._hold = os.open(pipe, os.O_RDWR)  # never blocks, unlike opening one end alone
            if first:
                self._keeper = self._start(pipe)

    def url(self) -> str:
        """The server's address, once it answers; raises Unavailable or Broken where it never will."""
        with (self._home / "starting").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
        state = self._home / "state"
        kind, _, text = (state.read_text("utf-8") if state.is_file() else "").partition(" ")
        if kind == READY:
            return text
        raise Unavailable(text) if kind == UNAVAILABLE else Broken(text or "the keeper of HAPI was killed")

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made by whichever process of the session asks first."""
        with (self._home / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = self._home / name
            if kept.exists():
                found: T = pickle.loads(kept.read_bytes())  # noqa: S301  (written below, in a folder of ours)
                return found
            made = make()
            new = kept.with_suffix(".new")
            new.write_bytes(pickle.dumps(made))
            new.rename(kept)
            return made

    def leave(self) -> None:
        """Lets go; the last one to do so ends the server."""
        os.close(self._hold)
        if self._keeper:
            with contextlib.suppress(subprocess.TimeoutExpired):  # others may still be at work
                self._keeper.wait(GRACE_SECONDS)

    def _start(self, pipe: Path) -> "subprocess.Popen[bytes]":
        reading = os.open(pipe, os.O_RDONLY)
        lock = os.open(self._home / "starting", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return subprocess.Popen(
                [sys.executable, "-m", "hapi.keeper", str(self._home), str(self.log), str(lock)],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock],
                start_new_session=True,
            )
        finally:
            os.close(reading)
            os.close(lock)  # the keeper's copy goes on holding it


GRACE_SECONDS = 5


def keep(home: Path, log: Path, lock: int) -> None:
    """Starts a server, says how that went, and ends it when nobody holds the pipe any more."""
    server = Hapi(log=log)
    threading.Thread(target=_end_with_pipe, args=(server, home), daemon=True).start()
    try:
        server.start()
        said = f"{READY} {server.url}"
    except Unavailable as error:
        said = f"{UNAVAILABLE} {error}"
    except Exception as error:  # whatever it is, the tests must hear of it
        said = f"{BROKEN} {error}"
    new = home / "state.new"
    new.write_text(said, "utf-8")
    new.rename(home / "state")
    os.close(lock)
    threading.Event().wait()


def _end_with_pipe(server: Hapi, home: Path) -> None:
    while os.read(0, 1):
        pass
    server.stop(grace=0)  # its data are in memory: nothing is worth waiting for
    shutil.rmtree(home, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
