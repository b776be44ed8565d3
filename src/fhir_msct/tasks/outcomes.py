"""Records to outcomes: reads `records/`, analyses, writes `outcomes/` whole or not at all."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from msgspec import Struct

from fhir_msct.errors import InputError
from fhir_msct.outcomes import analyse
from fhir_msct.plan import Plan
from fhir_msct.records import Finding, Measurement, StudyRecords, Subject, Transplant
from fhir_msct.results import Analysis, Answer, Outcome, Results, VisitSummary
from fhir_msct.tables import csv_bytes, read_csv
from fhir_msct.tasks.stage import require_own, run_of, stage

INPUTS: dict[str, type] = {
    "subjects": Subject,
    "measurements": Measurement,
    "transplants": Transplant,
    "findings": Finding,
}
OUTPUTS: dict[str, type] = {
    "analysis": Analysis,
    "by_subject": Outcome,
    "by_visit": VisitSummary,
    "endpoints": Answer,
}


class OutcomesReport(Struct, frozen=True, kw_only=True):
    """What the `outcomes` stage did, for the screen."""

    infused: int
    courses: int
    values: int
    endpoints: int
    """Rows of endpoints.csv with an answer."""
    unanswered: int
    data_cut: date | None
    complete: bool


def outcomes(folder: Path, plan: Plan, *, say: Callable[[str], None]) -> OutcomesReport:
    """Write `outcomes/` from `records/` and say what came of it.

    Raises InputError when the records stage has not been run, or its files cannot be read or are not what
    it wrote.
    """
    run = run_of(folder, "records")
    require_own(folder, "records")
    complete = run.get("complete") is True
    cut = data_cut(plan, run)
    say(f"outcomes: data cut {cut.isoformat() if cut else 'none'}")
    paths = {name: folder / "records" / f"{name}.csv" for name in INPUTS}
    tables: dict[str, Any] = {name: read_csv(path, INPUTS[name]) for name, path in paths.items()}
    records = StudyRecords(**tables)
    results = analyse(records, plan, cut)
    facts = {"data_cut": cut.isoformat() if cut else None, "server": run.get("server")}
    inputs = [*paths.values(), folder / "study.toml"]
    with stage(folder, "outcomes", inputs=inputs, complete=complete, **facts) as out:
        for name, kind in OUTPUTS.items():
            (out / f"{name}.csv").write_bytes(csv_bytes(getattr(results, name), kind))
    report = _report(records, results, cut, complete)
    say(f"outcomes: {report.infused} infused, {report.endpoints} answers, {report.unanswered} not evaluable")
    return report


def data_cut(plan: Plan, run: dict[str, Any]) -> date | None:
    """D16: the plan's own date, else the server's clock at the last complete pull; never today's date."""
    text = plan.study.data_cut
    if text is None and run.get("complete") is True:
        text = run.get("server_date")
    if text is None or text == "none":
        return None
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError):
        raise InputError("records/run.json: server_date: not a date: run the records stage again") from None


def _report(records: StudyRecords, results: Results, cut: date | None, complete: bool) -> OutcomesReport:
    answered = sum(row.status == "value" for row in results.endpoints)
    opened = {(row.usubjid, row.course) for row in results.by_subject}
    return OutcomesReport(
        infused=len({usubjid for usubjid, _ in opened}),
        courses=len(opened),
        values=len(records.measurements),
        endpoints=answered,
        unanswered=len(results.endpoints) - answered,
        data_cut=cut,
        complete=complete,
    )
