"""The tables of the archive, and how an older archive becomes a newer one.

`PRAGMA user_version` is the number of steps that an archive has seen. Each step is SQL that takes it from
one version to the next; a step is never changed once it was released.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from fhir_msct.archive.ledger import PLACE_DDL, PUSH_DDL
from fhir_msct.archive.seals import SEAL_DDL
from fhir_msct.errors import UsageError

STEP_1 = (
    """
-- One pull, or one load. Complete only when everything that was asked for is proved to be here.
create table run (
    id integer primary key,
    kind text not null check (kind in ('server', 'folder', 'load')),
    base text not null,             -- base address, or the folder or file that was read
    config text not null,           -- sha256 of what was asked
    software text not null default '', version text not null default '',
    patients text not null default '[]',
    planned integer not null default 0,
    started text not null, finished text,
    complete integer not null default 0,
    server_date text,
    problems text not null default '[]'
) strict;

-- The unit of work: one type, some patients. Rows that came and the cursor are written together.
create table window (
    id integer primary key,
    run integer not null references run,
    type text not null,
    patients text not null,
    state text not null default 'open' check (state in ('open', 'proved', 'unproved', 'split')),
    tried integer not null default 0,           -- readings that proved nothing
    count_before integer, count_after integer,
    next_url text,                              -- where the reading that goes on has to go on
    why text not null default '',
    unique (run, type, patients)
) strict;

-- What came in the reading that goes on, each once.
create table sight (
    window integer not null, key text not null, primary key (window, key)
) strict, without rowid;

create table page (
    window integer not null, tried integer not null,
    url_sha256 text not null, body_sha256 text not null, bytes integer not null, included integer not null
) strict;

-- An NDJSON file that was adopted: its unpacked copy in files/.
create table file (
    id integer primary key,
    name text not null,             -- as it was called where it came from
    stored text not null unique,    -- as it is called in files/
    size integer not null, sha256 text not null,
    unique (name, sha256)
) strict;

-- Every version ever seen. The body is here, or a part of an adopted file.
create table resource (
    id integer primary key,
    type text not null,
    key text not null,              -- the FHIR id, or # and the sha256 of the bytes
    fhir_id text, version text, lastupdated text, full_url text,
    sha256 text not null,
    body blob, file integer references file, start integer, length integer not null,
    subsetted integer not null default 0,
    deleted integer not null default 0,
    place text not null default '', -- file and byte it was cut from
    run integer not null references run,        -- that brought it
    seen integer not null references run,       -- that saw it last
    gone integer,                               -- complete run that no longer found it
    state text not null default 'current' check (state in ('current', 'superseded', 'deleted')),
    same_id integer not null default 0,
    unique (type, key, sha256)
) strict;

-- The same bytes once more, in another place.
create table duplicate (
    place text not null, sha256 text not null, type text not null, key text not null, run integer not null,
    primary key (place, sha256)
) strict, without rowid;

-- What is no resource, or none that was asked for: counted and hashed.
create table quarantine (
    id integer primary key,
    run integer not null references run, window integer,
    place text not null, type text not null, reason text not null,
    length integer not null, sha256 text not null,
    lost integer not null           -- whether the run cannot be complete with it
) strict;

-- The request log: a route, never an address.
create table event (
    id integer primary key, run integer, method text not null, route text not null,
    status integer not null, bytes integer not null
) strict;

create index resource_state on resource (type, state, key);
create index resource_seen on resource (seen, type);
"""
    + PUSH_DDL
)

STEP_2 = """
-- What a pull asks for whatever the day, the complete run that it goes on from, and where the next may begin.
alter table run add column question text not null default '';
alter table run add column basis integer;
alter table run add column watermark text;      -- an instant of the server's clock, some minutes behind it
alter table run add column step text not null default '';
alter table run add column notes text not null default '[]';

-- As before, and half-open bounds of lastUpdated; `whole` where its count is part of the whole's.
create table window_2 (
    id integer primary key,
    run integer not null references run,
    type text not null,
    patients text not null,
    state text not null default 'open' check (state in ('open', 'proved', 'unproved', 'split')),
    tried integer not null default 0,
    count_before integer, count_after integer,
    next_url text,
    why text not null default '',
    lo text not null default '', hi text not null default '',
    whole integer not null default 1,
    unique (run, type, patients, lo, hi)
) strict;
insert into window_2 (id, run, type, patients, state, tried, count_before, count_after, next_url, why)
    select id, run, type, patients, state, tried, count_before, count_after, next_url, why from window;
drop table window;
alter table window_2 rename to window;

-- How one type was asked for: everything, or since an instant; and what proves that all of it is here.
create table asked (
    run integer not null references run, type text not null,
    since text not null default '',
    newest text not null default '',            -- what must come again, if the server minds `since`
    counted integer, how text not null default '', why text not null default '',
    primary key (run, type)
) strict, without rowid;

-- What the server no longer lists.
create table missed (
    run integer not null references run, type text not null, key text not null,
    primary key (run, type, key)
) strict, without rowid;

-- A Bulk Data export: the intent is here before the request is sent.
create table bulk_job (
    id integer primary key,
    run integer not null references run,
    state text not null default 'intent'
        check (state in ('intent', 'accepted', 'listed', 'kept', 'failed')),
    asked text not null,                        -- level and parameters
    status_url text not null default '', kickoff_date text, transaction_time text,
    manifest text not null default '', token integer not null default 0,
    why text not null default ''
) strict;

create table bulk_file (
    id integer primary key,
    job integer not null references bulk_job,
    kind text not null check (kind in ('output', 'deleted', 'error')),
    type text not null, url text not null, count integer,
    state text not null default 'listed' check (state in ('listed', 'here', 'kept', 'failed')),
    size integer, sha256 text not null default '', lines integer, why text not null default ''
) strict;
"""

STEP_3 = (
    """
-- X-Request-Id: what finds a request in the server's own log.
alter table event add column request_id text not null default '';

-- A hash over all that is said of a run that has ended.
alter table run add column seal text not null default '';

-- Where tokens for a server were asked for: scheme, host and port.
create table token_place (base text primary key, origin text not null) strict, without rowid;
"""
    + SEAL_DDL
    + PLACE_DDL
)

STEP_4 = """
-- What came in the reading that goes on: a JSON list of keys for each page of it.
create table sight_4 (window integer not null, keys text not null) strict;
insert into sight_4 select window, json_group_array(key) from sight group by window;
drop table sight;
alter table sight_4 rename to sight;
create index sight_window on sight (window);
"""

STEP_5 = """
-- Runs in which each patient is asked for alone, since the server does not heed a list of them.
create table apart (run integer primary key references run) strict;
"""

STEPS: tuple[str, ...] = (STEP_1, STEP_2, STEP_3, STEP_4, STEP_5)


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[str] = STEPS) -> None:
    """Returns when the archive has seen every step; an older one is copied beside itself first.

    Raises UsageError for an archive of a newer program.
    """
    (seen,) = connection.execute("pragma user_version").fetchone()
    if seen > len(steps):
        raise UsageError(
            f"{path} was written by a newer fhir-msct (archive version {seen}, this one knows "
            f"{len(steps)}): install that one"
        )
    if 0 < seen < len(steps):
        _copy(connection, path.with_name(f"{path.name}.v{seen}"))
    if seen == len(steps):
        return
    script = f"begin immediate; {';'.join(steps[seen:])}; pragma user_version = {len(steps)}; commit;"
    try:
        connection.executescript(script)
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _copy(connection: sqlite3.Connection, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    copy.touch(0o600)
    with closing(sqlite3.connect(copy)) as target:
        connection.backup(target)
