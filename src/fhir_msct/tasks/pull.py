"""`pull`: what a server, or a folder of exported files, holds of the cohort, into the archive.

Complete, or it says so: a pull that could not prove itself complete keeps what it got, names what is in
doubt, and its report is not `complete`. Running it again asks for everything again; an interrupted one
goes on where it was.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.archive import tallies
from fhir_msct.archive.runs import Run, Sent, check_source
from fhir_msct.archive.store import FILE, Archive
from fhir_msct.client import cohort, exchange
from fhir_msct.client.connect import connect
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import Patience
from fhir_msct.client.windows import Window, windows
from fhir_msct.errors import ConfigError, UsageError
from fhir_msct.plan import Plan, Wanted
from fhir_msct.tasks.adopting import take_in
from fhir_msct.tasks.proving import Proving, unsupported

Say = Callable[[str], None]

SHOWN = 20
"""Problems of one kind that are named one by one."""


class TypeReport(Struct, frozen=True, kw_only=True):
    """What came of one type."""

    type: str
    received: int
    """Different resources that this pull received."""
    counted: int | None
    """What the server says it holds of them; None for a folder, and where it does not say."""
    stored_new: int
    """Versions that were not in the archive before."""
    unchanged: int
    gone: int = 0
    """No longer found by this pull: deleted, or no longer of the cohort."""


class PullReport(Struct, frozen=True, kw_only=True):
    """How a pull went."""

    types: tuple[TypeReport, ...]
    complete: bool
    problems: tuple[str, ...]
    """Why it is not complete, in sentences."""
    notes: tuple[str, ...]
    """What else to know: what was no FHIR data, and what the server does not hold at all."""
    requests: int
    base_url: str | None
    software: str
    server_date: str | None
    patients: int

    @property
    def received(self) -> int:
        """Different resources of all types."""
        return sum(one.received for one in self.types)

    @property
    def counted(self) -> int | None:
        """What the server counts of all types; None where it did not count one of them."""
        counts = [one.counted for one in self.types]
        return None if None in counts else sum(count for count in counts if count is not None)


def pull(
    folder: Path,
    plan: Plan,
    wanted: Wanted,
    *,
    source: Path | None = None,
    transport: Any = None,
    patience: Patience | None = None,
    say: Say,
) -> PullReport:
    """Brings a study's resources into its archive; the report says whether that is all of them.

    Raises ConfigError, Locked, ServerUnfit and UsageError before anything is stored; Unreachable and
    ServerFailed where it stopped half way: the next pull goes on from there.
    """
    if source is not None:
        return _from_folder(folder, source, say)
    return _from_server(folder, plan, wanted, transport, patience, say)


def _from_folder(folder: Path, source: Path, say: Say) -> PullReport:
    home = source.resolve()
    if not home.exists():
        raise UsageError(f"{source} does not exist: --from wants a folder with FHIR files")
    with Archive.open(folder, create=True) as archive:
        check_source(archive, "folder", str(home))
        run = Run.begin(archive, "folder", str(home))
        files = take_in(run, home, say)
        problems, notes = _not_kept(run, say_place=True)
        if not any(one.received for one in tallies.tallies(archive.connection, run.number)):
            problems.append(f"{source} holds no FHIR resource in {files} files")
        return _finished(run, problems, notes)


def _from_server(
    folder: Path,
    plan: Plan,
    wanted: Wanted,
    transport: Any,
    patience: Patience | None,
    say: Say,
) -> PullReport:
    base = _checked(plan)
    sent: list[Sent] = []
    with ExitStack() as closing:
        archive = None
        if (folder / "archive" / FILE).is_file():
            archive = closing.enter_context(Archive.open(folder))
            check_source(archive, "server", base)
        client = closing.enter_context(
            connect(base, plan, transport=transport, patience=patience, on_sent=_noting(sent))
        )
        capability = client.metadata()
        archive = archive or closing.enter_context(Archive.open(folder, create=True))
        run = Run.begin(archive, "server", base, _fingerprint(wanted, client.date), sent)
        absent = unsupported(capability, wanted.types)
        asked = msgspec.structs.replace(wanted, types=tuple(t for t in wanted.types if t not in absent))
        if run.planned:
            say("going on with the pull that was interrupted")
        else:
            _plan(run, client, asked, capability, say)
        Proving(client, run, asked, say).work()
        return _concluded(run, asked, absent, client.date)


def _noting(sent: list[Sent]) -> Callable[[exchange.Sent], None]:
    return lambda one: sent.append((one.method, one.route, one.status, one.bytes))


def _checked(plan: Plan) -> str:
    """The base address to pull from; raises ConfigError where the plan does not say all that it must."""
    if not plan.server.url:
        raise ConfigError("study.toml: [server] url is not set: say where to pull from, or use --from FOLDER")
    origin = Origin(plan.server.url)
    cohort.checked(plan.cohort, origin)
    return origin.base


def _fingerprint(wanted: Wanted, date: datetime | None) -> str:
    """What is asked for, and on which day of the server, as a hash.

    An interrupted pull goes on only where it is the same: what was proved on another day says nothing
    about the day that becomes the data cut.
    """
    day = date.date().isoformat() if date else ""
    return sha256(msgspec.json.encode([wanted, day])).hexdigest()


def _plan(run: Run, client: Client, wanted: Wanted, capability: dict[str, Any], say: Say) -> None:
    found = cohort.patients(client, wanted.cohort, wanted.page_size)
    say(f"the cohort has {len(found.patients)} patients")
    software = capability.get("software")
    about = software if isinstance(software, dict) else {}
    run.plan(
        found.patients,
        [(window.type, window.patients) for window in windows(wanted, found.patients)],
        problems=found.problems,
        software=str(about.get("name", "")),
        version=str(about.get("version", "")),
    )


def _concluded(run: Run, wanted: Wanted, absent: Sequence[str], date: datetime | None) -> PullReport:
    """The end of a pull from a server: every doubt in a sentence."""
    connection = run.archive.connection
    problems = list(run.problems)
    for one in tallies.unproved(connection, run.number):
        problems.append(f"{Window(type=one.type, patients=one.patients)} is not proved: {one.why}")
    came = tallies.ids_seen(connection, run.number, "Patient")
    if lost := [id_ for id_ in run.patients if id_ not in came]:
        problems.append(
            f"the server holds no Patient {', '.join(lost[:SHOWN])} of the cohort ({len(lost)} in all)"
        )
    more, notes = _not_kept(run, say_place=False)
    notes += [f"the server does not hold {type_} at all" for type_ in absent]
    if wanted.codes:
        notes.append("only the study's codes were asked for: look-alikes under other codes cannot be seen")
    server_date = date.date().isoformat() if date else None
    return _finished(run, problems + more, notes, server_date, wanted.types)


def _not_kept(run: Run, *, say_place: bool) -> tuple[list[str], list[str]]:
    """What is in quarantine: as problems where something may be lost, else as notes."""
    lost: list[str] = []
    notes: Counter[str] = Counter()
    unasked: Counter[tuple[str, str]] = Counter()
    for one in tallies.not_kept(run.archive.connection, run.number):
        if not one.lost:
            notes[one.reason] += one.number
        elif say_place:
            lost.append(f"{one.place}: {one.reason} (sha256 {one.sha256[:16]})")
        else:
            unasked[one.type, one.reason] += one.number
    if len(lost) > SHOWN:
        lost = [*lost[:SHOWN], f"and {len(lost) - SHOWN} more like these: the archive lists all of them"]
    lost += [
        f"{type_}: {number} came that cannot be kept ({reason}): counted and hashed"
        for (type_, reason), number in unasked.items()
    ]
    return lost, [f"{number} not FHIR data ({reason})" for reason, number in notes.items()]


def _finished(
    run: Run,
    problems: Sequence[str],
    notes: Sequence[str],
    server_date: str | None = None,
    types: Sequence[str] = (),
) -> PullReport:
    complete = not problems
    server_date = server_date if complete else None
    run.finish(complete=complete, problems=problems, server_date=server_date, types=types)
    connection = run.archive.connection
    last = run.archive.last_pull()
    return PullReport(
        types=tuple(
            TypeReport(**{name: getattr(one, name) for name in TypeReport.__struct_fields__})
            for one in tallies.tallies(connection, run.number)
        ),
        complete=complete,
        problems=tuple(problems),
        notes=tuple(notes),
        requests=tallies.requests(connection, run.number),
        base_url=last.base_url if last else None,
        software=f"{last.software} {last.version}".strip() if last else "",
        server_date=server_date,
        patients=len(run.patients) or len(tallies.ids_seen(connection, run.number, "Patient")),
    )


def pull_plan(plan: Plan, wanted: Wanted) -> tuple[str, ...]:
    """What a pull would send, line by line, and the scopes it needs; nothing is sent.

    Raises ConfigError where the plan does not say all that a pull must know.
    """
    base = _checked(plan)
    asked = [f"GET {base}/metadata"]
    types: list[str] = []
    for type_, params in cohort.requests(wanted.cohort):
        types.append(type_.partition("/")[0])
        asked.append(f"GET {base}/{type_}" + (f"?{_shown(params)}" if params else ""))
    named = cohort.patients_named(wanted.cohort)
    for window in windows(wanted, named or ("[each patient of the cohort]",)):
        types.append(window.type)
        params = window.params(wanted.page_size)
        asked.append(f"GET {base}/{window.type}?{_shown(params)}  (and its pages; counted before and after)")
    scopes = " ".join(f"system/{type_}.rs" for type_ in dict.fromkeys(types))
    return (*asked, f"scopes: {scopes}")


def _shown(params: Sequence[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in params)
