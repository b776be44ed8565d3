"""The push ledger: what we meant to send, what a server is known to hold of it, and when it was first sent.

The intent is committed before a request leaves, so a process that dies in between finds it again, reads
the server, and knows whether the request arrived. One row for each resource of ours on each server.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from fhir_msct.archive.failures import spoken
from fhir_msct.archive.request_log import Sent, log
from fhir_msct.archive.seals import seal_entries
from fhir_msct.records import Resource

INTENT, APPLIED, RETRACTED, CONFLICT = "INTENT", "APPLIED", "RETRACTED", "CONFLICT"

PUSH_DDL = """
create table if not exists push_op (
    target text not null,
    type text not null,
    id text not null,
    state text not null check (state in ('INTENT', 'APPLIED', 'RETRACTED', 'CONFLICT')),
    goal text not null check (goal in ('APPLIED', 'RETRACTED')),
    sha256 text not null,
    version text,
    bundle text,
    attempts integer not null default 0,
    first_sent text,
    primary key (target, type, id)
) without rowid;
"""
PLACE_DDL = """
-- Where a resource of ours is on a server that chooses the ids of new ones.
create table if not exists push_place (
    target text not null, type text not null, id text not null, server_id text not null,
    primary key (target, type, id)
) without rowid;

-- What a server refused, and how it said so: a status and issue codes, never its words.
create table if not exists push_refused (
    target text not null, type text not null, id text not null,
    sha256 text not null, status integer not null, codes text not null,
    primary key (target, type, id)
) without rowid;

-- A Provenance that has to follow its result, on a server without transactions.
create table if not exists push_owed (
    target text not null, id text not null, body blob not null,
    about text not null, sha256 text not null,
    primary key (target, id)
) without rowid;
"""

_PENDING = """
    select v.type, v.fhir_id, v.body, v.place from resource v join run on run.id = v.run
    where run.kind = 'load' and v.fhir_id is not null and not exists (
        select 1 from resource o join run r on r.id = o.run
        where o.type = v.type and o.key = v.key
            and case r.kind when 'load' then o.seen else o.run end > v.seen)
    order by v.type, v.key
"""


_RESULTS = """
    select target, id from push_op where type = 'Observation' and state = 'APPLIED' and not exists (
        select 1 from resource v join run on run.id = v.run
        where run.kind = 'load' and v.type = 'Observation' and v.key = push_op.id)
    order by target, id
"""

_ENTRIES = "select type, id, state, goal, sha256, version, attempts, first_sent from push_op where target = ?"


class Operation(Struct, frozen=True):
    """One resource to be written: where, and the hash of what it shall say."""

    type: str
    id: str
    sha256: str
    goal: str = APPLIED


class Entry(Struct, frozen=True):
    """What the ledger knows of one resource on one server."""

    type: str
    id: str
    state: str
    goal: str
    sha256: str
    version: str | None
    attempts: int
    first_sent: str | None


class Refusal(Struct, frozen=True):
    """How a server said no to one resource: its status, and the issue codes of its OperationOutcome."""

    place: str
    status: int
    codes: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Status and codes, for a message; what a server writes beside them may hold a patient's data."""
        return " ".join([str(self.status), *self.codes])


class Owed(Struct, frozen=True):
    """A Provenance that has to follow its result: `about` is the result's id, `sha256` what that says."""

    id: str
    body: bytes
    about: str
    sha256: str


class Heard(Struct):
    """What a server is known to hold: each operation with its version there, and the ids that it chose."""

    done: list[tuple[Operation, str | None]] = []
    places: dict[tuple[str, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self.done or self.places)


def intend(
    db: sqlite3.Connection,
    target: str,
    operations: Iterable[Operation],
    now: str,
    heard: Heard | None = None,
    sent: list[Sent] | None = None,
) -> None:
    """Commits what is about to be sent, all of it or nothing; the time of the first sending stays.

    With it goes what was `heard` of what was `sent` before, and the log of that: one commit for all.
    """
    operations = list(operations)
    bundle = hashlib.sha256(json.dumps([op.sha256 for op in operations]).encode()).hexdigest()
    with _transaction(db):
        if heard:
            _settle(db, target, heard)
        if sent:
            log(db, sent)
        db.executemany(
            "insert into push_op (target, type, id, state, goal, sha256, bundle, attempts, first_sent) "
            "values (?, ?, ?, 'INTENT', ?, ?, ?, 1, ?) on conflict (target, type, id) do update set "
            "state = 'INTENT', goal = excluded.goal, sha256 = excluded.sha256, bundle = excluded.bundle, "
            "attempts = attempts + 1, first_sent = coalesce(first_sent, excluded.first_sent)",
            [(target, op.type, op.id, op.goal, op.sha256, bundle, now) for op in operations],
        )
        seal_entries(db, target, [(op.type, op.id) for op in operations])


def settle(
    db: sqlite3.Connection,
    target: str,
    done: Iterable[tuple[Operation, str | None]],
    places: Mapping[tuple[str, str], str] | None = None,
) -> None:
    """Commits what the server is known to hold: each operation with the version it has there.

    `places` are ids that the server chose, by our type and id.
    """
    with _transaction(db):
        _settle(db, target, Heard(list(done), dict(places or {})))


def _settle(db: sqlite3.Connection, target: str, heard: Heard) -> None:
    db.executemany(
        "insert or replace into push_place (target, type, id, server_id) values (?, ?, ?, ?)",
        [(target, *key, server_id) for key, server_id in heard.places.items()],
    )
    keys = [(target, op.type, op.id) for op, _ in heard.done]
    db.executemany("delete from push_refused where target = ? and type = ? and id = ?", keys)
    owed = [(target, op.id) for op, _ in heard.done if op.type == "Provenance"]
    db.executemany("delete from push_owed where target = ? and id = ?", owed)
    db.executemany(
        "insert into push_op (target, type, id, state, goal, sha256, version) "
        "values (?, ?, ?, ?, ?, ?, ?) on conflict (target, type, id) do update set "
        "state = excluded.state, goal = excluded.goal, sha256 = excluded.sha256, "
        "version = excluded.version",
        [(target, op.type, op.id, op.goal, op.goal, op.sha256, version) for op, version in heard.done],
    )
    seal_entries(db, target, [(op.type, op.id) for op, _ in heard.done])


def withdraw(db: sqlite3.Connection, target: str, operations: Iterable[Operation]) -> None:
    """Commits that these were meant to be sent, are known not to have arrived, and never will be."""
    keys = [(target, op.type, op.id) for op in operations]
    with _transaction(db):
        db.executemany(
            "delete from push_op where target = ? and type = ? and id = ? and state = 'INTENT'", keys
        )
        db.executemany(
            "delete from push_seal where target = ?1 and type = ?2 and id = ?3 and not exists "
            "(select 1 from push_op o where o.target = ?1 and o.type = ?2 and o.id = ?3)",
            keys,
        )
        owed = [(target, own) for _, kind, own in keys if kind == "Provenance"]
        db.executemany("delete from push_owed where target = ? and id = ?", owed)


def conflict(db: sqlite3.Connection, target: str, operations: Iterable[Operation]) -> None:
    """Commits that the server holds something under these ids that is not ours."""
    operations = list(operations)
    with _transaction(db):
        db.executemany(
            "insert into push_op (target, type, id, state, goal, sha256) values (?, ?, ?, 'CONFLICT', ?, ?) "
            "on conflict (target, type, id) do update set state = 'CONFLICT'",
            [(target, op.type, op.id, op.goal, op.sha256) for op in operations],
        )
        seal_entries(db, target, [(op.type, op.id) for op in operations])


def refuse(db: sqlite3.Connection, target: str, operation: Operation, refusal: Refusal) -> None:
    """Commits that the server took everything but this, and how it said so."""
    said = (target, operation.type, operation.id, operation.sha256, refusal.status, " ".join(refusal.codes))
    with _transaction(db):
        db.execute(
            "insert or replace into push_refused (target, type, id, sha256, status, codes) "
            "values (?, ?, ?, ?, ?, ?)",
            said,
        )


def refusals(db: sqlite3.Connection, target: str) -> list[Refusal]:
    """What a server refused and has not taken since, by type and id."""
    rows = db.execute(
        "select type, id, status, codes from push_refused where target = ? order by type, id", (target,)
    )
    return [Refusal(f"{kind}/{own}", status, tuple(codes.split())) for kind, own, status, codes in rows]


def owe(db: sqlite3.Connection, target: str, owed: Owed) -> None:
    """Commits that a Provenance has to follow its result, before the result is sent."""
    with _transaction(db):
        db.execute(
            "insert or replace into push_owed (target, id, body, about, sha256) values (?, ?, ?, ?, ?)",
            (target, owed.id, owed.body, owed.about, owed.sha256),
        )


def owed(db: sqlite3.Connection, target: str) -> list[Owed]:
    """The Provenances that have not followed their result yet."""
    rows = db.execute("select id, body, about, sha256 from push_owed where target = ? order by id", (target,))
    return [Owed(*row) for row in rows]


def places(db: sqlite3.Connection, target: str) -> dict[tuple[str, str], str]:
    """The ids that a server chose for resources of ours, by our type and id."""
    rows = db.execute("select type, id, server_id from push_place where target = ?", (target,))
    return {(kind, own): server_id for kind, own, server_id in rows}


def entries(db: sqlite3.Connection, target: str) -> dict[tuple[str, str], Entry]:
    """Everything the ledger knows of one server, by type and id."""
    rows = db.execute(f"{_ENTRIES} order by type, id", (target,))
    return {(row[0], row[1]): Entry(*row) for row in rows}


def entry(db: sqlite3.Connection, target: str, key: tuple[str, str]) -> Entry | None:
    """What the ledger knows of one resource on one server, by type and id."""
    row = db.execute(f"{_ENTRIES} and type = ? and id = ?", (target, *key)).fetchone()
    return Entry(*row) if row else None


def results(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Target and id of every result that was pushed and not taken back; what was entered by hand is none."""
    return db.execute(_RESULTS).fetchall()


def pending(db: sqlite3.Connection) -> Iterator[Resource]:
    """Values entered by hand that no pull has brought back since: what a server has yet to take over."""
    for kind, own, body, place in db.execute(_PENDING):
        yield Resource(kind, own, body, where=place)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, whatever the connection's own way of beginning transactions."""
    try:
        db.execute("begin immediate")
        yield
        db.commit()
    except BaseException as error:
        if db.in_transaction:
            db.rollback()
        if isinstance(error, sqlite3.OperationalError):  # the disk's, not ours
            raise spoken(error, Path(db.execute("pragma database_list").fetchone()[2])) from None
        raise
