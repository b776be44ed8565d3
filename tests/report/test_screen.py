"""The first screen: what a trialist reads in a terminal."""

import json
from pathlib import Path

from fhir_msct.plan import Plan
from fhir_msct.report.screen import screen
from fhir_msct.report.study_files import read


def test_the_first_line_says_that_the_data_are_invented(study: Path, plan: Plan) -> None:
    assert screen(read(study, plan)).startswith("SYNTHETIC DATA")


def test_it_is_ascii_and_at_most_a_hundred_columns_wide(study: Path, plan: Plan) -> None:
    text = screen(read(study, plan), pull=["word " * 60], push=["word " * 60], then=["fhir-msct report x"])
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 100
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_a_visit_is_one_line_with_count_medians_change_interval_and_p(study: Path, plan: Plan) -> None:
    text = screen(read(study, plan))
    (line,) = [line for line in text.splitlines() if "-1003" in line]
    assert line.split() == ["M6", "2/3", "1291", "288", "-1003", "(-1575", "to", "-420)", "0.0020", "1m"]
    assert "m missing" in text


def test_the_name_of_a_parameter_stands_beside_its_first_visit(study: Path, plan: Plan) -> None:
    lines = screen(read(study, plan)).splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("  CK, U/L"))
    assert lines[first].split() == ["CK,", "U/L", "BASELINE", "3/3", "1681"]
    assert lines[first + 1].startswith("  lower better  W1")


def test_a_subject_treated_twice_has_both_dates_on_one_line(study: Path, plan: Plan) -> None:
    (line,) = [line for line in screen(read(study, plan)).splitlines() if line.startswith("  s3")]
    assert "2012-03-01" in line
    assert "again 2012-12-01" in line
    assert "umbilical cord, 35 million cells" in line


def test_what_was_refused_is_named_with_its_reason(study: Path, plan: Plan) -> None:
    text = screen(read(study, plan))
    assert "Procedure/hsct: a transplant, not of MSC" in text
    assert "Condition/z9484: only history, no infusion" in text
    assert "waiting  Procedure/maybe: words only" in text


def test_an_endpoint_without_an_answer_is_no_event_but_something_the_data_cannot_say(
    study: Path, plan: Plan
) -> None:
    before, after = screen(read(study, plan)).split("THESE DATA CANNOT SAY")
    assert "Serious adverse events" not in before
    assert "Serious adverse events" in after


def test_partial_stands_on_every_heading(study: Path, plan: Plan) -> None:
    path = study / "records/accounting.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"complete": False}), "utf-8")
    text = screen(read(study, plan))
    for heading in ("TREATED", "BEFORE AND AFTER", "RESPONDERS", "EVENTS", "SET ASIDE", "THESE DATA"):
        (line,) = [line for line in text.splitlines() if line.startswith(heading)]
        assert line.endswith("[PARTIAL]")


def test_what_the_pull_and_the_push_report_stands_under_their_names(study: Path, plan: Plan) -> None:
    text = screen(read(study, plan), pull=["44 received"], push=["12 written", "again: 0"], then=["do this"])
    assert "pull       44 received" in text
    assert "push       12 written\n           again: 0" in text
    assert text.endswith("NEXT\n  do this\n")


def test_what_was_set_aside_is_counted_in_few_words_with_what_varies(study: Path, plan: Plan) -> None:
    text = " ".join(screen(read(study, plan)).partition("SET ASIDE: 4 resources")[2].split())
    assert "1 in a unit that is not listed" in text
    assert "1 with status entered-in-error" in text


def test_a_share_of_all_infused_stands_under_its_question(study: Path, plan: Plan) -> None:
    (line,) = [line for line in screen(read(study, plan)).splitlines() if line.startswith("  CK  3/3")]
    assert "3/3 = 100 % (29.2 to 100)" in line
    assert "2/3 = 66.7 % (9.4 to 99.2)" in line


def test_recurrence_names_the_subject_and_the_day(study: Path, plan: Plan) -> None:
    (line,) = [line for line in screen(read(study, plan)).splitlines() if line.startswith("  Recurrence")]
    assert line.endswith("1/3 = 33.3 % (0.8 to 90.6): s3 2012-11-15")
