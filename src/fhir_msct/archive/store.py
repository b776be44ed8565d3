"""The durable store of one study: raw resources, adopted files, cursors, quarantine, and the push ledger.

SQLite in WAL mode with synchronous FULL: what a transaction committed survives a kill and a power cut.
Bodies are kept byte for byte. One process at a time works in an archive.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from fhir_msct.archive import files, schema
from fhir_msct.archive.failures import spoken
from fhir_msct.archive.keep import begin, keep
from fhir_msct.archive.seals import seal_run
from fhir_msct.errors import Locked, UsageError
from fhir_msct.records import Resource

FILE = "archive.sqlite"

KIB = 1024
PAGE = 16 * KIB
"""Bytes of a page of a new archive: about ten resources each, so fewer pages are written twice."""

CACHE = 12 * 1024
"""KiB of pages that stay in memory: a transaction of eight pages of a search, and its part of the indexes."""

LOG = 64 * KIB * KIB
"""Bytes that may stand in the log before they are copied into the file: what is in it is durable already."""

_CURRENT = """
    select v.type, v.fhir_id, v.body, v.version, v.lastupdated, v.full_url, v.subsetted, v.same_id, v.place,
        file.stored, v.start, v.length
    from resource v left join file on file.id = v.file
    where v.type = ? and v.state = 'current' order by v.key, v.sha256
"""

_ACCOUNTS = """
    select type, case state when 'current' then 'seen' else state end, count(*) from resource group by 1, 2
    union all select type, 'duplicate', count(*) from duplicate group by 1
    union all select type, 'not_fhir', count(*) from quarantine where reason not like 'outside-%' group by 1
"""
_LAST_PULL = """
    select complete, iif(kind = 'server', base, null), server_date, software, version,
        (select count(*) from event where event.run = run.id), started, finished, problems
    from run where kind <> 'load' order by id desc limit 1
"""


class Account(Struct, frozen=True, kw_only=True):
    """What was read of one type, and what became of it: `lines_read` is the sum of the others.

    The type is empty for what has none: damaged lines, logs, manifests.
    """

    seen: int = 0
    """Current resources; two bodies of one id that nothing can order count as two."""
    superseded: int = 0
    deleted: int = 0
    duplicate: int = 0
    """The same bytes again, in another place of a folder."""
    not_fhir: int = 0
    lines_read: int = 0


class Pull(Struct, frozen=True, kw_only=True):
    """What is known of a pull."""

    complete: bool
    base_url: str | None
    """The server's base address; None for a folder."""
    server_date: str | None = None
    """ISO date of the server's clock at its end; None for a folder."""
    software: str = ""
    version: str = ""
    requests: int = 0
    started: str = ""
    finished: str | None = None
    problems: tuple[str, ...] = ()


class Archive:
    """An open archive. A context manager."""

    def __init__(self, place: Path, connection: sqlite3.Connection, closing: ExitStack) -> None:
        self.place = place
        self.connection = connection
        """In autocommit mode: use `transaction` to write."""
        self._closing = closing

    @classmethod
    def open(cls, folder: Path, *, create: bool = False) -> Self:
        """The archive of a study folder, its tables up to date.

        Raises Locked where another process has it, UsageError where there is none (and it is not to be
        created), where it cannot be opened, and where a newer program wrote it.
        """
        place = folder / "archive"
        path = place / FILE
        if not folder.is_dir():
            raise UsageError(f"{folder} does not exist: run `fhir-msct init {folder}` first")
        if not path.is_file() and not create:
            raise UsageError(f"{folder} holds no archive: run `fhir-msct pull {folder}` first")
        with ExitStack() as closing:
            try:
                connection = _connected(place, closing)
                schema.migrate(connection, path)
                files.tidy(connection, place)
            except (sqlite3.Error, OSError) as error:
                raise spoken(error, path) from None
            return cls(place, connection, closing.pop_all())

    def close(self) -> None:
        """Lets go of the archive."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, or nothing of it; inside another one, a part of that one."""
        if self.connection.in_transaction:
            yield self.connection
            return
        try:
            self.connection.execute("begin immediate")
            yield self.connection
            self.connection.execute("commit")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("rollback")
            if isinstance(error, sqlite3.Error):
                raise spoken(error, self.place / FILE) from None
            raise

    def types(self) -> tuple[str, ...]:
        """The types of which there is a current resource, sorted."""
        found = self.connection.execute(
            "select distinct type from resource where state = 'current' order by 1"
        )
        return tuple(type_ for (type_,) in found)

    def current(self, type_: str) -> Iterator[Resource]:
        """The newest version of each resource of a type, by id; deleted ones are left out.

        Two bodies of one id, and no version to choose by: both come, with `same_id`.
        """
        with files.Reader(self.place) as reader:
            for row in self.connection.execute(_CURRENT, (type_,)):
                kind, id_, body, version, lastupdated, full_url, subsetted, same_id, where, *part = row
                yield Resource(
                    type=kind,
                    id=id_,
                    body=body if body is not None else reader.read(*part),
                    version=version,
                    lastupdated=lastupdated,
                    full_url=full_url,
                    subsetted=bool(subsetted),
                    same_id=bool(same_id),
                    where=where,
                )

    def accounts(self) -> dict[str, Account]:
        """For each type what was read and what became of it, counted by SQL over all that is kept."""
        counts: dict[str, dict[str, int]] = {}
        for type_, column, number in self.connection.execute(_ACCOUNTS):
            counts.setdefault(type_, {})[column] = number
        return {
            type_: Account(**found, lines_read=sum(found.values())) for type_, found in sorted(counts.items())
        }

    def last_pull(self) -> Pull | None:
        """The latest pull, also one that did not end; None where nothing was pulled yet."""
        row = self.connection.execute(_LAST_PULL).fetchone()
        if row is None:
            return None
        complete, base, date, software, version, requests, started, finished, problems = row
        return Pull(
            complete=bool(complete and finished),
            base_url=base,
            server_date=date,
            software=software,
            version=version,
            requests=requests,
            started=started,
            finished=finished,
            problems=tuple(msgspec.json.decode(problems, type=list[str])),
        )

    def add(self, resources: Iterable[Resource], *, source: str) -> int:
        """Keeps resources that were not pulled (records entered by hand); the number of new versions.

        Of two versions the later one is current, and what a server returns under the same id comes
        before both.
        """
        with self.transaction() as connection:
            run = begin(connection, "load", source, "")
            for found in resources:
                keep(connection, run, found)
            connection.execute("update run set finished = started, complete = 1 where id = ?", (run,))
            seal_run(connection, run)
            (new,) = connection.execute("select count(*) from resource where run = ?", (run,)).fetchone()
        return int(new)


def _connected(place: Path, closing: ExitStack) -> sqlite3.Connection:
    """A connection that nobody else has, to a file that nobody else may read."""
    place.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(place / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    closing.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked(f"{place.parent}: another fhir-msct works in this folder: wait for it") from None
    os.close(os.open(place / FILE, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(place / FILE, isolation_level=None, timeout=0)
    closing.callback(connection.close)
    for pragma in (f"page_size = {PAGE}", f"cache_size = -{CACHE}", f"wal_autocheckpoint = {LOG // PAGE}"):
        connection.execute(f"pragma {pragma}")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma wal_checkpoint(truncate)")  # what a kill left is played back once, and whole
    connection.execute("pragma foreign_keys = on")
    return connection
