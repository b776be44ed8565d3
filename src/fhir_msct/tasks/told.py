"""What a command says when it is done, and the error that a bad end deserves. Ids and counts, no values."""

from collections.abc import Iterator
from pathlib import Path

from fhir_msct.errors import Conflict, Incomplete, ServerFailed
from fhir_msct.tasks.load import LoadReport
from fhir_msct.tasks.pull import PullReport
from fhir_msct.tasks.push import PushReport
from fhir_msct.tasks.records import RecordsReport
from fhir_msct.tasks.verify import VerifyReport

SHOWN = 20
"""Lines of a plan that are shown; the rest is counted."""

DAMAGED_SHOWN = 100
"""Damaged places that are shown; the rest is counted."""


def pulled(report: PullReport) -> Iterator[str]:
    """Per type what was received and what the server counts; then what is in doubt, and what to know."""
    for one in report.types:
        counted = "" if one.counted is None else f" of {one.counted} on the server"
        gone = f", {one.gone} gone" if one.gone else ""
        came = f"{one.received} received"
        if report.since:
            came += f" since {report.since}, {one.held} held"
        yield f"{one.type}: {came}{counted}, {one.stored_new} new versions{gone}"
    yield from (f"NOT COMPLETE: {problem}" for problem in report.problems)
    yield from (f"note: {note}" for note in report.notes)
    yield f"{'complete' if report.complete else 'PARTIAL'}: {report.held} resources in the archive"


def recorded(report: RecordsReport, folder: Path) -> Iterator[str]:
    """Per type where every resource went; the sum stands beside it."""
    for kind, account in report.accounts.items():
        heaps = {"mapped": "mapped", "set_aside": "set aside", "out_of_scope": "out of scope"}
        parts = " + ".join(f"{account[name]} {words}" for name, words in heaps.items())
        yield f"{kind or 'no type'}: {parts} = {account['seen']} seen"
    for kind, reasons in report.reasons.items():
        yield f"  set aside, {kind}: " + ", ".join(f"{reason} {n}" for reason, n in reasons.items())
    yield f"wrote {folder / 'records'}: next, `fhir-msct outcomes {folder}`"


def pushed(report: PushReport, folder: Path) -> Iterator[str]:
    """What was written; before that, the plan and the command that writes exactly it."""
    if report.applied:
        equal = f"{len(report.differing)} READ BACK DIFFERENT" if report.differing else "read back equal"
        refused = f", {len(report.refused)} REFUSED" if report.refused else ""
        counts = f"{report.written} written, {report.retracted} retracted, {report.unchanged} unchanged"
        yield f"{counts}{refused}; {equal}"
        yield from (f"REFUSED: {line}" for line in report.refused)
        yield from _kept(report)
        return
    yield from report.plan[:SHOWN]
    if len(report.plan) > SHOWN:
        yield f"... and {len(report.plan) - SHOWN} more"
    counts = f"{report.written} to write, {report.retracted} to retract, {report.unchanged} unchanged"
    yield f"to {report.target}: {counts}"
    yield from _kept(report)
    if report.written or report.retracted:
        yield f"to write exactly this: fhir-msct push {folder} --apply {report.hash}"


def _kept(report: PushReport) -> Iterator[str]:
    if report.kept:
        count = len(report.kept)
        yield f"{count} values entered by hand stay here: this server chooses the ids of new resources"


def loaded(report: LoadReport, folder: Path) -> Iterator[str]:
    """How many rows were new."""
    counts = f"{report.new} new, {report.corrected} corrected, {report.unchanged} known already"
    yield f"{report.rows} rows: {counts}"
    yield f"next, `fhir-msct records {folder}`"


def verified(report: VerifyReport) -> Iterator[str]:
    """What was checked, with counts; what is damaged, by type, id and file."""
    for check in report.checked:
        yield f"{check.number} {check.what}: " + (
            f"{len(check.damaged)} DAMAGED" if check.damaged else "sound"
        )
    yield from (f"DAMAGED: {one.place}: {one.why}" for one in report.damaged[:DAMAGED_SHOWN])
    if len(report.damaged) > DAMAGED_SHOWN:
        yield f"... and {len(report.damaged) - DAMAGED_SHOWN} more: --json names all of them"
    if report.interrupted:
        yield "note: the latest pull was interrupted; run it again"


def require_sound(report: VerifyReport, folder: Path) -> None:
    """Raises Incomplete for an archive of which something is damaged."""
    if report.damaged:
        raise Incomplete(
            f"{folder / 'archive'} is damaged in {len(report.damaged)} places: keep it as it is, and "
            "restore a copy or pull into a new study folder"
        )


def require_complete(report: PullReport, folder: Path) -> None:
    """Raises Incomplete for a pull that could not prove itself complete."""
    if not report.complete:
        raise Incomplete(
            f"the pull could not prove itself complete: run `fhir-msct pull {folder}` again; "
            "until then every table says PARTIAL and nothing is pushed"
        )


def require_pushed(report: PushReport) -> None:
    """Raises Conflict for what is not ours, ServerFailed where the server holds other than was sent."""
    if report.conflicts:
        named = ", ".join(report.conflicts)
        raise Conflict(f"not ours, or there more than once, so not overwritten: {named}")
    if report.refused:
        raise ServerFailed(
            f"{len(report.refused)} refused by the server, everything else is there: "
            f"{'; '.join(report.refused[:3])}; what is refused is tried again by the next push"
        )
    if report.differing:
        raise ServerFailed(f"not as it was sent, when read back: {', '.join(report.differing)}")
