"""A hash over what only the archive itself ever said: how a run went, what the ledger knows of a resource.

It is written in the transaction that says it, and `verify` makes it again. What an older program wrote has
no seal, and none is made up for it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

SINCE = 3
"""The version of the archive from which on there are seals."""

SEAL_DDL = """
create table if not exists push_seal (
    target text not null, type text not null, id text not null, sha256 text not null,
    primary key (target, type, id)
) without rowid;
"""

_RUN = (
    "select * from run where id = ?",
    "select * from asked where run = ? order by type",
    "select * from window where run = ? order by id",
    "select page.* from page join window on window.id = page.window where window.run = ? order by page.rowid",
    "select * from missed where run = ? order by type, key",
    "select id, method, route, status, bytes, request_id from event where run = ? order by id",
    "select * from bulk_job where run = ? order by id",
    "select f.* from bulk_file f join bulk_job on bulk_job.id = f.job where run = ? order by f.id",
)
"""All of a run that nothing changes any more once it has ended; what it brought has hashes of its own."""

_ENTRY = "select * from push_op where target = ? and type = ? and id = ?"
_ENTRIES = """
    select o.* from json_each(?2) named cross join push_op o on o.target = ?1
        and o.type = json_extract(named.value, '$[0]') and o.id = json_extract(named.value, '$[1]')
"""


def seal_run(connection: sqlite3.Connection, run: int) -> None:
    """Seals a run that has just ended; to be called at the end of the transaction that ends it."""
    connection.execute("update run set seal = ? where id = ?", (_run_hash(connection, run), run))


def broken_runs(connection: sqlite3.Connection) -> Iterator[int]:
    """The runs that are not what was written down of them when they ended."""
    for run, seal in connection.execute("select id, seal from run where seal <> '' order by id").fetchall():
        if seal != _run_hash(connection, run):
            yield run


def seal_entries(db: sqlite3.Connection, target: str, keys: Iterable[tuple[str, str]]) -> None:
    """Seals entries of the push ledger, by type and id; to be called in the transaction that wrote them."""
    rows = db.execute(_ENTRIES, (target, json.dumps(list(keys)))).fetchall()
    seals = [(*row[:3], _hash(row)) for row in rows]
    db.executemany("insert or replace into push_seal values (?, ?, ?, ?)", seals)


def broken_entries(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Type and id of the entries of the push ledger that are not what was written, or gone."""
    for *key, seal in db.execute(
        "select target, type, id, sha256 from push_seal order by 1, 2, 3"
    ).fetchall():
        if seal != _entry_hash(db, key):
            yield key[1], key[2]


def _run_hash(connection: sqlite3.Connection, run: int) -> str:
    hashed = sha256()
    for sql in _RUN:
        found = connection.execute(sql, (run,))
        names = [column[0] for column in found.description]
        for row in found:
            said = {name: value for name, value in zip(names, row, strict=True) if name != "seal"}
            hashed.update(json.dumps(said).encode() + b"\n")
    return hashed.hexdigest()


def _entry_hash(db: sqlite3.Connection, key: Iterable[Any]) -> str:
    return _hash(db.execute(_ENTRY, tuple(key)).fetchone())


def _hash(row: tuple[Any, ...] | None) -> str:
    return sha256(json.dumps(row).encode()).hexdigest()
