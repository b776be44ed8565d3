"""What `check` says: the verdict last, with what led to it; and the error that a bad verdict deserves."""

from collections.abc import Iterator
from pathlib import Path

from fhir_msct.errors import Incomplete, UsageError
from fhir_msct.tasks.check import CheckReport, Scopes
from fhir_msct.tasks.discover import Discovered, Found
from fhir_msct.tasks.examining import TypeHeld
from fhir_msct.tasks.told import SHOWN

MARKS = {"block": "BLOCKS", "decide": "DECIDE", "know": "note"}

PROBED = (
    "counts, totals, page size, next links, self, unknown parameters, _lastUpdated, code, patient, "
    "POST _search, no-cache, compression, clock; what is odd follows"
)


def checked(report: CheckReport, folder: Path) -> Iterator[str]:
    """The server, what it holds, what a pull would do, what is odd, which scopes it takes; the verdict."""
    if report.software:
        yield f"{report.base_url}: {report.software}, FHIR R4"
    if report.types:
        first = f"the first {report.counted_within}" if report.counted_within < report.patients else "them"
        yield f"the cohort has {report.patients} patients; what the server claims, and holds of {first}:"
        yield from (f"  {_type(one)}" for one in report.types)
    if report.codes:
        yield "the study's codes, within the cohort:"
        yield from (f"  {one.what} ({one.type}): {one.held}" for one in report.codes)
    if report.plan:
        about = f" (about {report.pull_requests} requests)" if report.pull_requests else ""
        yield f"a pull would ask {report.how or 'by search'}{about}:"
        yield from (f"  {line}" for line in report.plan[:SHOWN])
        if len(report.plan) > SHOWN:
            yield f"  ... and {len(report.plan) - SHOWN} more: `fhir-msct pull {folder} --plan` shows all"
    if report.types:
        yield f"probed: {PROBED}"
    for one in report.remarks:
        yield f"{MARKS[one.level]}: {one.name}: {one.text}" + (f" ({one.detail})" if one.detail else "")
    yield from _scopes("to read", report.scopes)
    yield from _scopes("to push", report.push_scopes)
    if report.discovered:
        yield from _discovered(report.discovered, folder)
    yield f"{report.requests} requests sent, nothing stored, nothing written"
    yield _verdict(report, folder)


def require_ready(report: CheckReport, folder: Path) -> None:
    """Raises UsageError where something blocks a pull, Incomplete where something has to be decided."""
    if report.verdict == "blocked":
        raise UsageError(f"{folder} is not ready: {_named(report, 'block')} blocks a pull")
    if report.verdict == "decide":
        raise Incomplete(f"{folder} is not quite ready: {_named(report, 'decide')} has to be decided")


def _named(report: CheckReport, level: str) -> str:
    return ", ".join(dict.fromkeys(one.name for one in report.remarks if one.level == level))


def _verdict(report: CheckReport, folder: Path) -> str:
    if report.verdict == "ready":
        return f"READY: next, `fhir-msct pull {folder}`"
    return {"blocked": "BLOCKED: see the lines above", "decide": "TO DECIDE: see the lines above"}[
        report.verdict
    ]


def _type(one: TypeHeld) -> str:
    claims = {
        "search": one.searches,
        "by patient": one.by_patient or one.type == "Patient",
        "by _lastUpdated": one.by_last_updated,
        "by code": one.by_code or one.type == "Patient",
    }
    held = "not counted" if one.held is None else f"{one.held} held"
    lacking = [name for name, claimed in claims.items() if not claimed]
    return f"{one.type}: {held}" + (f"; not claimed: {', '.join(lacking)}" if lacking else "")


def _scopes(what: str, scopes: Scopes) -> Iterator[str]:
    if scopes.v2:
        yield f"scopes {what}: {' '.join(scopes.v2)}"
        yield f"  or, in version 1: {' '.join(scopes.v1)}"


def _discovered(found: Discovered, folder: Path) -> Iterator[str]:
    yield f"looked at {found.resources} resources of {found.patients} patients for what nothing maps"
    yield from (f"  {_alike(one)}" for one in found.look_alikes)
    for one in found.units:
        said = one.unit or "a unit that looks like a remark, not shown"
        listed = f"  unit of {one.paramcd} that no row lists: {said} ({one.system or 'text only'})"
        yield f"{listed}, {one.count} times"
    own = folder / "mappings"
    for text, told in (
        (found.codes_csv, f"UNREVIEWED rows for {own / 'codes.csv'}:"),
        (found.choose_csv, f"UNREVIEWED rows for {own / 'codes.csv'}, once one paramcd is chosen:"),
        (found.units_csv, f"UNREVIEWED rows for {own / 'units.csv'}:"),
        (found.factors_csv, f"UNREVIEWED rows for {own / 'units.csv'}, once the factor is filled in:"),
    ):
        if text:
            yield told
            yield text.rstrip("\n")


def _alike(one: Found) -> str:
    means = f" ({' or '.join(one.paramcds)})" if one.paramcds else ""
    where = "a component of " if one.in_component else ""
    return (
        f"{one.kind}{means}: {one.system or 'no system'} | {one.code} | {one.text or 'no text'}: "
        f"{one.count} times in {where}{one.type}"
    )
