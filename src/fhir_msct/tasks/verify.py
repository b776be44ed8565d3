"""`verify`: is what the archive holds still what came? All of it is read again, and nothing is written."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from fhir_msct.archive import verify as checks
from fhir_msct.archive import wal
from fhir_msct.archive.reading import looking_at
from fhir_msct.archive.store import FILE
from fhir_msct.client import bundle
from fhir_msct.client.failures import Unusable
from fhir_msct.records import Resource


class VerifyReport(Struct, frozen=True, kw_only=True):
    """What was looked at, and what is damaged."""

    checked: tuple[checks.Checked, ...]
    interrupted: bool
    """Whether the latest pull did not come to its end: no damage, but running it again goes on."""

    @property
    def damaged(self) -> tuple[checks.Damaged, ...]:
        """Every damaged place: which resource or file, and in which way."""
        return tuple(one for check in self.checked for one in check.damaged)


def verify(folder: Path, *, say: Callable[[str], None]) -> VerifyReport:
    """Re-reads and checks a study's archive.

    Raises UsageError where there is none, Locked where another process works in it.
    """
    found: list[checks.Checked] = []
    interrupted = False
    log = folder / "archive" / f"{FILE}-wal"
    if why := wal.damage(log):
        found.append(checks.Checked("logs", 1, (checks.Damaged(log.name, f"{why} is damaged"),)))
    try:
        with looking_at(folder) as (place, connection):
            for check in checks.verify(connection, place, _named):
                say(f"verify: {check.number} {check.what}")
                found.append(check)
            interrupted = _interrupted(connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where SQLite quotes a damaged name
        why = f"cannot be opened as a database ({type(error).__name__})"
        found.append(checks.Checked("databases", 1, (checks.Damaged(FILE, why),)))
    return VerifyReport(checked=tuple(found), interrupted=interrupted)


def _interrupted(connection: sqlite3.Connection) -> bool:
    last = "select finished is null from run where kind <> 'load' order by id desc limit 1"
    row = connection.execute(last).fetchone()
    return bool(row and row[0])


def _named(body: bytes) -> Resource | None:
    """What a body says that it is."""
    try:
        bundle.checked_text(body)
        head = bundle.head(body)
    except Unusable:
        return None
    return bundle.resource(body, head) if head.type else None
