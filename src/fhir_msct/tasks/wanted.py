"""What a server shall hold of a study: tool, study, hand-entered values, each answer of each subject."""

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Named
from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from fhir_msct.archive import ledger
from fhir_msct.archive.store import Archive
from fhir_msct.errors import ConfigError, UsageError
from fhir_msct.mapping import lineage, outgoing
from fhir_msct.mapping.library import Mapping
from fhir_msct.plan import Plan
from fhir_msct.records import Resource, Subject, Transplant
from fhir_msct.results import Outcome
from fhir_msct.tables import read_csv
from fhir_msct.tasks.deciding import Wanted

PUSHED = ("met", "not met", "value")
"""What an answer must say to be pushed; what is not evaluable is not produced."""


def wanted(
    folder: Path, plan: Plan, archive: Archive, source: str = "", *, nowhere: bool = False
) -> Iterator[Wanted]:
    """Everything the server shall hold, in the order of sending.

    `source`: the address of the server that was pulled from, where another one is written to; `nowhere`:
    it was files, and no server is known to hold them. Raises UsageError where an outcome rests on a version
    that the archive no longer holds, ConfigError for an endpoint without a code.
    """
    study = plan.study.id
    tool = lineage.device(study, version(outgoing.TOOL))
    yield Wanted("Device", outgoing.device_id(study), tool, "the tool")
    about = lineage.research_study(study, plan.study.title)
    yield Wanted("ResearchStudy", outgoing.research_study_id(study), about, "the study")
    for one in ledger.pending(archive.connection):
        yield Wanted(one.type, one.id or "", one.body, "entered by hand")
    rows = [row for row in read_csv(folder / "outcomes" / "by_subject.csv", Outcome) if row.status in PUSHED]
    inputs = _inputs(archive, {source for row in rows for source in row.source.split()})
    patients, infusions = _patients(folder), _infusions(folder)
    endpoints = {one.name(paramcd): one for one in plan.endpoints for paramcd in one.paramcds or ("",)}
    used = [*(one for row in rows for one in row.source.split()), *chain(*infusions.values())]
    marks = _marks(archive, used) if nowhere else {}
    mapping = Mapping.load(folder, plan)
    categories = {row["endpoint"]: row["category"] for row in mapping.tables["outcome_codes"].rows}
    for row in rows:
        endpoint = endpoints.get(row.endpoint)
        if endpoint is None:
            raise UsageError(f"outcomes are of another version ({row.endpoint}): run outcomes again")
        parameter = plan.parameters.get(row.paramcd)
        record = outgoing.outcome(
            row,
            endpoint,
            study=study,
            subject=patients[row.usubjid],
            category=_category(categories, row.endpoint, folder),
            unit=parameter.study_unit if parameter else "",
            infusions=infusions.get((row.usubjid, row.course), ()),
            inputs=inputs,
            server=source,
            marks=marks,
        )
        label = f"{row.endpoint} {row.usubjid} course {row.course} {row.avisit}".rstrip()
        sources = tuple(outgoing.located(one, source, inputs, marks) for one in row.source.split())
        yield Wanted("Observation", record.id or "", mapping.write(record), label, row.usubjid, sources, True)


def _inputs(archive: Archive, sources: set[str]) -> dict[str, outgoing.Input]:
    """What the archive says of each Observation that an outcome rests on.

    Raises UsageError where it no longer holds that version: then the outcomes are not of this archive.
    """
    wanted = {source for source in sources if source.startswith("Observation/")}
    found = {}
    for one in archive.current("Observation"):
        if (source := _source(one)) in wanted:
            found[source] = outgoing.input_of(one.body)
    _require_current(wanted, found)
    return found


def _source(one: Resource) -> str:
    """How an outcome names the version of a resource that it rests on."""
    place = f"{one.type}/{one.id or '#' + sha256(one.body).hexdigest()}"
    return f"{place}/_history/{one.version}" if one.version else place


def _marks(archive: Archive, sources: Iterable[str]) -> dict[str, str]:
    """Each source by the hash of its bytes: an id that a file gave it means something else on any server.

    Raises UsageError as `_inputs` does.
    """
    wanted = set(sources)
    found = {}
    for kind in sorted({source.partition("/")[0] for source in wanted}):
        for one in archive.current(kind):
            if (source := _source(one)) in wanted:
                found[source] = f"{kind}/#{sha256(one.body).hexdigest()}"
    _require_current(wanted, found)
    return found


def _require_current(wanted: set[str], found: Named[str, object]) -> None:
    if missing := sorted(wanted - found.keys()):
        raise UsageError(
            f"{missing[0]} is no longer current: run records and outcomes again; nothing was pushed"
        )


def _category(categories: Named[str, str], endpoint: str, folder: Path) -> str:
    """The category of an endpoint's code. Raises ConfigError for one of the study's own without a code."""
    if endpoint not in categories:
        raise ConfigError(
            f"{folder / 'mappings' / 'outcome_codes.csv'}: no code for the endpoint {endpoint}: write a row "
            "for it there (the columns are those of the shipped file); nothing was pushed"
        )
    return categories[endpoint]


def _patients(folder: Path) -> dict[str, str]:
    """The Patient's id of each subject."""
    rows = read_csv(folder / "records" / "subjects.csv", Subject)
    return {row.usubjid: row.source.split("/")[1] for row in rows}


def _infusions(folder: Path) -> dict[tuple[str, int], list[str]]:
    """The versions that say a course was opened, of every course."""
    rows = [
        row
        for row in read_csv(folder / "records" / "transplants.csv", Transplant)
        if row.course is not None and row.infusion is not None
    ]
    first: dict[tuple[str, int], int] = {}
    for row in rows:
        key = (row.usubjid, row.course or 0)
        first[key] = min(row.infusion or 0, first.get(key, row.infusion or 0))
    opened: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        if row.infusion == first[row.usubjid, row.course or 0]:
            opened.setdefault((row.usubjid, row.course or 0), []).append(row.source)
    return opened
