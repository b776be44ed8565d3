"""How a pull ended: every doubt in a sentence, and the numbers that the archive gives."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from fhir_msct.archive import proofs, tallies
from fhir_msct.archive.runs import Run
from fhir_msct.client.windows import Window
from fhir_msct.plan import Wanted

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
    held: int = 0
    """Resources that the archive now holds as current."""


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
    since: str | None = None
    """From which instant on this pull asked; None where it asked for everything."""

    @property
    def received(self) -> int:
        """Different resources of all types."""
        return sum(one.received for one in self.types)

    @property
    def held(self) -> int:
        """Current resources of all types in the archive."""
        return sum(one.held for one in self.types)

    @property
    def counted(self) -> int | None:
        """What the server counts of all types; None where it did not count one of them."""
        counts = [one.counted for one in self.types]
        return None if None in counts else sum(count for count in counts if count is not None)


def concluded(
    run: Run,
    wanted: Wanted,
    absent: Sequence[str],
    date: datetime | None,
    refused: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> PullReport:
    """The end of a pull from a server: every doubt in a sentence."""
    problems = list(run.problems)
    problems += [f"the server grants no access to {type_}: it was not asked for" for type_ in refused]
    for one in tallies.unproved(run.archive.connection, run.number):
        window = Window(type=one.type, patients=one.patients, lo=one.lo, hi=one.hi)
        problems.append(f"{window} is not proved: {one.why}")
    known = {proof.type: proof for proof in proofs.proofs(run)}
    problems += [f"{one.type} is not proved as a whole: {one.why}" for one in known.values() if one.why]
    patients = proofs.held(run, known["Patient"]) if "Patient" in known else frozenset(run.patients)
    if lost := [id_ for id_ in run.patients if id_ not in patients]:
        problems.append(
            f"the server holds no Patient {', '.join(lost[:SHOWN])} of the cohort ({len(lost)} in all)"
        )
    more, told = not_kept(run, say_place=False)
    for type_ in absent:
        told.append(f"the server does not hold {type_} at all")
        if here := run.left(type_):
            problems.append(f"the server no longer says that it holds {type_}, and {here} are here")
    if not problems and not more:
        problems += _miscounted(run)
    if wanted.codes:
        told.append("only the study's codes were asked for: look-alikes under other codes cannot be seen")
    server_date = date.date().isoformat() if date else None
    since = next((proof.since for proof in known.values() if proof.since), None)
    return finished(run, problems + more, [*told, *notes], server_date, since)


def _miscounted(run: Run) -> list[str]:
    """The last look: whatever proved a type, as many have to be here as the server counts."""
    found = tallies.tallies(run.archive.connection, run.number)
    here = {one.type: run.left(one.type) for one in found if one.counted is not None}
    return [
        f"{one.type}: the server counts {one.counted}, and {here[one.type]} are here: pull again"
        for one in found
        if one.counted is not None and one.counted != here[one.type]
    ]


def not_kept(run: Run, *, say_place: bool) -> tuple[list[str], list[str]]:
    """What is in quarantine: as problems where something may be lost, else as notes."""
    lost: list[str] = []
    notes: Counter[str] = Counter()
    unasked: Counter[tuple[str, str]] = Counter()
    more: Counter[tuple[str, str]] = Counter()
    for one in tallies.not_kept(run.archive.connection, run.number):
        if not one.lost and one.reason.startswith("outside-"):
            more[one.type, one.reason] += one.number
        elif not one.lost:
            notes[one.reason] += one.number
        elif say_place:
            lost.append(f"{one.place}: {one.reason} (sha256 {one.sha256[:16]})")
        else:
            unasked[one.type, one.reason] += one.number
    lost = shortened(lost, ": the archive lists all of them")
    lost += [
        f"{type_}: {number} came that cannot be kept ({reason}): counted and hashed"
        for (type_, reason), number in unasked.items()
    ]
    told = [f"{number} not FHIR data ({reason})" for reason, number in notes.items()]
    told += [
        f"{type_}: the export brought {number} that were not asked for ({reason}): counted and hashed"
        for (type_, reason), number in more.items()
    ]
    return lost, told


def shortened(lines: Sequence[str], where: str = "") -> list[str]:
    """The first of many lines, and how many more there are (`where` says where to find them)."""
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"and {more} more like these{where}"] if more > 0 else list(lines)


def finished(
    run: Run,
    problems: Sequence[str],
    notes: Sequence[str],
    server_date: str | None = None,
    since: str | None = None,
) -> PullReport:
    """Ends the run, and says how it went."""
    complete = not problems
    server_date = server_date if complete else None
    run.finish(complete=complete, problems=problems, server_date=server_date)
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
        since=since,
    )
