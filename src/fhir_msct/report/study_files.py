"""What a report is made from: the files of a study folder and nothing else, so that the same files
give the same report.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from fhir_msct.errors import InputError
from fhir_msct.plan import Plan
from fhir_msct.records import Finding, SetAside, Subject, Transplant
from fhir_msct.results import Analysis, Answer, Outcome, VisitSummary
from fhir_msct.tables import read_csv

T = TypeVar("T")

FILES: dict[str, type] = {
    "records/subjects.csv": Subject,
    "records/transplants.csv": Transplant,
    "records/findings.csv": Finding,
    "records/set_aside.csv": SetAside,
    "outcomes/analysis.csv": Analysis,
    "outcomes/by_subject.csv": Outcome,
    "outcomes/by_visit.csv": VisitSummary,
    "outcomes/endpoints.csv": Answer,
}
DOCUMENTS = ("records/accounting.json", "records/run.json", "outcomes/run.json")


class StudyFiles(Struct, frozen=True, kw_only=True):
    """One study as its files say: the plan, both stages' rows, and how each stage was run."""

    plan: Plan
    subjects: tuple[Subject, ...]
    transplants: tuple[Transplant, ...]
    findings: tuple[Finding, ...]
    set_aside: tuple[SetAside, ...]
    analysis: tuple[Analysis, ...]
    by_subject: tuple[Outcome, ...]
    by_visit: tuple[VisitSummary, ...]
    endpoints: tuple[Answer, ...]
    accounting: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    """`run.json` of each stage, by the stage's name."""
    stale: tuple[str, ...] = ()
    """The stages whose inputs, or own files, changed since they ran."""

    @property
    def partial(self) -> bool:
        """Whether any stage says that something may be missing."""
        said = [self.accounting, *self.runs.values()]
        return any(document.get("complete") is not True for document in said)

    @property
    def synthetic(self) -> bool:
        """Whether the study calls itself synthetic."""
        return "SYNTHETIC" in f"{self.plan.study.title} {self.plan.study.id}".upper()

    @property
    def data_cut(self) -> str:
        """The date after which nothing was looked at; empty without one."""
        return str(self.runs["outcomes"].get("data_cut") or self.plan.study.data_cut or "")


def read(folder: Path, plan: Plan, *, stale: tuple[str, ...] = ()) -> StudyFiles:
    """All that the report needs from a study folder.

    Raises InputError naming the file that is absent or cannot be read.
    """
    rows: dict[str, Any] = {Path(path).stem: read_csv(folder / path, kind) for path, kind in FILES.items()}
    accounting, *runs = (_document(folder / path) for path in DOCUMENTS)
    stages = dict(zip(("records", "outcomes"), runs, strict=True))
    return StudyFiles(plan=plan, accounting=accounting, runs=stages, stale=stale, **rows)


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} does not exist: run the stage that writes it first")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path} is not JSON: run the stage that writes it again") from None
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a JSON object: run the stage that writes it again")
    return document
