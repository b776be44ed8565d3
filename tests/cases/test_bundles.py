"""What becomes of whole files of `fixtures/cases/bundles/`: identity, versions, people, courses, counts."""

import csv
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw, Struct, field

from cases.case_files import FOLDER, Study
from fhir_msct import Study as StudyFolder
from fhir_msct.errors import MsctError, exit_code


class Text(Struct, forbid_unknown_fields=True):
    """A file whose bytes are no JSON value."""

    text: str


class Expectation(Struct, forbid_unknown_fields=True):
    """Counts and rows that must come out, as far as the case names them; or the exit code that stops it."""

    accounting: dict[str, dict[str, int]] = field(default_factory=dict)
    set_aside: dict[str, dict[str, int]] = field(default_factory=dict)
    subjects: list[dict[str, Any]] | None = None
    measurements: list[dict[str, Any]] | None = None
    transplants: list[dict[str, Any]] | None = None
    complete: bool = True
    stops: int = 0
    names: list[str] = field(default_factory=list)


class BundleCase(Struct, forbid_unknown_fields=True):
    """A folder of files, and what must come of it."""

    title: str
    why: str
    files: dict[str, Raw]
    expect: Expectation
    study: Study = field(default_factory=Study)


class BundleFile(Struct, forbid_unknown_fields=True):
    """One topic."""

    topic: str
    cases: list[BundleCase]


def bundle_cases() -> list[Any]:
    """Every case of every topic."""
    paths = sorted((FOLDER / "bundles").glob("*.json"))
    files = [msgspec.json.decode(path.read_bytes(), type=BundleFile) for path in paths]
    return [pytest.param(case, id=f"{file.topic}: {case.title}") for file in files for case in file.cases]


def file_bytes(name: str, raw: Raw) -> bytes:
    """A file's bytes: a JSON value as it stands, the lines of NDJSON, or a text."""
    if bytes(raw).startswith(b'{"text":'):
        return msgspec.json.decode(raw, type=Text).text.encode()
    if not name.endswith(".ndjson"):
        return bytes(raw)
    lines = msgspec.json.decode(raw, type=list[Raw])
    return b"".join(bytes(line).replace(b"\n", b" ") + b"\n" for line in lines)


def run(folder: Path, case: BundleCase) -> StudyFolder:
    """Pulls the case's files into a study folder and reads them."""
    source = folder / "export"
    source.mkdir()
    for name, raw in case.files.items():
        (source / name).write_bytes(file_bytes(name, raw))
    home = folder / "study"
    home.mkdir()
    (home / "study.toml").write_text(case.study.toml(), encoding="utf-8")
    study = StudyFolder(home)
    study.pull(source)
    study.records()
    return study


def table(study: StudyFolder, name: str) -> list[dict[str, str]]:
    """The rows of one CSV file of the records stage."""
    with (study.folder / "records" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def same(rows: list[dict[str, str]], wanted: list[dict[str, Any]]) -> None:
    """Compares the cells that are named; flags in any order."""
    assert len(rows) == len(wanted)
    for row, cells in zip(rows, wanted, strict=True):
        shown = {k: sorted(row[k].split()) if k == "flags" else row[k] for k in cells}
        assert shown == {k: sorted(v) if k == "flags" else v for k, v in cells.items()}


@pytest.mark.parametrize("case", bundle_cases())
def test_bundle(case: BundleCase, tmp_path: Path) -> None:
    if case.expect.stops:
        with pytest.raises(MsctError) as caught:
            run(tmp_path, case)
        assert exit_code(caught.value) == case.expect.stops
        assert [name for name in case.expect.names if name not in str(caught.value)] == []
        return
    study = run(tmp_path, case)
    found = json.loads((study.folder / "records" / "accounting.json").read_text(encoding="utf-8"))
    for kind, counts in case.expect.accounting.items():
        assert {name: found["types"][kind][name] for name in counts} == counts, kind
    assert found["set_aside"] == case.expect.set_aside
    assert found["complete"] is case.expect.complete
    for kind, counts in found["types"].items():
        assert counts["seen"] == counts["mapped"] + counts["set_aside"] + counts["out_of_scope"], kind
    for name in ("subjects", "measurements", "transplants"):
        wanted = getattr(case.expect, name)
        if wanted is not None:
            same(table(study, name), wanted)
