"""One pull as the archive sees it: its windows, what came in each, the cursor, and how it ended.

The resources of a page and the cursor to the next page are written in one transaction, so a process that
is killed anywhere goes on where it was, and nothing is lost or counted twice.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct

from fhir_msct.archive import keep
from fhir_msct.archive.store import Archive
from fhir_msct.errors import UsageError
from fhir_msct.records import Resource

Kind = Literal["server", "folder"]

Sent = tuple[str, str, int, int]
"""A request: method, route, status, bytes of the answer."""

_MISSING = """
    select key from resource v join run on run.id = v.seen
    where v.type = ? and v.state = 'current' and run.kind = 'server' and not exists
        (select 1 from resource o where o.type = v.type and o.key = v.key and o.seen = ?)
"""


class Window(Struct, frozen=True, kw_only=True):
    """A window that is still open: readings that proved nothing, and how far the one that goes on came."""

    id: int
    type: str
    patients: tuple[str, ...]
    tried: int = 0
    count_before: int | None = None
    next_url: str | None = None


class Arrived(Struct, frozen=True, kw_only=True):
    """One page: what to keep of it, and what to remember of the page itself."""

    resources: Sequence[Resource]
    quarantined: Sequence["Quarantined"] = ()
    next_url: str | None = None
    url_sha256: str = ""
    sha256: str = ""
    bytes: int = 0
    included: int = 0


class Quarantined(Struct, frozen=True, kw_only=True):
    """Bytes that are counted and hashed, and not kept as a resource; `lost` where the run is not complete."""

    sha256: str
    reason: str
    type: str = ""
    place: str = ""
    length: int = 0
    lost: bool = True


def check_source(archive: Archive, kind: Kind, base: str) -> None:
    """Returns where a study may be pulled from here.

    Raises UsageError where it was pulled from another server, or once from a server and once from a
    folder: ids of two sources cannot be told apart.
    """
    for other, place in archive.connection.execute(
        "select distinct kind, base from run where kind <> 'load'"
    ):
        if other != kind or (kind == "server" and place != base):
            raise UsageError(
                f"this study was pulled from {place}: it cannot be pulled from {base} too; "
                "make another study folder"
            )


class Run:
    """A pull that is going on."""

    def __init__(self, archive: Archive, number: int, sent: list[Sent], *, resumed: bool) -> None:
        self.archive, self.number, self.resumed = archive, number, resumed
        self._sent = sent

    @classmethod
    def begin(
        cls, archive: Archive, kind: Kind, base: str, config: str = "", sent: list[Sent] | None = None
    ) -> "Run":
        """The run that was interrupted, if it asked for the same; else a new one.

        `sent` is where requests are noted down; each step of the run writes them to the log and clears it.
        """
        sent = [] if sent is None else sent
        last = archive.connection.execute(
            "select id, kind, base, config, finished from run where kind <> 'load' order by id desc limit 1"
        ).fetchone()
        if last and last[1:] == (kind, base, config, None):
            return cls(archive, last[0], sent, resumed=True)
        with archive.transaction() as connection:
            number = keep.begin(connection, kind, base, config)
        return cls(archive, number, sent, resumed=False)

    def plan(
        self,
        patients: Iterable[str],
        windows: Iterable[tuple[str, tuple[str, ...]]],
        *,
        problems: Sequence[str],
        software: str,
        version: str,
    ) -> None:
        """Writes down whom the pull is about and what there is to do, once."""
        with self.archive.transaction() as connection:
            connection.execute(
                "update run set patients = ?, software = ?, version = ?, problems = ?, planned = 1 "
                "where id = ?",
                (json.dumps(list(patients)), software, version, json.dumps(list(problems)), self.number),
            )
            self._open(windows)
            self._log()

    @property
    def planned(self) -> bool:
        """Whether the cohort was found and the windows written down already, before an interruption."""
        return bool(self._one("select planned from run where id = ?", self.number)[0])

    @property
    def patients(self) -> tuple[str, ...]:
        """The cohort as it was found when the run began."""
        return tuple(json.loads(self._one("select patients from run where id = ?", self.number)[0]))

    @property
    def problems(self) -> tuple[str, ...]:
        """What stood in the way when the cohort was found."""
        return tuple(json.loads(self._one("select problems from run where id = ?", self.number)[0]))

    def next_window(self) -> Window | None:
        """The first window that is still open."""
        row = self._one(
            "select id, type, patients, tried, count_before, next_url from window "
            "where run = ? and state = 'open' order by id limit 1",
            self.number,
        )
        if row is None:
            return None
        number, type_, patients, tried, count, url = row
        return Window(
            id=number,
            type=type_,
            patients=tuple(json.loads(patients)),
            tried=tried,
            count_before=count,
            next_url=url,
        )

    def reading(self, window: Window, count_before: int | None) -> None:
        """Begins a reading of a window: nothing of the one before counts for it."""
        with self.archive.transaction() as connection:
            self._forget(window)
            connection.execute("update window set count_before = ? where id = ?", (count_before, window.id))
            self._log()

    def page(self, window: Window, arrived: Arrived) -> None:
        """Keeps what a page brought, and the cursor, in one transaction."""
        came = [keep.key_of(found) for found in arrived.resources]
        came += [f"{item.reason} {item.sha256}" for item in arrived.quarantined]
        with self.archive.transaction() as connection:
            for found in arrived.resources:
                keep.keep(connection, self.number, found)
            connection.executemany(
                "insert or ignore into sight values (?, ?)", [(window.id, key) for key in came]
            )
            self._quarantine(arrived.quarantined, window.id)
            connection.execute(
                "insert into page values (?, ?, ?, ?, ?, ?)",
                (
                    window.id,
                    window.tried,
                    arrived.url_sha256,
                    arrived.sha256,
                    arrived.bytes,
                    arrived.included,
                ),
            )
            connection.execute("update window set next_url = ? where id = ?", (arrived.next_url, window.id))
            self._log()

    def failed(self, window: Window, why: str) -> None:
        """Ends a reading that proved nothing; what it brought is kept."""
        with self.archive.transaction() as connection:
            self._forget(window)
            connection.execute("update window set tried = tried + 1, why = ? where id = ?", (why, window.id))
            self._log()

    def distinct(self, window: Window) -> int:
        """How many different resources the reading that goes on has brought."""
        (number,) = self._one("select count(*) from sight where window = ?", window.id)
        return int(number)

    def settle(self, window: Window, *, count_after: int | None, why: str = "") -> None:
        """Ends a window: proved, or (with the reason why not) unproved."""
        with self.archive.transaction() as connection:
            connection.execute("delete from sight where window = ?", (window.id,))
            connection.execute(
                "update window set state = ?, count_after = ?, next_url = null, why = ? where id = ?",
                ("unproved" if why else "proved", count_after, why, window.id),
            )
            self._log()

    def split(self, window: Window, parts: Iterable[tuple[str, ...]]) -> None:
        """Puts several smaller windows in the place of one."""
        with self.archive.transaction() as connection:
            self._forget(window)
            connection.execute("update window set state = 'split' where id = ?", (window.id,))
            self._open((window.type, part) for part in parts)
            self._log()

    def lines(
        self, resources: Iterable[Resource], quarantined: Iterable[Quarantined], file: int | None
    ) -> None:
        """Keeps what was cut from a file, in one transaction."""
        with self.archive.transaction() as connection:
            for found in resources:
                keep.keep(connection, self.number, found, file)
            self._quarantine(quarantined, None)

    def restart(self) -> None:
        """Forgets what an interrupted reading of a folder counted: the folder is read again."""
        with self.archive.transaction() as connection:
            connection.execute("delete from quarantine where run = ?", (self.number,))

    def finish(
        self, *, complete: bool, problems: Sequence[str], server_date: str | None, types: Sequence[str] = ()
    ) -> None:
        """Ends the run. After a complete one, resources of these types that did not come again are deleted.

        A search cannot show a deletion; that a proved search no longer finds a resource does.
        """
        with self.archive.transaction() as connection:
            for type_ in types if complete else ():
                for (key,) in connection.execute(_MISSING, (type_, self.number)).fetchall():
                    connection.execute(
                        "update resource set gone = ? where type = ? and key = ?", (self.number, type_, key)
                    )
                    keep.order(connection, type_, key)
            connection.execute(
                "update run set finished = ?, complete = ?, problems = ?, server_date = ? where id = ?",
                (keep.now(), complete, json.dumps(list(problems)), server_date, self.number),
            )
            connection.execute(
                "delete from quarantine where run in (select o.id from run o join run on run.id = ? "
                "where o.base = run.base and o.id < run.id)",
                (self.number,),
            )
            self._log()

    def _forget(self, window: Window) -> None:
        connection = self.archive.connection
        connection.execute("delete from sight where window = ?", (window.id,))
        connection.execute("delete from quarantine where window = ?", (window.id,))
        connection.execute("update window set next_url = null where id = ?", (window.id,))

    def _open(self, windows: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        self.archive.connection.executemany(
            "insert or ignore into window (run, type, patients) values (?, ?, ?)",
            [(self.number, type_, json.dumps(patients)) for type_, patients in windows],
        )

    def _quarantine(self, found: Iterable[Quarantined], window: int | None) -> None:
        self.archive.connection.executemany(
            "insert into quarantine (run, window, place, type, reason, length, sha256, lost) "
            "values (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (self.number, window, item.place, item.type, item.reason, item.length, item.sha256, item.lost)
                for item in found
            ],
        )

    def _log(self) -> None:
        self.archive.connection.executemany(
            "insert into event (run, method, route, status, bytes) values (?, ?, ?, ?, ?)",
            [(self.number, *one) for one in self._sent],
        )
        self._sent.clear()

    def _one(self, sql: str, *values: Any) -> Any:
        return self.archive.connection.execute(sql, values).fetchone()
