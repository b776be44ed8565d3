"""The `outcomes` command's work: files of one stage in, files of the next out, whole or not at all."""

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fhir_msct.errors import InputError, MappingError
from fhir_msct.records import Finding, Measurement, Subject, Transplant
from fhir_msct.results import Analysis, Answer, Outcome, VisitSummary
from fhir_msct.tables import COLUMNS, csv_bytes, read_csv
from fhir_msct.tasks.outcomes import data_cut, outcomes
from lib.people import PLAN, analysed, changed, records

LINES = """
    p1 MSCT 2024-01-01T10:00:00+08:00
    p1 DRUG d1
    p1 MSCT d200
    p1 CK   2024-01-01T09:00:00+08:00 1681 uln=200
    p1 CK   d183 2.9167 unit=ukat/L uln=3.3
    p1 MMT8 d-5  45 side=right
    p1 MMT8 d190 <64 side=right
    p1 CK   d382 175 ident=lab|7 updated=2025-01-16T08:00:00Z
    p1 CK   d382 180 ident=lab|7 updated=2025-01-17T08:00:00Z
    p1 ILD  -    recorded=d-30 abated=d90
    p1 died d400
    p2 MSCT d1 tier=text_only
    p2 CK   2023 900
"""
FILES = {"analysis": Analysis, "by_subject": Outcome, "by_visit": VisitSummary, "endpoints": Answer}


def study(folder: Path, lines: str = LINES, **run: Any) -> Path:
    """A study folder whose records stage has been run."""
    held = records(lines)
    (folder / "records").mkdir()
    tables = {Subject: held.subjects, Measurement: held.measurements, Transplant: held.transplants}
    for kind, rows in (tables | {Finding: held.findings}).items():
        name = f"{kind.__name__.lower()}s.csv"
        (folder / "records" / name).write_bytes(csv_bytes(rows, kind))
    document = {"complete": True, "server_date": "2025-06-30"} | run
    (folder / "records" / "run.json").write_text(json.dumps(document), "utf-8")
    return folder


def ignore(line: str) -> None:
    """Nobody listens."""


def test_outcomes_are_the_same_from_files_as_from_records_in_memory(tmp_path: Path) -> None:
    """Whatever the analysis looks at has a column."""
    report = outcomes(study(tmp_path), PLAN, say=ignore)
    expected = analysed(LINES, cut="2025-06-30")
    for name, kind in FILES.items():
        assert (tmp_path / "outcomes" / f"{name}.csv").read_bytes() == csv_bytes(
            getattr(expected, name), kind
        )
    assert (report.infused, report.courses, report.values) == (1, 2, 7)
    assert report.endpoints + report.unanswered == len(expected.endpoints)


def test_the_four_files_have_the_columns_of_the_contract_and_read_back(tmp_path: Path) -> None:
    outcomes(study(tmp_path), PLAN, say=ignore)
    for name, kind in FILES.items():
        path = tmp_path / "outcomes" / f"{name}.csv"
        with path.open(encoding="utf-8", newline="") as file:
            assert tuple(next(csv.reader(file))) == COLUMNS[kind]
        assert csv_bytes(read_csv(path, kind), kind) == path.read_bytes()


def test_the_stage_says_how_far_its_data_reach_and_whether_they_are_complete(tmp_path: Path) -> None:
    said: list[str] = []
    report = outcomes(study(tmp_path), PLAN, say=said.append)
    run = json.loads((tmp_path / "outcomes" / "run.json").read_text("utf-8"))
    assert (run["complete"], run["data_cut"]) == (True, "2025-06-30")
    assert set(run["outputs"]) == {f"{name}.csv" for name in FILES}
    assert "records/measurements.csv" in run["inputs"]
    assert (report.complete, report.data_cut) == (True, date(2025, 6, 30))
    assert any("2025-06-30" in line for line in said)


def test_a_partial_pull_makes_partial_outcomes(tmp_path: Path) -> None:
    report = outcomes(study(tmp_path, complete=False), PLAN, say=ignore)
    run = json.loads((tmp_path / "outcomes" / "run.json").read_text("utf-8"))
    assert run["complete"] is report.complete is False


def test_a_second_run_replaces_the_first_with_the_same_bytes(tmp_path: Path) -> None:
    study(tmp_path)
    outcomes(tmp_path, PLAN, say=ignore)
    first = {name: (tmp_path / "outcomes" / f"{name}.csv").read_bytes() for name in FILES}
    outcomes(tmp_path, PLAN, say=ignore)
    assert first == {name: (tmp_path / "outcomes" / f"{name}.csv").read_bytes() for name in FILES}


@pytest.mark.parametrize(
    ("planned", "run", "cut"),
    [
        ("2024-06-30", {"complete": True, "server_date": "2025-06-30"}, date(2024, 6, 30)),
        (None, {"complete": True, "server_date": "2025-06-30"}, date(2025, 6, 30)),
        (None, {"complete": True, "server_date": None}, None),  # pulled from a folder
        (None, {"complete": False, "server_date": "2025-06-30"}, None),
        ("none", {"complete": True, "server_date": "2025-06-30"}, None),
    ],
)
def test_d16_the_data_cut_is_the_plans_else_the_servers_clock_and_never_today(
    planned: str | None, run: dict[str, Any], cut: date | None
) -> None:
    assert data_cut(changed(study={"data_cut": planned}), run) == cut


def test_without_records_the_message_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fhir-msct records"):
        outcomes(tmp_path, PLAN, say=ignore)


def test_a_parameter_that_the_plan_does_not_know_stops_the_stage_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    study(tmp_path)
    path = tmp_path / "records" / "measurements.csv"
    rows = [replace(row, paramcd="ALDO") for row in read_csv(path, Measurement)]
    path.write_bytes(csv_bytes(rows, Measurement))
    with pytest.raises(MappingError, match="ALDO"):
        outcomes(tmp_path, PLAN, say=ignore)
    assert not (tmp_path / "outcomes").exists()


def test_a_study_without_any_patient_still_has_all_four_files(tmp_path: Path) -> None:
    outcomes(study(tmp_path, ""), PLAN, say=ignore)
    rows = read_csv(tmp_path / "outcomes" / "endpoints.csv", Answer)
    assert rows and {row.status for row in rows} == {"not evaluable"}
