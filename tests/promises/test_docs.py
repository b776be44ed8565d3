"""What the documentation says is what the code does: closed lists, columns, examples."""

import csv
import doctest
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_msct import Mapping, data, tables
from fhir_msct import plan as plans
from fhir_msct.mapping.codes import TABLES
from fhir_msct.outcomes import reviews
from fhir_msct.records import Finding, Measurement, SetAside, Subject, Transplant
from fhir_msct.report import words
from fhir_msct.results import Analysis, Answer, Outcome, VisitSummary
from fhir_msct.tasks import load
from promises import said_by_code
from promises.pages import DOCS, PAGES, ROOT, blocks, first_cells, section, table

REASONS = DOCS / "reasons.md"
FILES = DOCS / "files.md"
GOLDEN = data.fixtures()


def cases() -> Iterator[dict[str, Any]]:
    """What every mapping case expects."""
    for path in sorted((GOLDEN / "cases").glob("*.json")):
        document = json.loads(path.read_text("utf-8"))
        for case in document["cases"] if isinstance(document, dict) else document:
            yield case["expect"]


def opened(reason: str) -> str:
    """`status-preliminary` as the docs list it: `status-…`."""
    return re.sub(r"^(status|absent)-.*", r"\1-…", reason)


def counted(flag: str) -> str:
    """`cens:3` as the docs list it: `cens:…`."""
    return re.sub(r":.*", ":…", flag)


def cells(file: str, column: str) -> set[str]:
    """The words of one column of a golden file."""
    with (GOLDEN / file).open(encoding="utf-8", newline="") as lines:
        return {word for row in csv.DictReader(lines) for word in row[column].split()}


def said(section_of_words: str) -> set[str]:
    """The closed list of a section of the report's own words."""
    return set(words.table(section_of_words))


def documented(heading: str) -> set[str]:
    """A closed list of reasons.md."""
    found = first_cells(REASONS, heading)
    assert len(found) == len(set(found))
    return set(found)


def test_the_reasons_for_setting_aside_are_those_of_the_code() -> None:
    assert documented("Set aside") == said_by_code.aside_reasons()


def test_the_reasons_that_occur_are_listed() -> None:
    expected = {opened(row["reason"]) for expect in cases() for row in _rows(expect.get("set_aside"))}
    assert expected | {opened(reason) for reason in cells("records/set_aside.csv", "reason")} <= documented(
        "Set aside"
    )
    assert len(expected) > 20


def _rows(expected: Any) -> Iterable[dict[str, str]]:
    rows = expected if isinstance(expected, list) else [expected] if expected else []
    return [row if isinstance(row, dict) else {"reason": row} for row in rows]


def test_what_a_pull_does_not_keep_is_listed() -> None:
    outside = {f"outside-{why}" for why in ("type", "cohort", "codes")}
    listed = documented("Not kept by a pull")
    assert listed - outside - {"not-an-object"} == said_by_code.damage_reasons()
    for why in ("type", "cohort", "codes", "not-an-object"):
        assert said_by_code.is_said(why, "client")


def test_the_flags_of_records_are_those_of_the_cases() -> None:
    expected = {
        flag for expect in cases() for record in expect.get("records") or () for flag in _flags(record)
    }
    assert documented("Flags of records") == expected
    assert said_by_code.flags("mapping") <= expected


def _flags(record: dict[str, Any]) -> Iterable[str]:
    flags = record.get("flags") or ()
    return flags.split() if isinstance(flags, str) else flags


def test_the_flags_of_golden_records_are_listed() -> None:
    files = ("subjects", "measurements", "transplants", "findings")
    assert {flag for name in files for flag in cells(f"records/{name}.csv", "flags")} <= documented(
        "Flags of records"
    )


def test_the_flags_of_the_analysis_are_those_of_the_code_and_have_words() -> None:
    listed = documented("Flags of the analysis")
    golden = cells("outcomes/analysis.csv", "flags") | cells("outcomes/by_visit.csv", "flags")
    assert {counted(flag) for flag in golden} <= listed
    assert said_by_code.flags("outcomes") <= listed | documented("Flags of records")
    assert all(said_by_code.is_said(flag.removesuffix(":…"), "outcomes", "mapping") for flag in listed)
    assert {flag.removesuffix(":…") for flag in listed} <= said("flag")


def test_the_reasons_why_a_value_was_not_taken_are_listed_and_have_words() -> None:
    listed = documented("Why a value was not taken")
    assert cells("outcomes/analysis.csv", "why_not") <= listed
    assert listed == said("why_not")
    assert all(said_by_code.is_said(word, "outcomes") for word in listed)


def test_the_reasons_why_there_is_no_answer_are_listed_and_have_words() -> None:
    listed = documented("Why there is no answer")
    limits = {"ci_unattainable", "cannot_reach_05"}
    golden = cells("outcomes/endpoints.csv", "reason") | cells("outcomes/by_subject.csv", "reason")
    assert {counted(reason).removesuffix(":…") for reason in golden} <= listed
    assert said_by_code.endpoint_reasons() <= listed
    assert listed - limits == said("reason")
    assert all(said_by_code.is_said(word, "outcomes") for word in listed)


def test_the_reasons_why_a_subject_is_not_evaluable_are_listed_and_have_words() -> None:
    listed = documented("Why a subject is not evaluable")
    assert cells("records/subjects.csv", "excluded_why") <= listed
    assert listed == said("excluded")
    assert all(said_by_code.is_said(word, "outcomes") for word in listed)


def test_every_word_of_a_closed_list_has_a_sentence() -> None:
    headings = re.findall(r"^## (.*)$", REASONS.read_text("utf-8"), re.MULTILINE)
    rows = [row for heading in headings for row in table(REASONS, heading)]
    assert len(rows) > 80
    assert [word for word, sentence in rows if not sentence.endswith(".")] == []


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("records/subjects.csv", Subject),
        ("records/measurements.csv", Measurement),
        ("records/transplants.csv", Transplant),
        ("records/findings.csv", Finding),
        ("records/set_aside.csv", SetAside),
        ("outcomes/analysis.csv", Analysis),
        ("outcomes/by_subject.csv", Outcome),
        ("outcomes/by_visit.csv", VisitSummary),
        ("outcomes/endpoints.csv", Answer),
    ],
)
def test_every_column_of_every_file_is_listed_in_its_order(heading: str, kind: type) -> None:
    assert tuple(first_cells(FILES, heading)) == tables.COLUMNS[kind]
    with (GOLDEN / heading).open(encoding="utf-8", newline="") as lines:
        assert tuple(next(csv.reader(lines))) == tables.COLUMNS[kind]


def test_every_file_of_the_stages_has_its_list() -> None:
    headings = re.findall(
        r"^## (records/\w+\.csv|outcomes/\w+\.csv)$", FILES.read_text("utf-8"), re.MULTILINE
    )
    assert len(headings) == len(tables.COLUMNS)


def test_the_files_that_a_study_hands_in_are_listed() -> None:
    assert tuple(first_cells(FILES, "reviews.csv")) == reviews.COLUMNS
    assert set(first_cells(FILES, "FILE.csv of `fhir-msct load`")) == {*load.COLUMNS, *load.OPTIONAL}


def test_the_mapping_shown_beside_resource_and_record_is_the_shipped_one() -> None:
    (body,) = [block.text for block in blocks(DOCS / "mapping.md") if block.info == "observation"]
    (record,) = Mapping.load().read(body).records
    template = re.sub(r"\s+", " ", (data.mappings() / "measurement.json").read_text("utf-8"))
    rows = table(DOCS / "mapping.md", "The resource, the mapping and the record, side by side")
    shown: dict[str, str] = {}
    for _, mapping, fields in rows:
        assert all(part in template for part in re.findall(r"`([^`]+)`", mapping))
        shown |= dict(re.findall(r"`(\w+)` = `([^`]+)`", fields))
    cells = {name: tables.column_cell(name, getattr(record, name)) for name in shown}
    assert cells == shown
    assert len(shown) > 15


def test_every_mapping_file_has_its_row() -> None:
    listed = [
        name for first in first_cells_of_files() for name in re.findall(r"[\w-]+\.(?:json|csv|toml)", first)
    ]
    assert sorted(listed) == sorted(path.name for path in data.mappings().iterdir() if path.suffix != ".md")
    assert {f"{name}.csv" for name in TABLES} <= set(listed)


def first_cells_of_files() -> list[str]:
    """The first cells of both tables under "The files"."""
    lines = section(DOCS / "mapping.md", "The files").splitlines()
    return [line.split("|")[1] for line in lines if line.startswith("| `")]


def test_every_rule_has_its_paragraph() -> None:
    listed = re.findall(r"\*\*(D\d+)", (DOCS / "outcomes.md").read_text("utf-8"))
    assert sorted(listed, key=lambda rule: int(rule[1:])) == [f"D{number}" for number in range(1, 26)]


def test_the_visits_shown_are_those_of_the_plan() -> None:
    text = re.sub(r"\s+", " ", (DOCS / "outcomes.md").read_text("utf-8"))
    for visit in plans.load().visits:
        assert re.search(
            rf"{visit.name} (days )?{visit.start}-{visit.stop} \((target )?{visit.target}\)", text
        ), visit.name
    assert f"Up to {plans.load().course.repeat_within_days} days" in text


def test_the_examples_of_the_python_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fixtures").symlink_to(GOLDEN)
    monkeypatch.chdir(tmp_path)
    text = "\n".join(block.text for block in blocks(DOCS / "python.md") if block.language == "pycon")
    examples = doctest.DocTestParser().get_doctest(text, {}, "docs/python.md", None, 0)
    said_wrong: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = doctest.DocTestRunner().run(examples, out=said_wrong.append)
    assert result.attempted > 25
    assert result.failed == 0, "".join(said_wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert lost == []


def test_no_licensed_procedure_code_is_shipped() -> None:
    for path in sorted(data.mappings().iterdir()):
        assert "ama-assn.org" not in path.read_text("utf-8"), path.name


def test_every_decision_has_a_number_a_date_and_a_reason() -> None:
    notes = sorted((DOCS / "decisions").glob("0*.md"))
    assert [path.name[:4] for path in notes] == [f"{number:04}" for number in range(1, len(notes) + 1)]
    for path in notes:
        assert re.match(
            rf"# {path.name[:4]} .+\n\n20\d\d-\d\d-\d\d\n\n.{{100}}", path.read_text("utf-8"), re.DOTALL
        )
