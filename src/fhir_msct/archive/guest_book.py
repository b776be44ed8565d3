"""The guest book of a demo on somebody's server: which run it was, and every resource that it meant to write.

A row is committed before the request leaves, so whatever happens then, what may be on the server is known.
The book lies in the study folder, on its own: it is needed also where nothing was pulled yet.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Self

from msgspec import Struct

from fhir_msct.archive.failures import spoken
from fhir_msct.archive.files import synced
from fhir_msct.errors import UsageError

FILE = "guest-book.sqlite"

_DDL = """
create table guest (url text not null, run text not null, clean integer not null);
create table written (
    type text not null,
    mark text not null,
    id text,
    state text not null check (state in ('SENT', 'ANSWERED', 'GONE')),
    sent real not null,
    primary key (type, mark)
) without rowid;
"""


class Row(Struct, frozen=True):
    """One resource of the run. `mark` is its id, or what it carries where the server chooses the id."""

    type: str
    mark: str
    id: str | None
    state: str


class GuestBook:
    """An open guest book, which nobody else can open meanwhile. A context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._db = path, connection
        self.url, self.run, clean = connection.execute("select url, run, clean from guest").fetchone()
        self.is_clean = bool(clean)
        """Whether all of it was proved to be gone."""

    @classmethod
    def create(cls, folder: Path, url: str, run: str) -> Self:
        """The book of a run that is about to begin; raises UsageError where the folder may not be written."""
        path, new = folder / FILE, folder / f".{FILE}.new"
        with _spoken(path):
            new.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL, 0o600))
            with closing(_connected(new)) as db:
                db.executescript(f"begin; {_DDL}")
                db.execute("insert into guest values (?, ?, 0)", (url, run))
                db.execute("commit")
            new.replace(path)
            synced(folder)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The book of a folder's run.

        Raises UsageError where there is none or it is no book, Locked while another process has it.
        """
        path = folder / FILE
        if not path.is_file():
            raise UsageError(f"{folder}: no demo was run from here on a server: there is nothing to clean")
        with ExitStack() as stack, _spoken(path):
            book = cls(path, stack.enter_context(closing(_connected(path))))
            stack.pop_all()
        return book

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def intend(self, rows: Iterable[tuple[str, str, str | None]]) -> None:
        """Commits what is about to be sent: type, mark, and the id where we choose it."""
        now = time.time()
        with _spoken(self._path), self._all_or_nothing():
            self._db.executemany(
                "insert into written values (?, ?, ?, 'SENT', ?) on conflict (type, mark) "
                "do update set state = 'SENT', sent = excluded.sent",
                [(*row, now) for row in rows],
            )

    def answered(self, rows: Iterable[tuple[str, str]], *, refused: bool = False) -> None:
        """Commits that the server has answered what was sent, by type and mark: it is not under way.

        Where it was `refused`, what would have got an id of the server's is nowhere.
        """
        state = "case when ? and id is null then 'GONE' else 'ANSWERED' end"
        with _spoken(self._path), self._all_or_nothing():
            self._db.executemany(
                f"update written set state = {state} where type = ? and mark = ?",  # noqa: S608  (our words)
                [(refused, *row) for row in rows],
            )

    def may_choose(self, id_: str) -> bool:
        """Whether the run may choose this id: only those that begin with its name."""
        return id_.startswith(f"{self.run}-")

    def is_own(self, type_: str, id_: str) -> bool:
        """Whether an id is one of the run: it may choose it, or the server gave it."""
        sql = "select 1 from written where type = ? and id = ? and mark <> id"
        return self.may_choose(id_) or self._db.execute(sql, (type_, id_)).fetchone() is not None

    def settled(self) -> None:
        """Commits that nothing is under way any more."""
        self._run("update written set state = 'ANSWERED' where state = 'SENT'")

    def learn(self, type_: str, mark: str, id_: str) -> None:
        """Commits the id that the server gave to a resource."""
        self._run("update written set id = ? where type = ? and mark = ?", id_, type_, mark)

    def add(self, type_: str, id_: str) -> None:
        """Commits a resource of the run that was found on the server and in no row."""
        self._run(
            "insert or ignore into written values (?, ?, ?, 'ANSWERED', ?)", type_, id_, id_, time.time()
        )

    def close_up(self) -> None:
        """Commits that all of it is gone from the server."""
        with _spoken(self._path), self._all_or_nothing():
            self._db.execute("update written set state = 'GONE'")
            self._db.execute("update guest set clean = 1")
        self.is_clean = True

    def rows(self) -> list[Row]:
        """Every resource that the run meant to write, by type and mark."""
        found = self._db.execute("select type, mark, id, state from written order by type, mark")
        return [Row(*row) for row in found]

    def unanswered_for(self) -> float | None:
        """Seconds since the latest sending that was not answered; None where all were."""
        (sent,) = self._db.execute("select max(sent) from written where state = 'SENT'").fetchone()
        return None if sent is None else max(0.0, time.time() - sent)

    def unheard(self) -> tuple[int, float]:
        """How many were sent of which nobody knows the id on the server; seconds since the latest of them."""
        number, sent = self._db.execute(
            "select count(*), max(sent) from written where id is null and state != 'GONE'"
        ).fetchone()
        return number, max(0.0, time.time() - sent) if number else 0.0

    def _run(self, sql: str, *args: object) -> None:
        with _spoken(self._path):
            self._db.execute(sql, args)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()


def uncleaned(folder: Path) -> str | None:
    """The server on which a folder's run may have left something; None where there is no such run.

    Raises Locked while that run goes on, UsageError where the book cannot be read.
    """
    if not (folder / FILE).is_file():
        return None
    with GuestBook.open(folder) as book:
        return None if book.is_clean else book.url


def _connected(path: Path) -> sqlite3.Connection:
    """A connection that nobody else has, each of whose commits is on the disk when it returns."""
    db = sqlite3.connect(path, isolation_level=None, timeout=0)
    db.execute("pragma locking_mode = exclusive")
    db.execute("pragma synchronous = full")
    db.execute("begin exclusive")
    db.execute("commit")
    return db


@contextmanager
def _spoken(path: Path) -> Iterator[None]:
    strange = f"{path}: it is not a guest book: move it away"
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB):
            raise UsageError(strange) from None
        raise spoken(error, path) from None
    except TypeError:
        raise UsageError(strange) from None
