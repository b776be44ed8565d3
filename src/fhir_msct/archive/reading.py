"""An archive opened to be looked at: nothing in its folder is written, and nobody else writes meanwhile."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from fhir_msct.archive.schema import STEPS
from fhir_msct.archive.store import FILE
from fhir_msct.errors import Locked, UsageError


@contextmanager
def looking_at(folder: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """The archive's folder and a connection that cannot write.

    Raises UsageError where there is no archive, or one of a newer program; Locked where another process
    works in it; sqlite3.Error where the file is no database any more.
    """
    place = folder / "archive"
    path = place / FILE
    none = UsageError(f"{folder} holds no archive: run `fhir-msct pull {folder}` first")
    if not path.is_file() or not path.stat().st_size:
        raise none
    with ExitStack() as closing:
        _locked(place, closing)
        connection = sqlite3.connect(f"file:{quote(str(path))}?{_mode(path)}", uri=True, isolation_level=None)
        closing.callback(connection.close)
        # A damaged text may be no UTF-8; it is looked at all the same.
        connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        (seen,) = connection.execute("pragma user_version").fetchone()
        if seen > len(STEPS):
            raise UsageError(f"{path} was written by a newer fhir-msct: install that one")
        if not _is_made(connection):
            raise none
        yield place, connection


def _is_made(connection: sqlite3.Connection) -> bool:
    """Whether its making came to an end: a kill may leave tables behind in which nothing was ever written."""
    tables = {name for (name,) in connection.execute("select name from sqlite_schema")}
    begun = "run" in tables and connection.execute("select 1 from run").fetchone() is not None
    return begun or "push_op" in tables


def _mode(path: Path) -> str:
    """Without a log beside it the file is all there is, and SQLite need not make one to read it."""
    log = path.with_name(f"{path.name}-wal")
    return "mode=ro" if log.is_file() and log.stat().st_size else "mode=ro&immutable=1"


def _locked(place: Path, closing: ExitStack) -> None:
    try:
        lock = os.open(place / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return
    closing.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked(f"{place.parent}: another fhir-msct works in this folder: wait for it") from None
