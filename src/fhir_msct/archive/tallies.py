"""What one run brought, counted by SQL over what is kept, never by counting while reading."""

import json
import sqlite3

from msgspec import Struct

_COLUMNS = ("received", "counted", "stored_new", "unchanged", "gone", "held")
_TALLIES = """
    with told as not materialized (select type, key, run, seen from resource
        where not (deleted and (select kind from run where id = :run) = 'server')),
    came as (select type, count(distinct key) n from told where seen = :run group by type),
    new as (select type, count(*) n, count(distinct key) keys from told where run = :run group by type),
    missing as (select type, count(distinct key) n from resource where gone = :run group by type),
    counted as (select type, case when sum(count_after is null) then null else sum(count_after) end n
        from window where run = :run and state <> 'split' and whole group by type
        having type not in (select type from asked where run = :run and how <> '')
        union all select type, counted from asked where run = :run and how <> ''),
    held as (select type, count(distinct key) n from resource where state = 'current' group by type),
    every as (select type from came union select type from missing union select type from counted)
    select every.type, coalesce(came.n, 0), counted.n, coalesce(new.n, 0),
        coalesce(came.n, 0) - coalesce(new.keys, 0), coalesce(missing.n, 0),
        coalesce(held.n, 0)
    from every left join came using (type) left join new using (type)
        left join missing using (type) left join counted using (type) left join held using (type) order by 1
"""
_UNPROVED = "select type, patients, lo, hi, why from window where run = ? and state = 'unproved' order by id"
_SET_ASIDE = """
    select reason, type, lost, count(*), min(place), min(sha256) from quarantine
    where run = ? group by reason, type, lost, case when lost then id else 0 end order by min(id)
"""


class Tally(Struct, frozen=True, kw_only=True):
    """What one run brought of one type."""

    type: str
    received: int = 0
    counted: int | None = None
    stored_new: int = 0
    unchanged: int = 0
    gone: int = 0
    held: int = 0


class Unproved(Struct, frozen=True, kw_only=True):
    """A window whose counts do not prove it, and why."""

    type: str
    patients: tuple[str, ...]
    lo: str
    hi: str
    why: str


class NotKept(Struct, frozen=True, kw_only=True):
    """What is only counted and hashed: one by one where it makes the run incomplete, else by reason."""

    reason: str
    type: str
    lost: bool
    number: int
    place: str
    sha256: str


def tallies(connection: sqlite3.Connection, run: int) -> tuple[Tally, ...]:
    """By type: received, counted by the server, new, unchanged, gone."""
    rows = connection.execute(_TALLIES, {"run": run})
    return tuple(Tally(type=row[0], **dict(zip(_COLUMNS, row[1:], strict=True))) for row in rows)


def unproved(connection: sqlite3.Connection, run: int) -> tuple[Unproved, ...]:
    """The windows that could not be proved, in their order."""
    rows = connection.execute(_UNPROVED, (run,))
    return tuple(
        Unproved(type=type_, patients=tuple(json.loads(patients)), lo=lo, hi=hi, why=why)
        for type_, patients, lo, hi, why in rows
    )


def not_kept(connection: sqlite3.Connection, run: int) -> tuple[NotKept, ...]:
    """What is in quarantine, in the order in which it came."""
    rows = connection.execute(_SET_ASIDE, (run,))
    return tuple(
        NotKept(reason=reason, type=type_, lost=bool(lost), number=number, place=place, sha256=sha256)
        for reason, type_, lost, number, place, sha256 in rows
    )


def requests(connection: sqlite3.Connection, run: int) -> int:
    """How many requests were sent, those before an interruption included."""
    return int(connection.execute("select count(*) from event where run = ?", (run,)).fetchone()[0])


def ids_seen(connection: sqlite3.Connection, run: int, type_: str) -> frozenset[str]:
    """The ids of one type that a run received."""
    rows = connection.execute("select key from resource where seen = ? and type = ?", (run, type_))
    return frozenset(key for (key,) in rows)
