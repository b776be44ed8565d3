"""The report: one file, readable by everybody, every number from a file."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from fhir_msct.errors import InputError
from fhir_msct.plan import Plan
from fhir_msct.report.page import page
from fhir_msct.report.study_files import read
from fhir_msct.report.words import word
from report.html_tables import Html

VALUES = "CK, course 1: values in U/L"
CHANGE = "CK, course 1: change from baseline in U/L"


def html(study: Path, plan: Plan, *, stale: tuple[str, ...] = ()) -> str:
    return page(read(study, plan, stale=stale))


def edit(path: Path, row: int, **cells: str) -> None:
    """Change cells of one row of a CSV file."""
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    assert set(cells) <= set(rows[row])
    rows[row] |= cells
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(out.getvalue(), "utf-8")


def test_the_same_files_give_the_same_bytes(study: Path, plan: Plan) -> None:
    assert html(study, plan) == html(study, plan)


def test_the_clock_of_a_run_is_not_in_the_report(study: Path, plan: Plan) -> None:
    before = html(study, plan)
    path = study / "outcomes/run.json"
    path.write_text(path.read_text("utf-8").replace("2026-01-02T03:04", "2031-05-06T07:08"), "utf-8")
    assert html(study, plan) == before


def test_the_page_fetches_nothing_and_runs_nothing(study: Path, plan: Plan) -> None:
    text = html(study, plan)
    tags = Html(text).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base"})
    for tag, attributes in tags:
        fetched = [attributes[name] or "" for name in ("src", "href", "xlink:href") if name in attributes]
        assert all(address.startswith("#") for address in fetched), tag
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text


def test_every_table_has_a_caption_and_headings_with_a_scope(study: Path, plan: Plan) -> None:
    parsed = Html(html(study, plan))
    tables = [tag for tag, _ in parsed.tags if tag == "table"]
    assert len(parsed.captions) == len(tables) > 10
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in parsed.tags if tag == "th")


def test_ids_are_unique_and_every_link_has_its_target(study: Path, plan: Plan) -> None:
    tags = Html(html(study, plan)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    links = [(attributes["href"] or "")[1:] for _, attributes in tags if "href" in attributes]
    assert len(ids) == len(set(ids))
    assert links
    assert set(links) <= set(ids)


def test_a_picture_says_in_words_what_it_shows(study: Path, plan: Plan) -> None:
    pictures = [attributes for tag, attributes in Html(html(study, plan)).tags if tag == "svg"]
    assert len(pictures) == 1
    assert pictures[0]["role"] == "img"
    assert "CK of 3 subjects" in (pictures[0]["aria-label"] or "")


def test_text_from_a_server_stays_text(study: Path, plan: Plan) -> None:
    text = html(study, plan)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text


def test_synthetic_data_are_called_so_above_everything(study: Path, plan: Plan) -> None:
    text = html(study, plan)
    assert text.index("SYNTHETIC DATA") < text.index("<h1>")


def test_partial_stands_on_every_table_when_a_stage_is_not_complete(study: Path, plan: Plan) -> None:
    assert "PARTIAL" not in html(study, plan)
    path = study / "records/run.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"complete": False}), "utf-8")
    captions = Html(html(study, plan)).captions
    assert captions
    assert all(caption.startswith("PARTIAL ") for caption in captions)


def test_a_run_that_does_not_say_that_it_is_complete_is_partial(study: Path, plan: Plan) -> None:
    path = study / "outcomes/run.json"
    document = json.loads(path.read_text("utf-8"))
    del document["complete"]
    path.write_text(json.dumps(document), "utf-8")
    assert "PARTIAL: " in html(study, plan)


def test_stale_stands_on_every_table_when_an_input_changed(study: Path, plan: Plan) -> None:
    captions = Html(html(study, plan, stale=("outcomes",))).captions
    assert all(caption.startswith("STALE ") for caption in captions)


ONE_CELL = [
    ("n", "3", {(VALUES, "M6", "n/due"), (CHANGE, "M6", "remarks")}),
    ("n_infused", "4", {(VALUES, "M6", "n/due")}),
    ("not_due", "1", {(VALUES, "M6", "n/due"), (VALUES, "M6", "remarks")}),
    ("retreated", "1", {(VALUES, "M6", "remarks")}),
    ("missing", "2", {(VALUES, "M6", "remarks")}),
    ("mean", "301", {(VALUES, "M6", "mean")}),
    ("sd", "12.3", {(VALUES, "M6", "SD")}),
    ("median", "301", {(VALUES, "M6", "median")}),
    ("pair_median", "301", {(CHANGE, "M6", "median after")}),
    ("pair_base_median", "1234", {(CHANGE, "M6", "median before")}),
    ("base_n", "1", {(CHANGE, "M6", "remarks")}),
    ("chg_n", "3", {(CHANGE, "M6", "pairs")}),
    ("chg_mean", "-1001", {(CHANGE, "M6", "mean change")}),
    ("chg_sd", "77.7", {(CHANGE, "M6", "SD")}),
    ("chg_median", "-1004", {(CHANGE, "M6", "median change")}),
    ("pchg_median", "-80.5", {(CHANGE, "M6", "median % change")}),
    ("estimate", "-999", {(CHANGE, "M6", "Hodges-Lehmann change")}),
    ("ci_lo", "-1600", {(CHANGE, "M6", "interval")}),
    ("ci_hi", "-400", {(CHANGE, "M6", "interval")}),
    ("conf", "0.96", {(CHANGE, "M6", "level")}),
    ("p", "0.03125", {(CHANGE, "M6", "p (signed-rank)")}),
    ("t_p", "0.04", {(CHANGE, "M6", "p (t)")}),
    ("gmr", "0.33", {(CHANGE, "M6", "ratio of geometric means")}),
    ("gmr_hi", "0.5", {(CHANGE, "M6", "ratio of geometric means")}),
]


@pytest.mark.parametrize(("column", "value", "cells"), ONE_CELL, ids=[case[0] for case in ONE_CELL])
def test_a_number_changed_in_the_file_changes_exactly_its_cells(
    study: Path, plan: Plan, column: str, value: str, cells: set[tuple[str, str, str]]
) -> None:
    before = Html(html(study, plan)).cells
    edit(study / "outcomes/by_visit.csv", 2, **{column: value})
    after = Html(html(study, plan)).cells
    assert after.keys() == before.keys()
    assert {key for key in before if before[key] != after[key]} == cells


def test_an_answer_changed_in_the_file_changes_its_sentence_and_its_row(study: Path, plan: Plan) -> None:
    before = html(study, plan).splitlines()
    edit(study / "outcomes/endpoints.csv", 1, x="1")
    after = html(study, plan).splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 2
    assert all("2/3 = 66.7 %" in old and "1/3 = 33.3 %" in new for old, new in changed)


def test_every_row_of_the_endpoints_file_has_its_row_in_the_page(study: Path, plan: Plan) -> None:
    rows = [
        line.partition(",")[0] for line in (study / "outcomes/endpoints.csv").read_text("utf-8").splitlines()
    ]
    text = html(study, plan)
    table = text[text.index("<caption>Endpoints") : text.index("<caption>What each endpoint means")]
    assert re.findall(r'<th scope="row"[^>]*>([^<]*)</th>', table) == rows[1:]


def test_an_endpoint_without_an_answer_says_why_in_words(study: Path, plan: Plan) -> None:
    cells = Html(html(study, plan)).cells
    asked = {
        row: cell for (caption, row, _), cell in cells.items() if caption == "What these data cannot support"
    }
    assert asked == {
        "never measured, as far as these data say": plan.parameters["PTGNRS"].param,
        word("reason", "no_safety_source"): "Serious adverse events",
    }


def test_one_infusion_told_by_two_resources_is_one_row_with_both_sources(study: Path, plan: Plan) -> None:
    text = html(study, plan)
    assert "Procedure/t3/_history/1; MedicationAdministration/m3/_history/1" in text
    assert Html(text).cells["Patients", "infused again in a second course", "number"] == "1"


def test_an_infusion_that_waits_for_review_is_listed_and_not_counted(study: Path, plan: Plan) -> None:
    cells = Html(html(study, plan)).cells
    assert cells["Not counted as MSCT", "Procedure/maybe/_history/1", "decision"] == "not counted"
    assert cells["Subjects", "s2", "second MSCT"] == "-"


def test_resources_that_do_not_add_up_are_shouted(study: Path, plan: Plan) -> None:
    path = study / "records/accounting.json"
    assert "DO NOT ADD UP" not in html(study, plan)
    path.write_text(path.read_text("utf-8").replace('"mapped": 8', '"mapped": 7'), "utf-8")
    assert "DO NOT ADD UP" in html(study, plan)


def test_a_study_without_any_value_still_has_a_report(study: Path, plan: Plan) -> None:
    for name in ("analysis", "by_visit", "by_subject", "endpoints"):
        path = study / f"outcomes/{name}.csv"
        path.write_text(path.read_text("utf-8").splitlines()[0] + "\n", "utf-8")
    assert "Nothing was measured." in html(study, plan)


def test_a_missing_file_is_named_with_what_to_do(study: Path, plan: Plan) -> None:
    (study / "outcomes/by_visit.csv").unlink()
    with pytest.raises(InputError, match=r"by_visit\.csv does not exist: run"):
        html(study, plan)


def test_a_broken_accounting_is_named(study: Path, plan: Plan) -> None:
    (study / "records/accounting.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match=r"accounting\.json is not JSON"):
        html(study, plan)


def test_a_parameter_of_one_subject_is_in_the_tables_and_not_among_the_highlights(
    study: Path, plan: Plan
) -> None:
    highlights = "CK: at least 20 % better at M6 in 2/3"
    assert highlights in html(study, plan)
    edit(study / "outcomes/endpoints.csv", 2, n="1", x="1")
    assert highlights not in html(study, plan)
    assert "1/1 = 100 %" in html(study, plan)


def test_a_visit_without_values_is_named_and_has_no_row_of_dashes(study: Path, plan: Plan) -> None:
    edit(study / "outcomes/by_visit.csv", 2, n="0", chg_n="0")
    text = html(study, plan)
    assert (VALUES, "M6", "mean") not in Html(text).cells
    assert "Nobody was measured at M6." in text


def test_what_limits_a_change_stands_beside_the_change(study: Path, plan: Plan) -> None:
    cells = Html(html(study, plan)).cells
    assert cells[CHANGE, "W1", "remarks"] == word("flag", "cannot_reach_05")
    assert cells[VALUES, "W1", "remarks"] == word("flag", "cens:1")


def test_the_first_chapter_says_what_changed_by_how_much_and_how_certain_that_is(
    study: Path, plan: Plan
) -> None:
    said = (
        "CK at M6: median 1291 before, 288 after, in 2 subjects; Hodges-Lehmann change -1003 U/L "
        "(-1575 to -420), p 0.0020; 1 beyond the detection limit, taken at the limit."
    )
    assert said in html(study, plan)
    assert "Brackets hold 95 % intervals; p-values are nominal" in html(study, plan)


def test_who_has_a_value_and_no_baseline_is_counted_beside_the_change(study: Path, plan: Plan) -> None:
    edit(study / "outcomes/by_visit.csv", 2, n="3")
    assert Html(html(study, plan)).cells[CHANGE, "M6", "remarks"] == "1 without a baseline"


def test_a_value_beyond_a_limit_is_shown_as_one(study: Path, plan: Plan) -> None:
    assert "900 to &lt;45: yes" in html(study, plan)


def test_each_course_is_a_chapter_of_its_own(study: Path, plan: Plan) -> None:
    assert 'id="course-2"' not in html(study, plan)
    edit(study / "outcomes/by_visit.csv", 2, course="2")
    parsed = Html(html(study, plan))
    assert "CK, course 2: values in U/L" in parsed.captions
    assert {"course-1", "course-2"} <= {attributes.get("id") for _, attributes in parsed.tags}


def test_every_rule_that_decided_a_number_is_said_with_the_plans_own_numbers(study: Path, plan: Plan) -> None:
    text = html(study, plan)
    assert f"Up to {plan.course.repeat_within_days} days" in text
    assert "M6 day 153 to 213 (target 183)" in text
    assert "{" not in text.partition("How it was computed")[2]
