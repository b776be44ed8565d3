"""One pull as the archive sees it: its windows, what came in each, the cursor, and how it ended.

The resources of a page and the cursor to the next page are written in one transaction, so a process that
is killed anywhere goes on where it was, and nothing is lost or counted twice.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from fhir_msct.archive import keep, request_log
from fhir_msct.archive.request_log import Sent
from fhir_msct.archive.seals import seal_run
from fhir_msct.archive.store import Archive
from fhir_msct.archive.work import Arrived, Asked, Quarantined, Since, Window
from fhir_msct.errors import UsageError
from fhir_msct.records import Resource

__all__ = ["Arrived", "Asked", "Kind", "Quarantined", "Run", "Sent", "Window", "check_source"]

Kind = Literal["server", "folder"]

_MISSING = """
    select v.type, v.key from resource v join run on run.id = v.seen
    where v.state = 'current' and run.kind = 'server' and v.type in
        (select type from asked where run = :run and since = '' union select value from json_each(:types))
    and not exists
        (select 1 from resource o where o.type = v.type and o.key = v.key and +o.seen = :run)
    union select type, key from missed where run = :run
"""
"""The plus keeps SQLite from the index of `seen`, by which it would go through the whole run for each row."""

_LEFT = f"""
    select count(distinct v.key) from resource v join run on run.id = v.seen
    where v.type = :type and v.state = 'current' and run.kind = 'server'
        and v.key not in (select key from ({_MISSING}) where type = :type)
"""  # noqa: S608  (our own statement)

_OPEN = """
    insert into window (run, type, patients, lo, hi, whole) values (?, ?, ?, ?, ?, ?)
    on conflict (run, type, patients, lo, hi) do update set state = 'open', tried = 0, next_url = null,
        count_before = null, count_after = null, why = '', whole = max(whole, excluded.whole)
"""


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
        windows: Iterable[Asked | tuple[str, tuple[str, ...]]],
        *,
        problems: Sequence[str],
        software: str,
        version: str,
        since: Since | None = None,
        export: str | None = None,
    ) -> None:
        """Writes down whom the pull is about and what there is to do, once.

        With `export` (since when, and at which level) that is an export to be asked for.
        """
        since = since or Since()
        with self.archive.transaction() as connection:
            connection.execute(
                "update run set patients = ?, software = ?, version = ?, problems = ?, question = ?, "
                "basis = ?, watermark = ?, planned = 1 where id = ?",
                (
                    *(json.dumps(list(patients)), software, version, json.dumps(list(problems))),
                    *(since.question, since.basis, since.watermark, self.number),
                ),
            )
            connection.executemany(
                "insert into asked (run, type, since, newest) values (?, ?, ?, ?)",
                [(self.number, type_, *bound) for type_, bound in since.types.items()],
            )
            self.open(Asked(*one) for one in windows)
            if export is not None:
                connection.execute("insert into bulk_job (run, asked) values (?, ?)", (self.number, export))
            self.log()

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

    def next_window(self, busy: Collection[int] = ()) -> Window | None:
        """The first window that is still open, and not one of those that somebody works on."""
        row = self._one(
            "select id, type, patients, lo, hi, whole, tried, count_before, next_url from window "
            "where run = ? and state = 'open' and id not in (select value from json_each(?)) "
            "order by id limit 1",
            self.number,
            json.dumps(sorted(busy)),
        )
        if row is None:
            return None
        number, type_, patients, lo, hi, whole, tried, count, url = row
        return Window(
            id=number,
            type=type_,
            patients=tuple(json.loads(patients)),
            lo=lo,
            hi=hi,
            whole=bool(whole),
            tried=tried,
            count_before=count,
            next_url=url,
        )

    def reading(self, window: Window, count_before: int | None) -> None:
        """Begins a reading of a window: nothing of the one before counts for it."""
        with self.archive.transaction() as connection:
            self._forget(window)
            connection.execute("update window set count_before = ? where id = ?", (count_before, window.id))
            self.log()

    def page(self, window: Window, arrived: Arrived) -> None:
        """Keeps what a page brought, and the cursor, in one transaction."""
        came = [keep.key_of(found) for found in arrived.resources]
        came += [f"{item.reason} {item.sha256}" for item in arrived.quarantined]
        with self.archive.transaction() as connection:
            keep.keep_all(connection, self.number, arrived.resources)
            connection.execute("insert into sight values (?, ?)", (window.id, json.dumps(came)))
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
            self.log()

    def failed(self, window: Window, why: str) -> None:
        """Ends a reading that proved nothing; what it brought is kept."""
        with self.archive.transaction() as connection:
            self._forget(window)
            connection.execute("update window set tried = tried + 1, why = ? where id = ?", (why, window.id))
            self.log()

    def distinct(self, window: Window) -> int:
        """How many different resources the reading that goes on has brought."""
        (number,) = self._one(
            "select count(distinct value) from sight, json_each(keys) where window = ?", window.id
        )
        return int(number)

    def settle(self, window: Window, *, count_after: int | None, why: str = "") -> None:
        """Ends a window: proved, or (with the reason why not) unproved."""
        with self.archive.transaction() as connection:
            connection.execute("delete from sight where window = ?", (window.id,))
            connection.execute(
                "update window set state = ?, count_after = ?, next_url = null, why = ? where id = ?",
                ("unproved" if why else "proved", count_after, why, window.id),
            )
            self.log()

    def split(self, window: Window, parts: Iterable[Asked]) -> None:
        """Puts several smaller windows in the place of one."""
        with self.archive.transaction() as connection:
            self._forget(window)
            connection.execute("update window set state = 'split' where id = ?", (window.id,))
            self.open(parts)
            self.log()

    def parts(self, window: Window) -> int:
        """Into how many windows the work of these patients and this type was parted so far."""
        patients = json.dumps(window.patients)
        sql = "select count(*) from window where run = ? and type = ? and patients = ?"
        return int(self._one(sql, self.number, window.type, patients)[0])

    def left(self, type_: str) -> int:
        """How many different resources of a type will be current when this run ends complete."""
        asked = {"run": self.number, "types": "[]", "type": type_}
        return int(self.archive.connection.execute(_LEFT, asked).fetchone()[0])

    def lines(
        self, resources: Iterable[Resource], quarantined: Iterable[Quarantined], file: int | None
    ) -> None:
        """Keeps what was cut from a file, in one transaction."""
        with self.archive.transaction() as connection:
            keep.keep_all(connection, self.number, resources, file)
            self._quarantine(quarantined, None)

    def restart(self) -> None:
        """Forgets what an interrupted reading of a folder counted: the folder is read again."""
        with self.archive.transaction() as connection:
            connection.execute("delete from quarantine where run = ?", (self.number,))

    def finish(
        self, *, complete: bool, problems: Sequence[str], server_date: str | None, types: Sequence[str] = ()
    ) -> None:
        """Ends the run. After a complete one, what did not come again, or is no longer listed, is deleted.

        A search cannot show a deletion; that a proved search for everything no longer finds a resource
        does. `types` are asked for in that way beside those that the plan says.
        """
        with self.archive.transaction() as connection:
            asked = {"run": self.number, "types": json.dumps(list(types))}
            missing = connection.execute(_MISSING, asked).fetchall() if complete else ()
            for type_, key in missing:
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
            self.log()
            seal_run(connection, self.number)

    def _forget(self, window: Window) -> None:
        connection = self.archive.connection
        connection.execute("delete from sight where window = ?", (window.id,))
        connection.execute("delete from quarantine where window = ?", (window.id,))
        connection.execute("update window set next_url = null where id = ?", (window.id,))

    def open(self, windows: Iterable[Asked]) -> None:
        """Opens windows, also ones that were read before; to be called inside a transaction."""
        self.archive.connection.executemany(
            _OPEN,
            [(self.number, one.type, json.dumps(one.patients), one.lo, one.hi, one.whole) for one in windows],
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

    def log(self) -> None:
        """Writes down the requests that were sent since; to be called inside a transaction."""
        request_log.log(self.archive.connection, self._sent, self.number)

    def _one(self, sql: str, *values: Any) -> Any:
        return self.archive.connection.execute(sql, values).fetchone()
