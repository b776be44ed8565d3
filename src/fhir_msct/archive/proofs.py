"""What an archive holds of a server, held against what the server says it holds; and from where to go on.

A pull that asks only for what is new rests on a complete one before it: the same question, and an
instant of the server's clock from which everything later is asked for again.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from fhir_msct.archive.runs import Run
from fhir_msct.archive.store import Archive
from fhir_msct.archive.work import Asked

STEPS = ("", "read", "caught up", "proved")
"""How far a run from a server is: its windows, the catch-up, the proof of the whole."""

IN_DOUBT = "in doubt"
"""How a type is known whose counts do not say enough: its ids have to be compared."""

_HELD = """
    select distinct c.key from resource c where c.type = :type and c.state = 'current' and exists
        (select 1 from resource s join run on run.id = s.seen where s.type = c.type and s.key = c.key
            and run.kind = 'server' and s.deleted = 0 and (:run = 0 or s.seen = :run))
        and not exists (select 1 from missed m where m.run = :now and m.type = c.type and m.key = c.key)
"""
_SINCE = "and julianday(c.lastupdated) >= julianday(:since)"
_BEFORE = "and julianday(c.lastupdated) < julianday(:before)"
_UNSTAMPED = """
    select 1 from resource v join run on run.id = v.seen where v.type = ? and v.state = 'current'
        and run.kind = 'server' and julianday(v.lastupdated) is null limit 1
"""
_SHAKEN = """
    select type from (
        select type from window where run = :run and (tried > 0 or hi <> '')
        union select f.type from bulk_file f join bulk_job on bulk_job.id = f.job
            where bulk_job.run = :run and f.state = 'failed')
    where type not in (select type from window where run = :run and state = 'unproved')
"""
_SEVERAL = """
    select id, type, patients, lo, hi, whole from window
    where run = ? and state <> 'split' and json_array_length(patients) > 1
"""
_NEWEST = """
    select v.key, v.lastupdated from resource v join run on run.id = v.seen
    where v.type = ? and v.state = 'current' and run.kind = 'server' and julianday(v.lastupdated) is not null
    order by julianday(v.lastupdated) desc, v.key limit 1
"""


class Basis(Struct, frozen=True, kw_only=True):
    """The complete run that a pull goes on from, and the instant since which it asks."""

    run: int
    watermark: str


class Proof(Struct, frozen=True, kw_only=True):
    """What is known of one type of a run."""

    type: str
    since: str = ""
    """Empty where everything is asked for."""
    newest: str = ""
    counted: int | None = None
    how: str = ""
    """`counts` or `listing` where they prove the whole; empty where its windows do; or what is left to do."""
    why: str = ""
    """Why the whole is not proved."""


def basis(archive: Archive, question: str) -> Basis | None:
    """What the next pull can go on from: the latest one, if it was complete and asked the same."""
    row = archive.connection.execute(
        "select id, watermark, complete and finished is not null, question from run "
        "where kind = 'server' and finished is not null order by id desc limit 1"
    ).fetchone()
    if row is None or not row[2] or row[3] != question or not row[1]:
        return None
    return Basis(run=row[0], watermark=row[1])


def newest(archive: Archive, type_: str) -> tuple[str, str] | None:
    """Key and lastUpdated of the resource of a type that the server changed last, as far as is known."""
    row = archive.connection.execute(_NEWEST, (type_,)).fetchone()
    return (row[0], row[1]) if row else None


def unstamped(archive: Archive, type_: str) -> bool:
    """Whether the server gives some of a type no lastUpdated: no question about the time finds those."""
    return archive.connection.execute(_UNSTAMPED, (type_,)).fetchone() is not None


def shaken(run: Run) -> frozenset[str]:
    """The types of which a reading failed, or was parted by time, and that are proved nevertheless.

    What a failed one brought may be gone by the one that proved its window; and what has no time, or lies
    where two bounds of a coarse server meet, is in no part.
    """
    return frozenset(type_ for (type_,) in run.archive.connection.execute(_SHAKEN, {"run": run.number}))


def parted_by_time(run: Run, type_: str) -> bool:
    """Whether windows of a type have an end in time."""
    sql = "select 1 from window where run = ? and type = ? and hi <> '' limit 1"
    return run.archive.connection.execute(sql, (run.number, type_)).fetchone() is not None


def step(run: Run) -> int:
    """How far the run is, as a place in STEPS."""
    (name,) = run.archive.connection.execute("select step from run where id = ?", (run.number,)).fetchone()
    return STEPS.index(name)


def is_apart(run: Run) -> bool:
    """Whether each patient is asked for alone."""
    return (
        run.archive.connection.execute("select 1 from apart where run = ?", (run.number,)).fetchone()
        is not None
    )


def was_apart(run: Run) -> bool | None:
    """Whether each was asked for alone in the run that this one goes on from; None where there is none."""
    sql = (
        "select apart.run is not null from run left join apart on apart.run = run.basis "
        "where run.id = ? and run.basis is not null"
    )
    row = run.archive.connection.execute(sql, (run.number,)).fetchone()
    return None if row is None else bool(row[0])


def take_apart(run: Run) -> None:
    """From now on each patient is asked for alone: windows of several are opened again as one for each."""
    with run.archive.transaction() as connection:
        connection.execute("insert or ignore into apart values (?)", (run.number,))
        several = connection.execute(_SEVERAL, (run.number,)).fetchall()
        connection.executemany(
            "update window set state = 'split' where id = ?", [(one[0],) for one in several]
        )
        for _, type_, patients, lo, hi, whole in several:
            run.open(Asked(type_, (one,), lo, hi, bool(whole)) for one in json.loads(patients))


def asked_whole(run: Run) -> tuple[str, ...]:
    """The types beside the patients of which everything is asked for, whatever brings it."""
    sql = "select type from asked where run = ? and since = '' and type <> 'Patient' order by type"
    return tuple(type_ for (type_,) in run.archive.connection.execute(sql, (run.number,)))


def bodies_of(run: Run, type_: str, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """What is here under some keys, as it came."""
    sql = (
        "select key, body from resource where type = ? and state = 'current' and body is not null "
        "and key in (select value from json_each(?)) order by key"
    )
    return iter(run.archive.connection.execute(sql, (type_, json.dumps(list(keys)))).fetchall())


def bodies(run: Run, type_: str) -> Iterator[bytes]:
    """What a run has brought of a type, as it came."""
    sql = "select body from resource where seen = ? and type = ? and body is not null and deleted = 0"
    return (body for (body,) in run.archive.connection.execute(sql, (run.number, type_)))


def watermark(run: Run) -> str | None:
    """From where the next pull may begin."""
    row = run.archive.connection.execute("select watermark from run where id = ?", (run.number,)).fetchone()
    return None if row is None else row[0]


def advance(run: Run, to: str, windows: Iterable[Asked] = (), *, watermark: str | None = None) -> None:
    """Writes down that a step is done, and the work that follows from it, in one transaction."""
    with run.archive.transaction() as connection:
        connection.execute(
            "update run set step = ?, watermark = coalesce(?, watermark) where id = ?",
            (to, watermark, run.number),
        )
        run.open(windows)


def proofs(run: Run) -> tuple[Proof, ...]:
    """What is known of each type that is asked for."""
    rows = run.archive.connection.execute(
        "select type, since, newest, counted, how, why from asked where run = ? order by type",
        (run.number,),
    )
    return tuple(
        Proof(type=type_, since=since, newest=newest_, counted=counted, how=how, why=why)
        for type_, since, newest_, counted, how, why in rows
    )


def prove(run: Run, proof: Proof, missed: Iterable[str] = ()) -> None:
    """Writes down what was found out of one type, and what the server no longer lists of it."""
    with run.archive.transaction() as connection:
        connection.execute(
            "update asked set since = ?, counted = ?, how = ?, why = ? where run = ? and type = ?",
            (proof.since, proof.counted, proof.how, proof.why, run.number, proof.type),
        )
        connection.executemany(
            "insert or ignore into missed values (?, ?, ?)", [(run.number, proof.type, key) for key in missed]
        )


def held(run: Run, proof: Proof, *, since: str = "", before: str = "") -> frozenset[str]:
    """The keys of a type that the archive holds of the server: by this run, where it asks for everything.

    With `since` or `before` only those that the server stamped then or later, or earlier.
    """
    sql, asked = _asking(run, proof, since, before)
    return frozenset(key for (key,) in run.archive.connection.execute(sql, asked))


def number_held(run: Run, proof: Proof, *, since: str = "", before: str = "") -> int:
    """How many keys `held` gives, without having them all in memory."""
    sql, asked = _asking(run, proof, since, before)
    return int(run.archive.connection.execute(f"select count(*) from ({sql})", asked).fetchone()[0])  # noqa: S608  (our own clauses)


def _asking(run: Run, proof: Proof, since: str, before: str) -> tuple[str, dict[str, Any]]:
    sql = _HELD + (_SINCE if since else "") + (_BEFORE if before else "")
    asked = {"type": proof.type, "run": 0 if proof.since else run.number, "now": run.number}
    return sql, asked | {"since": since, "before": before}


def came(run: Run, type_: str, key: str) -> bool:
    """Whether this run received a resource."""
    row: Any = run.archive.connection.execute(
        "select 1 from resource where type = ? and key = ? and +seen = ? limit 1", (type_, key, run.number)
    ).fetchone()
    return row is not None


def came_older(run: Run, proof: Proof) -> bool:
    """Whether this run received what the server stamped before the instant since which it was asked."""
    row: Any = run.archive.connection.execute(
        "select 1 from resource where type = ? and seen = ? and deleted = 0 "
        "and julianday(lastupdated) < julianday(?) limit 1",
        (proof.type, run.number, proof.since),
    ).fetchone()
    return row is not None


def read_again(run: Run) -> frozenset[str]:
    """The types whose catch-up found something, so that their windows alone no longer prove the whole."""
    rows = run.archive.connection.execute(
        "select distinct type from window where run = ? and whole = 0", (run.number,)
    )
    return frozenset(type_ for (type_,) in rows)
