"""Keeping resources: a new version, bytes that are here already, or a deletion."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

from fhir_msct.archive.versions import CURRENT, DELETED, Alike, Version, choose
from fhir_msct.records import Resource

_KNOWN = """
    select v.id, v.sha256, v.place, v.version, v.lastupdated, v.deleted, v.run, v.seen, v.gone,
        run.kind, run.base
    from resource v join run on run.id = v.run where v.type = ? and v.key = ?
"""
EVERY = """
    select v.type, v.key, v.state, v.same_id, v.seen < v.run or v.gone < v.run,
        v.id, v.sha256, v.place, v.version, v.lastupdated, v.deleted, v.run, v.seen, v.gone,
        run.kind, run.base
    from resource v join run on run.id = v.run order by v.type, v.key
"""
"""Every version with the state it has; from the sixth column on as `version_of` takes it."""

_HERE = "select distinct key from resource where type = ? and key in (select value from json_each(?))"

_NEW = """
    insert into resource (type, key, fhir_id, version, lastupdated, full_url, sha256, body, file, start,
        length, subsetted, deleted, place, run, seen, state) values
"""
_VALUES = f"({', '.join('?' * 17)})"
_PLAIN = (
    "(?1, ?{0}, ?{0}, ?{1}, ?{2}, ?{3}, ?{4}, ?{5}, null, null, length(?{5}), 0, 0, '', ?2, ?2, 'current')"
)
"""A row of a resource with an id and nothing unusual: type and run are said once for all rows."""

TOGETHER = (250, 125, 62, 31, 15, 7, 3, 1)
"""Rows of one statement: Python changes threads at each, and waits for its turn at the next.

Few sizes, since SQLite keeps each statement at hand, with all the rows that it was last given: one for every
size of a last page took 60 MB.
"""


def begin(connection: sqlite3.Connection, kind: str, base: str, config: str) -> int:
    """The number of a new run that has just started."""
    row = connection.execute(
        "insert into run (kind, base, config, started) values (?, ?, ?, ?) returning id",
        (kind, base, config, now()),
    ).fetchone()
    return int(row[0])


def now() -> str:
    """The wall clock, for the log only: nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def key_of(found: Resource) -> str:
    """What a resource goes by: its id, else # and the hash of its bytes."""
    return found.id or f"#{sha256(found.body).hexdigest()}"


def keep_all(
    connection: sqlite3.Connection, run: int, resources: Iterable[Resource], file: int | None = None
) -> None:
    """Keeps many resources as `keep` does; those of which nothing is known yet go in together."""
    fresh, known = _parted(connection, resources)
    plain: dict[str, list[Resource]] = {}
    rows: list[tuple[object, ...]] = []
    for (type_, key), found in fresh.items():
        if file is None and found.id and not (found.where or found.deleted or found.subsetted):
            plain.setdefault(type_, []).append(found)
        else:
            rows.append(_row(run, found, key, digest_of(found), file))
    for part in _parts(len(rows)):
        _insert(connection, rows[part])
    for type_, some in plain.items():
        for part in _parts(len(some)):
            _insert_plain(connection, run, type_, some[part])
    for found in known:
        keep(connection, run, found, file)


def _parted(
    connection: sqlite3.Connection, resources: Iterable[Resource]
) -> tuple[dict[tuple[str, str], Resource], list[Resource]]:
    """Each resource of which there is no version yet, under type and key; and all the others."""
    first: dict[tuple[str, str], Resource] = {}
    again = [one for one in resources if first.setdefault((one.type, key_of(one)), one) is not one]
    known: list[Resource] = []
    for type_ in {type_ for type_, _ in first}:
        asked = json.dumps([key for kind, key in first if kind == type_])
        here = connection.execute(_HERE, (type_, asked)).fetchall()
        known += [first.pop((type_, key)) for (key,) in here]
    return first, known + again


def keep(connection: sqlite3.Connection, run: int, found: Resource, file: int | None = None) -> None:
    """Stores a resource for a run; `file` is the adopted file in which its bytes lie at `where`.

    To be called inside a transaction. The same bytes again are only counted, and only once for a place.
    """
    digest, key = digest_of(found), key_of(found)
    known = connection.execute(_KNOWN, (found.type, key)).fetchall()
    same = next((row for row in known if row[1] == digest), None)
    if same is None:
        _insert(connection, [_row(run, found, key, digest, file)])
    else:
        if found.where and found.where != same[2]:
            again = (found.where, digest, found.type, key, run)
            connection.execute("insert or ignore into duplicate values (?, ?, ?, ?, ?)", again)
        connection.execute("update resource set seen = ? where id = ?", (run, same[0]))
    if len(known) > (same is not None) or (same is not None and same[8] is not None):
        order(connection, found.type, key)


def order(connection: sqlite3.Connection, type_: str, key: str) -> None:
    """Decides again which version of one resource is the current one."""
    known = connection.execute(_KNOWN, (type_, key)).fetchall()
    choices = choose([version_of(row) for row in known], alike_in(connection))
    connection.executemany(
        "update resource set state = ?, same_id = ? where id = ?",
        [(choice.state, choice.same_id, row) for row, choice in choices.items()],
    )


def _parts(rows: int) -> Iterator[slice]:
    """So many rows in parts of which each is one statement, the largest first."""
    start = 0
    for size in TOGETHER:
        while rows - start >= size:
            yield slice(start, start + size)
            start += size


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    values = ", ".join([_VALUES] * len(rows))
    connection.execute(_NEW + values, [value for row in rows for value in row])


def _insert_plain(connection: sqlite3.Connection, run: int, type_: str, some: Sequence[Resource]) -> None:
    """Keeps resources with an id and nothing unusual: `_insert` in a third of the values."""
    args: list[object] = [type_, run]
    for one in some:
        args += (one.id, one.version, one.lastupdated, one.full_url, digest_of(one), one.body)
    connection.execute(_many(len(some)), args)


@lru_cache(len(TOGETHER))
def _many(rows: int) -> str:
    """The statement for so many plain rows."""
    firsts = range(3, 3 + 6 * rows, 6)
    return _NEW + ", ".join(_PLAIN.format(*range(first, first + 6)) for first in firsts)


def _row(run: int, found: Resource, key: str, digest: str, file: int | None) -> tuple[object, ...]:
    """What `_NEW` stores of a version that was not here before."""
    start = int(found.where.rpartition(":")[2]) if file is not None and not found.deleted else None
    return (
        *(found.type, key, found.id, found.version, found.lastupdated, found.full_url, digest),
        *(found.body if start is None else None, file, start, len(found.body)),
        *(found.subsetted, found.deleted, found.where, run, run),
        DELETED if found.deleted else CURRENT,
    )


def digest_of(found: Resource) -> str:
    """The hash of the bytes; a deletion has none, so that what is known of it stands for them."""
    said = f"deleted {found.version} {found.lastupdated}".encode() if found.deleted else found.body
    return sha256(said).hexdigest()


def alike_in(connection: sqlite3.Connection) -> Alike:
    """What says of two versions in an archive whether they are two spellings of the same."""

    def spelled(one: Version) -> Any:
        (body,) = connection.execute("select body from resource where id = ?", (one.row,)).fetchone()
        try:
            return json.loads(body, parse_float=_as_written, parse_int=_as_written)
        except (ValueError, RecursionError):  # nothing but the same bytes are the same as these
            return body

    return lambda one, other: spelled(one) == spelled(other)


def _as_written(number: str) -> tuple[str]:
    """5.40 is not 5.4 here, and neither is a text."""
    return (number,)


def version_of(row: tuple[object, ...]) -> Version:
    """What choosing needs to know of a row."""
    number, digest, place, version, lastupdated, deleted, brought, seen, gone, kind, base = row
    name = str(place).rpartition(":")[0]
    return Version(
        row=number,  # type: ignore[arg-type]
        version=version,  # type: ignore[arg-type]
        lastupdated=lastupdated,  # type: ignore[arg-type]
        deleted=bool(deleted),
        kind=str(kind),
        brought=brought,  # type: ignore[arg-type]
        seen=seen,  # type: ignore[arg-type]
        gone=gone,  # type: ignore[arg-type]
        file=f"{base}/{name}" if name else "",
        sha256=str(digest),
    )
