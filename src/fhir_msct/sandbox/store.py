"""Every version of every resource in one SQLite database, and the terms it can be found by.

One connection, one lock: the server's loop and the thread that loads fixtures take turns.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fhir_msct.errors import Locked, UsageError
from fhir_msct.sandbox.index import Term
from fhir_msct.sandbox.moments import moment

_APPLICATION = 0x4D534354
"""Marks the file as ours (`pragma application_id`), so that no other database is ever written into."""

_DDL = """
create table version(seq integer primary key, type text not null, id text not null, version text not null,
    last_updated text not null, method text not null, body blob, unique(type, id, version));
create table current(key integer primary key, type text not null, id text not null, seq integer not null,
    at integer not null, deleted integer not null, unique(type, id));
create table term(key integer not null, param text not null, system text, value text,
    start integer, stop integer, wall_start integer, wall_stop integer);
create index current_at on current(type, at);
create index term_value on term(param, value, key);
create index term_key on term(key, param);
"""
_VERSION = "type, id, version, last_updated, method, body"


class Version(NamedTuple):
    """One version of a resource; without a body, its deletion."""

    type: str
    id: str
    version: str
    last_updated: str
    method: str
    body: bytes | None

    @property
    def source(self) -> str:
        """Where it can be read: `Type/id/_history/version`."""
        return f"{self.type}/{self.id}/_history/{self.version}"


class Store:
    """The resources of one server; in memory when `path` is None. Close it when done."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._db = _opened(path)
        self._ids = self._largest_id()

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction, all or nothing; inside another one, part of that."""
        with self._lock:
            outermost = self._depth == 0
            if outermost:
                self._db.execute("begin immediate")
            self._depth += 1
            try:
                yield
            except BaseException:
                if outermost:
                    self._db.execute("rollback")
                raise
            else:
                if outermost:
                    self._db.execute("commit")
            finally:
                self._depth -= 1

    def append(self, new: Version, terms: Iterable[Term] = ()) -> None:
        """Makes this the current version of its resource."""
        at = moment(new.last_updated)
        with self.writing():
            seq = self._db.execute("insert into version values (null, ?, ?, ?, ?, ?, ?)", new).lastrowid
            self._db.execute(
                "insert into current values (null, ?, ?, ?, ?, ?) on conflict(type, id) do update"
                " set seq = excluded.seq, at = excluded.at, deleted = excluded.deleted",
                (new.type, new.id, seq, at.start if at else 0, new.body is None),
            )
            key = self.select("select key from current where type = ? and id = ?", (new.type, new.id))[0][0]
            self._db.execute("delete from term where key = ?", (key,))
            self._db.executemany(
                "insert into term values (?, ?, ?, ?, ?, ?, ?, ?)", [(key, *t) for t in terms]
            )

    def current(self, type_: str, id_: str) -> Version | None:
        """The newest version, deleted or not; None where there never was one."""
        where = "seq = (select seq from current where type = ? and id = ?)"
        return next(iter(self._versions(where, (type_, id_))), None)

    def version(self, type_: str, id_: str, version: str) -> Version | None:
        """One version of a resource."""
        return next(iter(self._versions("type = ? and id = ? and version = ?", (type_, id_, version))), None)

    def history(self, type_: str, id_: str) -> list[Version]:
        """All versions of a resource, the newest first."""
        return self._versions("type = ? and id = ? order by seq desc", (type_, id_))

    def page(self, keys: Sequence[int]) -> list[Version]:
        """The current versions behind these keys, in this order; deleted ones are gone."""
        sql = (
            f"select c.key, {', '.join('v.' + name for name in _VERSION.split(', '))}"  # noqa: S608  (our names)
            " from json_each(?) k join current c on c.key = k.value join version v on v.seq = c.seq"
            " where c.deleted = 0"
        )
        found = {row[0]: Version(*row[1:]) for row in self.select(sql, (json.dumps(keys),))}
        return [found[key] for key in keys if key in found]

    def all(self, type_: str) -> list[Version]:
        """The current versions of a type, ordered by id; deleted ones left out."""
        where = "seq in (select seq from current where type = ? and deleted = 0) order by id"
        return self._versions(where, (type_,))

    def gone(self, type_: str) -> list[Version]:
        """The deletions of a type, ordered by id."""
        where = "seq in (select seq from current where type = ? and deleted = 1) order by id"
        return self._versions(where, (type_,))

    def select(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock:
            return self._db.execute(sql, args).fetchall()

    def new_id(self, type_: str) -> str:
        """The next server-assigned id that is free: a plain number, as HAPI gives."""
        with self._lock:
            self._ids += 1
            while self.current(type_, str(self._ids)) is not None:
                self._ids += 1
            return str(self._ids)

    def clear(self) -> None:
        """Forgets everything."""
        with self.writing():
            for table in ("version", "current", "term"):
                self._db.execute(f"delete from {table}")  # noqa: S608  (our own names)
            self._ids = 0

    def _versions(self, where: str, args: Sequence[Any]) -> list[Version]:
        sql = f"select {_VERSION} from version where {where}"  # noqa: S608  (our own clauses)
        return [Version(*row) for row in self.select(sql, args)]

    def _largest_id(self) -> int:
        """Of those that leave room for the next: an id has 64 characters at most."""
        ids = self.select("select id from current where id not glob '*[^0-9]*' and length(id) < 60")
        return max((int(row[0]) for row in ids), default=0)


def next_version(current: Version | None, seen: int) -> str:
    """The version after this one: its number plus one, or the count of all where it is no number."""
    if current is None:
        return "1"
    return str(int(current.version) + 1 if current.version.isdecimal() else seen + 1)


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder: make it first")
    try:
        db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=0)
    except sqlite3.Error as error:
        raise UsageError(f"{path} cannot be opened: {error}") from None
    try:
        _prepare(db, path)
    except sqlite3.OperationalError as error:
        db.close()
        if "locked" in str(error):
            raise Locked(f"another server is using {path}: stop it first") from None
        raise UsageError(f"{path} cannot be used: {error}") from None
    except (sqlite3.DatabaseError, UsageError) as error:
        db.close()
        raise UsageError(f"{path} is not the database of a sandbox: {error}") from None
    return db


def _prepare(db: sqlite3.Connection, path: Path | None) -> None:
    db.execute("pragma locking_mode = exclusive")
    mark = db.execute("pragma application_id").fetchone()[0]
    tables = db.execute("select count(*) from sqlite_master").fetchone()[0]
    if mark != _APPLICATION and tables:
        raise UsageError("it holds something else")
    if path is not None:
        db.execute("pragma journal_mode = wal")
        db.execute(
            "pragma synchronous = normal"
        )  # survives a kill of the process; power loss is not our trade
    db.execute("begin immediate")
    if not tables:
        for statement in _DDL.split(";"):
            db.execute(statement)
        db.execute(f"pragma application_id = {_APPLICATION}")
    db.execute("commit")
