"""What went wrong on the disk, in words that say what to do."""

import errno
import sqlite3
from pathlib import Path

from fhir_msct.errors import Interrupted, Locked, MsctError, UsageError

_CODES: dict[int, tuple[type[MsctError], str]] = {
    sqlite3.SQLITE_FULL: (Interrupted, "the disk is full: make room and run this again"),
    sqlite3.SQLITE_IOERR: (Interrupted, "the disk gives an error: nothing of this step was kept"),
    sqlite3.SQLITE_READONLY: (UsageError, "it may not be written: check owner and permissions"),
    sqlite3.SQLITE_CANTOPEN: (UsageError, "it cannot be opened: check owner and permissions"),
    sqlite3.SQLITE_PERM: (UsageError, "it may not be opened: check owner and permissions"),
    sqlite3.SQLITE_BUSY: (Locked, "another process has it open"),
    sqlite3.SQLITE_LOCKED: (Locked, "another process has it open"),
    sqlite3.SQLITE_NOTADB: (UsageError, "it is not an archive"),
    sqlite3.SQLITE_CORRUPT: (UsageError, "it is damaged: pull into a new folder, and keep this one"),
}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def spoken(error: sqlite3.Error | OSError, path: Path) -> MsctError:
    """The error of this package that says what an error of the disk means."""
    if isinstance(error, OSError):
        said = error.strerror or "cannot be used"
        place = error.filename or path
        full = error.errno in _FULL
        return (
            Interrupted(f"{place}: {said}: make room, run this again")
            if full
            else UsageError(f"{place}: {said}")
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind, what = _CODES.get(code, (MsctError, f"SQLite error {type(error).__name__}"))
    return kind(f"{path}: {what}")
