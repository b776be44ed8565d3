"""`pull`: what a server, or a folder of exported files, holds of the cohort, into the archive.

Complete, or it says so: a pull that could not prove itself complete keeps what it got, names what is in
doubt, and its report is not `complete`. After a complete one, the next asks only for what is new since,
and proves the whole by the server's counts; an interrupted one goes on where it was.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from fhir_msct.archive import bulk_jobs, proofs, token_places
from fhir_msct.archive.runs import Asked, Run, check_source
from fhir_msct.archive.store import FILE, Archive
from fhir_msct.archive.work import Since
from fhir_msct.client import capability as capabilities
from fhir_msct.client import cohort
from fhir_msct.client.connect import connect
from fhir_msct.client.failures import Declined
from fhir_msct.client.rest import Client
from fhir_msct.client.retry import Patience
from fhir_msct.client.windows import (
    EARLIEST,
    instant_text,
    owner_parameter,
    since_supported,
    windows,
)
from fhir_msct.dates import instant
from fhir_msct.errors import UsageError
from fhir_msct.plan import Plan, Wanted
from fhir_msct.tasks.adopting import take_in
from fhir_msct.tasks.catching_up import CatchingUp
from fhir_msct.tasks.export_level import level
from fhir_msct.tasks.exporting import Exporting
from fhir_msct.tasks.noting import Noted
from fhir_msct.tasks.proving import STOPS, Proving, unsupported
from fhir_msct.tasks.pull_plan import access, checked, pull_plan
from fhir_msct.tasks.pulled import PullReport, TypeReport, concluded, finished, not_kept, shortened

__all__ = ["PullReport", "TypeReport", "access", "pull", "pull_plan"]

Say = Callable[[str], None]

UNCLAIMED = "{}: none were found by {}, and the server does not say that it can be searched by that"
TIMELESS = (
    "the server does not tell the time (Date): what came while this pull ran was not looked for again, and "
    "every pull asks for everything"
)
EVERYTHING = "the server does not say that {} can be searched by _lastUpdated: every pull asks for all of it"


def pull(
    folder: Path,
    plan: Plan,
    wanted: Wanted,
    *,
    source: Path | None = None,
    full: bool = False,
    transport: Any = None,
    patience: Patience | None = None,
    say: Say,
) -> PullReport:
    """Brings a study's resources into its archive; the report says whether that is all of them.

    After a complete pull only what is new since is asked for, unless it is to be `full`.

    Raises ConfigError, Locked, ServerUnfit and UsageError before anything is stored; Unreachable and
    ServerFailed where it stopped half way: the next pull goes on from there.
    """
    if source is not None:
        return _from_folder(folder, source, wanted.types, say)
    return _from_server(folder, plan, wanted, full, transport, patience, say)


def _from_folder(folder: Path, source: Path, types: Sequence[str], say: Say) -> PullReport:
    home = source.resolve()
    if not home.exists():
        raise UsageError(f"{source} does not exist: --from wants a folder with FHIR files")
    with Archive.open(folder, create=True) as archive:
        check_source(archive, "folder", str(home))
        run = Run.begin(archive, "folder", str(home))
        missing, told = take_in(run, home, types, say)
        problems, notes = not_kept(run, say_place=True)
        return finished(run, [*problems, *shortened(missing)], [*notes, *told])


def _from_server(
    folder: Path,
    plan: Plan,
    wanted: Wanted,
    full: bool,
    transport: Any,
    patience: Patience | None,
    say: Say,
) -> PullReport:
    base = checked(plan)
    noted = Noted()
    with ExitStack() as closing:
        archive = None
        if (folder / "archive" / FILE).is_file():
            archive = closing.enter_context(Archive.open(folder))
            closing.enter_context(noted.kept_in(archive))
            check_source(archive, "server", base)
        client = closing.enter_context(
            connect(
                base,
                plan,
                access=access(wanted),
                transport=transport,
                patience=patience,
                on_sent=noted,
                tokens_from=token_places.known(archive, base),
            )
        )
        capability = client.metadata()
        if archive is None:
            archive = closing.enter_context(Archive.open(folder, create=True))
            closing.enter_context(noted.kept_in(archive))
        token_places.keep(archive, base, client.tokens_from)
        absent = unsupported(capability, wanted.types)
        refused = [type_ for type_ in client.not_granted if type_ not in absent]
        types = tuple(type_ for type_ in wanted.types if type_ not in {*absent, *refused})
        asked = msgspec.structs.replace(wanted, types=types)
        config = bulk_jobs.same_question(archive, _fingerprint(asked, client.date, full))
        run = Run.begin(archive, "server", base, config, noted.sent)
        noted.run = run.number
        if run.planned:
            say("going on with the pull that was interrupted")
        else:
            _plan(run, client, asked, capability, plan, full, say)
        told = Exporting(client, run, plan, asked, capability, say).work()
        connections = plan.pull.connections if transport is None else 1
        proving = Proving(client, run, asked, say, connections=connections, capability=capability)
        CatchingUp(client, run, asked, capability, proving, say).work()
        return concluded(
            run, asked, absent, client.date, refused, [*told, *_notes(run, capability, types, plan)]
        )


def _fingerprint(wanted: Wanted, date: datetime | None, full: bool) -> str:
    """What is asked for, and on which day of the server (or ours, where it tells none), as a hash.

    An interrupted pull goes on only where it is the same: what was proved on another day says nothing
    about the day that becomes the data cut. An export may take days, and proves nothing by itself.
    """
    day = (date or datetime.now(UTC)).date().isoformat()
    return f"{sha256(msgspec.json.encode([wanted, full])).hexdigest()} {day}"


def _plan(
    run: Run,
    client: Client,
    wanted: Wanted,
    capability: dict[str, Any],
    plan: Plan,
    full: bool,
    say: Say,
) -> None:
    begun = client.date
    found = cohort.patients(client, wanted.cohort, wanted.page_size)
    say(f"the cohort has {len(found.patients)} patients")
    question = sha256(msgspec.json.encode([msgspec.structs.replace(wanted, page_size=0), found.patients]))
    basis = None if full else proofs.basis(run.archive, question.hexdigest())
    timed = [type_ for type_ in wanted.types if since_supported(capability, type_)]
    if basis is not None and timed and not _minds_time(client, wanted, found.patients, timed[0]):
        say("the server does not mind _lastUpdated: asking for everything")
        basis = None
    minutes = timedelta(minutes=plan.pull.catch_up_minutes)
    types = dict.fromkeys(wanted.types, ("", ""))
    types |= {type_: _bound(run.archive, type_, basis, minutes) for type_ in timed}
    about = capabilities.capability(capability)
    where, _ = level(plan, capability)
    if where is not None:  # one instant for all types: what an export brings is held against it
        since = min((since for since, _ in types.values()), default="")
        types = {type_: (since, newest if since else "") for type_, (_, newest) in types.items()}
    work = windows(wanted, found.patients) if where is None or not wanted.types else ()
    run.plan(
        found.patients,
        [_asked(one.type, one.patients, types[one.type][0]) for one in work],
        problems=found.problems,
        software=about.software,
        version=about.version,
        since=Since(
            question=question.hexdigest(),
            basis=basis.run if basis else None,
            watermark=instant_text(begun - minutes) if begun else None,
            types=types,
        ),
        export=None if where is None else f"{min((one for one, _ in types.values()), default='')} {where}",
    )


def _asked(type_: str, patients: tuple[str, ...], since: str) -> Asked:
    return Asked(type_, patients, since, "", not since)


def _minds_time(client: Client, wanted: Wanted, patients: tuple[str, ...], type_: str) -> bool:
    """Whether the server finds nothing from before FHIR: what finds everything then minds no time at all."""
    first = next(one for one in windows(wanted, patients) if one.type == type_)
    before = msgspec.structs.replace(first, hi=instant_text(EARLIEST))
    try:
        return client.count(type_, before.params(wanted.page_size)) in (0, None)
    except Declined as error:
        if error.status == STOPS or error.status >= 500:
            raise
        return False


def _bound(archive: Archive, type_: str, basis: proofs.Basis | None, minutes: timedelta) -> tuple[str, str]:
    """Since when to ask for a type, and which resource then has to come again.

    The newest that is known is always asked for too: where it does not come, the server does not mind
    `_lastUpdated`, whatever it says. Some minutes are taken off of its own time, as those of the clock
    that the server tells may be another's.
    """
    if basis is None or proofs.unstamped(archive, type_):
        return "", ""
    newest = proofs.newest(archive, type_)
    stamp = instant(newest[1]) if newest else None
    mark = instant(basis.watermark)
    if newest is None or stamp is None or mark is None:
        return basis.watermark, ""
    return instant_text(min(stamp - minutes, mark) - timedelta(seconds=1)), newest[0]


def _notes(run: Run, capability: dict[str, Any], types: Sequence[str], plan: Plan) -> list[str]:
    unable = [type_ for type_ in types if not since_supported(capability, type_)]
    _, why = level(plan, capability)
    notes = [f"pulled by search: {why}"] if why else []
    if proofs.watermark(run) is None:
        notes.append(TIMELESS)
    said = capabilities.capability(capability).types
    for type_ in types:
        name, known = owner_parameter(type_)[0], said[type_].parameters if type_ in said else frozenset()
        if known and name not in known and not run.left(type_):
            notes.append(UNCLAIMED.format(type_, name))
    return notes + ([EVERYTHING.format(", ".join(unable))] if unable else [])
