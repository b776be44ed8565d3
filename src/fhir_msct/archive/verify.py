"""Re-reading everything that an archive holds, and holding it against what was written down about it.

Nothing is written. Each check counts what it looked at and names what does not fit, by type, id and file:
never by a value.
"""

import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from msgspec import Struct

from fhir_msct.archive import files, ledger, schema, seals
from fhir_msct.archive.keep import EVERY, alike_in, digest_of, version_of
from fhir_msct.archive.store import FILE
from fhir_msct.archive.versions import choose
from fhir_msct.errors import MsctError
from fhir_msct.records import Resource

_BODIES = """
    select v.type, v.key, v.fhir_id, v.version, v.lastupdated, v.full_url, v.subsetted, v.deleted, v.place,
        v.sha256, v.body, v.length, v.start, file.stored
    from resource v left join file on file.id = v.file order by v.file, v.start, v.id
"""
_RUNS = """
    select run.id, run.complete, run.finished is null, run.problems <> '[]',
        (select count(*) from window w where w.run = run.id and w.state not in ('proved', 'split')),
        (select count(*) from window w where w.run = run.id and w.state = 'open'),
        (select count(*) from quarantine q where q.run = run.id and q.lost)
    from run order by run.id
"""
_ENTRIES = "select type, id, state, goal, sha256, version, attempts, first_sent from push_op"
_HASH, _NAME = re.compile(r"[0-9a-f]{64}"), re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPE, _STORED = re.compile(r"[A-Z][A-Za-z]{1,63}"), re.compile(r"\w[\w.-]*")
STATES = (ledger.INTENT, ledger.APPLIED, ledger.RETRACTED, ledger.CONFLICT)

Named = Callable[[bytes], Resource | None]
"""What a body says that it is; None where it is no resource."""


class Damaged(Struct, frozen=True):
    """A place that is not as it was written, and in which way."""

    place: str
    why: str


class Checked(Struct, frozen=True):
    """What one check looked at, how many there were, and which of them are damaged."""

    what: str
    number: int
    damaged: tuple[Damaged, ...] = ()


class _Tally:
    def __init__(self) -> None:
        self.number, self.found = 0, list[Damaged]()

    def __call__(self, place: str, why: str) -> None:
        shown = place.encode("ascii", "backslashreplace").decode()
        self.found.append(Damaged(shown, why))


def verify(connection: sqlite3.Connection, place: Path, named: Named) -> Iterator[Checked]:
    """Every check in turn; `named` tells what a body says that it is."""
    checks: dict[str, Callable[[_Tally], None]] = {
        "database pages": lambda tally: _database(connection, tally),
        "adopted files": lambda tally: _adopted(connection, place, tally),
        "resource versions": lambda tally: _bodies(connection, place, named, tally),
        "resources": lambda tally: _states(connection, tally),
        "pulls and loads": lambda tally: _runs(connection, tally),
        "ledger entries": lambda tally: _ledger(connection, tally),
        "files and folders": lambda tally: _private(place, tally),
    }
    for what, check in checks.items():
        tally = _Tally()
        try:
            check(tally)
        except (sqlite3.Error, OSError, TypeError, ValueError) as error:  # also a column of another type
            tally(FILE, f"cannot be read as the database it was ({type(error).__name__})")
        yield Checked(what, tally.number, tuple(tally.found))


def _database(connection: sqlite3.Connection, tally: _Tally) -> None:
    (tally.number,) = connection.execute("pragma page_count").fetchone()
    for (line,) in connection.execute("pragma integrity_check(20)"):
        if line != "ok":
            tally(FILE, f"its structure: {' '.join(str(line).split())}")
    for table, row, parent, _ in connection.execute("pragma foreign_key_check"):
        tally(FILE, f"{table} row {row} names a {parent} that is not there")
    (seen,) = connection.execute("pragma user_version").fetchone()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        schema.migrate(fresh, Path(FILE), schema.STEPS[:seen])
        wanted, found = (
            dict(db.execute("select name, sql from sqlite_schema")) for db in (fresh, connection)
        )
    for name in sorted(wanted.keys() | found.keys()):
        if not name.startswith("sqlite_stat") and wanted.get(name) != found.get(name):
            tally(FILE, "a table or index is not the one that was made")


def _adopted(connection: sqlite3.Connection, place: Path, tally: _Tally) -> None:
    for stored, size, digest in connection.execute("select stored, size, sha256 from file order by id"):
        tally.number += 1
        path = place / files.FOLDER / stored
        if not _STORED.fullmatch(stored) or not path.is_file():
            tally(f"{files.FOLDER}/{stored}", "is missing")
        elif (path.stat().st_size, _sha256(path)) != (size, digest):
            tally(f"{files.FOLDER}/{stored}", "is not the file that was adopted (size or sha256)")


def _bodies(connection: sqlite3.Connection, place: Path, named: Named, tally: _Tally) -> None:
    with files.Reader(place) as reader:
        for row in connection.execute(_BODIES):
            tally.number += 1
            *known, digest, body, length, start, stored = row
            type_, key, *rest = known
            at = f"{type_}/{key} in {FILE if stored is None else f'{files.FOLDER}/{stored} at byte {start}'}"
            try:
                whole = reader.read(stored, start, length) if stored is not None else body
            except (MsctError, OSError, TypeError, ValueError, OverflowError, MemoryError):
                tally(at, "its bytes are not there")
                continue
            if not isinstance(whole, bytes):
                tally(at, "its bytes are not there")
            elif why := _unlike(type_, key, rest, whole, digest, length, start, named):
                tally(at, why)


def _unlike(
    type_: str,
    key: str,
    rest: list[Any],
    body: bytes,
    digest: str,
    length: int,
    start: int | None,
    named: Named,
) -> str:
    """In which way a body and what the archive says of it do not fit; empty where they do."""
    id_, version, lastupdated, full_url, subsetted, deleted, where = rest
    told = Resource(type_, id_, body, version, lastupdated, deleted=bool(deleted))
    if digest_of(told) != digest or len(body) != length:
        return "its bytes are not those that came (sha256 or length)"
    if key != (id_ or f"#{sha256(body).hexdigest()}") or not _TYPE.fullmatch(type_):
        return "it does not go by its own id"
    if start is not None and where.rpartition(":")[2] != str(start):
        return "it is not where it was cut from"
    if not where and full_url is not None and "://" in full_url and not _is_of(full_url, type_, id_):
        return "its fullUrl names another resource"
    if deleted:
        return "" if not body else "a deletion with a body"
    said = named(body)
    if said is None:
        return "its bytes are no FHIR resource"
    if (said.type, said.id) != (type_, id_):
        return "its bytes are those of another resource"
    if (said.version or version, said.lastupdated or lastupdated) != (version, lastupdated):
        return "its version or time is not the one that its bytes name"
    return "" if bool(subsetted) >= said.subsetted else "it is a part, and kept as whole"


def _is_of(full_url: str, type_: str, id_: str | None) -> bool:
    """Whether an address could be this resource's: some servers give another address, or none with its id."""
    found = re.search(r"/([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$", full_url)
    return found is None or found[1] != type_ or id_ is None or found[2] == id_


def _states(connection: sqlite3.Connection, tally: _Tally) -> None:
    alike = alike_in(connection)
    for (type_, key), group in groupby(connection.execute(EVERY), key=lambda row: (row[0], row[1])):
        tally.number += 1
        rows = list(group)
        versions = [version_of(row[5:]) for row in rows]
        choices = choose(versions, alike)
        for (*_, state, same_id, impossible), version in zip(
            (row[:5] for row in rows), versions, strict=True
        ):
            choice = choices[version.row]
            if (state, bool(same_id)) != (choice.state, choice.same_id):
                tally(
                    f"{type_}/{key} in {FILE}", f"kept as {state}, and by its versions it is {choice.state}"
                )
            elif impossible:
                tally(f"{type_}/{key} in {FILE}", "seen last before it came")


def _runs(connection: sqlite3.Connection, tally: _Tally) -> None:
    for number, complete, going, problems, unproved, opened, lost in connection.execute(_RUNS):
        tally.number += 1
        if complete and (going or problems or unproved or lost):
            tally(f"pull {number} in {FILE}", "called complete, and not all of it was proved")
        elif not going and opened:
            tally(f"pull {number} in {FILE}", "called finished, with work that is open")
    for (window,) in connection.execute(
        "select id from window where state = 'proved' and (count_after is null or next_url is not null)"
    ):
        tally(f"window {window} in {FILE}", "called proved, without the count that proves it")
    for run in seals.broken_runs(connection) if _sealed(connection) else ():
        tally(f"pull {run} in {FILE}", "what is said of it is not what was written when it ended")


def _ledger(connection: sqlite3.Connection, tally: _Tally) -> None:
    for type_, id_, state, goal, digest, version, attempts, first_sent in connection.execute(_ENTRIES):
        tally.number += 1
        named = _TYPE.fullmatch(type_) and _NAME.fullmatch(id_) and _HASH.fullmatch(digest)
        done = state in (ledger.APPLIED, ledger.RETRACTED)
        sound = named and state in STATES and attempts >= 0 and (version is None or _NAME.fullmatch(version))
        if not sound or (done and state != goal) or (state == ledger.INTENT and not first_sent):
            tally(f"{type_}/{id_} in the push ledger of {FILE}", "its entry contradicts itself")
    for type_, id_ in seals.broken_entries(connection) if _sealed(connection) else ():
        tally(f"{type_}/{id_} in the push ledger of {FILE}", "its entry is not the one that was written")


def _sealed(connection: sqlite3.Connection) -> bool:
    """Whether this is no archive of an older program, which knew of no seals."""
    return bool(connection.execute("pragma user_version").fetchone()[0] >= seals.SINCE)


def _private(place: Path, tally: _Tally) -> None:
    """Nobody but the owner may look in."""
    for path in (place, *sorted(place.rglob("*"))):
        tally.number += 1
        allowed = 0o700 if path.is_dir() else 0o600
        if os.name == "posix" and stat.S_IMODE(path.lstat().st_mode) & ~allowed:
            tally(str(path.relative_to(place.parent)), f"may be read by others: chmod {allowed:o} it")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        hashed = sha256()
        for part in iter(lambda: file.read(1 << 20), b""):
            hashed.update(part)
    return hashed.hexdigest()


def total(checks: Iterable[Checked]) -> int:
    """How many places are damaged."""
    return sum(len(check.damaged) for check in checks)
