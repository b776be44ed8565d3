"""An export as the archive sees it: its intent, its job, its manifest, each of its files.

Each step is written down before or with what it does, so that a process that is killed anywhere goes on
with the same job. Addresses of files are secrets on many servers: they are forgotten when the job ends.
"""

import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct

from fhir_msct.archive.files import synced
from fhir_msct.archive.runs import Asked, Quarantined, Run
from fhir_msct.archive.store import Archive
from fhir_msct.records import Resource

FOLDER = "bulk"

_JOB = "select id, state, asked, status_url, token, why from bulk_job where run = ? order by id desc limit 1"
_WAITING = """
    select config from run join bulk_job on bulk_job.run = run.id
    where run.finished is null and bulk_job.state in ('intent', 'accepted', 'listed')
        and run.id = (select max(id) from run where kind <> 'load')
"""
_FILES = "select id, kind, type, url, count, state, lines, why from bulk_file where job = ? order by id"


class Job(Struct, frozen=True, kw_only=True):
    """One export of a run."""

    id: int
    state: str
    """`intent`, `accepted`, `listed`, `kept` or `failed`."""
    since: str
    """Empty: everything."""
    level: str
    """`Group/id`, `Patient`, or empty for the whole server."""
    status_url: str
    token: bool
    why: str


class File(Struct, frozen=True, kw_only=True):
    """One file of an export."""

    id: int
    kind: str
    type: str
    url: str
    count: int | None
    state: str
    """`listed`, `here`, `kept` or `failed`."""
    lines: int | None = None
    why: str = ""


def job(run: Run) -> Job | None:
    """The run's latest export."""
    row = run.archive.connection.execute(_JOB, (run.number,)).fetchone()
    if row is None:
        return None
    number, state, asked, url, token, why = row
    since, _, level = asked.partition(" ")
    return Job(id=number, state=state, since=since, level=level, status_url=url, token=bool(token), why=why)


def same_question(archive: Archive, config: str) -> str:
    """What is asked for and the day; the day of an export that waits, where that asked the same.

    Nothing was counted yet where an export has not ended, so its run goes on on any day.
    """
    row = archive.connection.execute(_WAITING).fetchone()
    asked = str(row[0]) if row else ""
    return asked if asked.partition(" ")[0] == config.partition(" ")[0] else config


def note(run: Run, this: Job, why: str) -> None:
    """What is to be known of a job, unless its next step says otherwise."""
    with run.archive.transaction() as connection:
        connection.execute("update bulk_job set why = ? where id = ?", (why, this.id))
        run.log()


def accepted(run: Run, this: Job, status_url: str, date: str | None) -> None:
    """The server took the job on; what is to be known of it is what was before it was asked to."""
    with run.archive.transaction() as connection:
        connection.execute(
            "update bulk_job set state = 'accepted', status_url = ?, kickoff_date = ?, why = ? where id = ?",
            (status_url, date, this.why, this.id),
        )
        run.log()


def kickoff_date(run: Run, this: Job) -> str | None:
    """The server's clock when it took the job on."""
    row = run.archive.connection.execute("select kickoff_date from bulk_job where id = ?", (this.id,))
    found: str | None = row.fetchone()[0]
    return found


def listed(
    run: Run,
    this: Job,
    files: Iterable[tuple[str, str, str, int | None]],
    *,
    manifest: str,
    transaction_time: str,
    token: bool,
) -> None:
    """The job is done, and these are its files: kind, type, address, count."""
    with run.archive.transaction() as connection:
        connection.execute(
            "update bulk_job set state = 'listed', manifest = ?, transaction_time = ?, token = ? "
            "where id = ?",
            (manifest, transaction_time, token, this.id),
        )
        connection.executemany(
            "insert into bulk_file (job, kind, type, url, count) values (?, ?, ?, ?, ?)",
            [(this.id, *file) for file in files],
        )
        run.log()


def relisted(run: Run, urls: Sequence[tuple[int, str]]) -> None:
    """The same files at other addresses: links may expire before the job does."""
    with run.archive.transaction() as connection:
        connection.executemany(
            "update bulk_file set url = ? where id = ?", [(url, number) for number, url in urls]
        )
        run.log()


def files(run: Run, this: Job) -> tuple[File, ...]:
    """The files of an export, in the order of its manifest."""
    return tuple(
        File(
            id=row[0],
            kind=row[1],
            type=row[2],
            url=row[3],
            count=row[4],
            state=row[5],
            lines=row[6],
            why=row[7],
        )
        for row in run.archive.connection.execute(_FILES, (this.id,))
    )


def path(run: Run, file: File) -> Path:
    """Where a file lies while its lines are kept; the name is ours."""
    folder = run.archive.place / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{file.id:06}.ndjson"


def part(run: Run, file: File) -> Path:
    """Where a file is written until it is whole; only its owner may read it."""
    place = path(run, file).with_suffix(".part")
    os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    return place


def here(run: Run, file: File) -> None:
    """A file came whole: it is on the disk under its own name before a row says so."""
    place = path(run, file)
    temporary, hashed, size = place.with_suffix(".part"), sha256(), 0
    with temporary.open("rb+") as stream:
        while chunk := stream.read(1 << 20):
            hashed.update(chunk)
            size += len(chunk)
        os.fsync(stream.fileno())
    temporary.rename(place)
    synced(place.parent)
    with run.archive.transaction() as connection:
        connection.execute(
            "update bulk_file set state = 'here', size = ?, sha256 = ? where id = ?",
            (size, hashed.hexdigest(), file.id),
        )
        run.log()


def begin_keeping(run: Run, file: File) -> None:
    """Forgets what an interrupted reading of this file counted."""
    with run.archive.transaction() as connection:
        connection.execute(
            "delete from quarantine where run = ? and place like ?", (run.number, f"export {file.id}:%")
        )


def keep(run: Run, resources: Sequence[Resource], aside: Sequence[Quarantined]) -> None:
    """Keeps some lines of a file, in one transaction."""
    run.lines(resources, aside, None)


def end(run: Run, file: File, state: str, *, lines: int | None = None, why: str = "") -> None:
    """A file is kept, or failed; its copy is no longer needed."""
    with run.archive.transaction() as connection:
        connection.execute(
            "update bulk_file set state = ?, lines = ?, why = ? where id = ?", (state, lines, why, file.id)
        )
        run.log()
    for place in (path(run, file), path(run, file).with_suffix(".part")):
        place.unlink(missing_ok=True)


def finish(run: Run, this: Job, state: str, windows: Iterable[Asked], *, why: str = "") -> None:
    """The export is over; what it did not bring is to be searched for. Its addresses are forgotten."""
    with run.archive.transaction() as connection:
        connection.execute(
            "update bulk_job set state = ?, why = ?, status_url = '', manifest = '' where id = ?",
            (state, why, this.id),
        )
        connection.execute("update bulk_file set url = '' where job = ?", (this.id,))
        run.open(windows)
        run.log()
    for place in (run.archive.place / FOLDER).glob("*"):
        place.unlink()


def known(run: Run, type_: str, id_: str) -> bool:
    """Whether an older run brought this resource, and this one did not: only that can be deleted."""
    row: Any = run.archive.connection.execute(
        "select max(seen) from resource where type = ? and key = ? and deleted = 0", (type_, id_)
    ).fetchone()
    return row[0] is not None and row[0] < run.number
