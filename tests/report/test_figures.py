"""The picture shows who was treated again, and when."""

import re
from pathlib import Path

import pytest

from fhir_msct.plan import Plan
from fhir_msct.records import Transplant
from fhir_msct.report.figures import ONE_COURSE, RETREATED, figures
from fhir_msct.report.study_files import read
from fhir_msct.results import Analysis
from fhir_msct.tables import csv_bytes, read_csv


def picture(study: Path, plan: Plan) -> str:
    (panel,) = figures(read(study, plan))
    return panel.svg


def lines(svg: str, colour: str) -> int:
    """Lines are drawn with a stroke, in one group a colour."""
    return len(re.findall(rf'<path d="M[^"]*L[^"]*" stroke="{colour}"', svg))


def triangles(svg: str) -> int:
    """The only symbols that are filled without being a point of a line."""
    group = svg.rpartition('class="mark-symbol')[2].partition("</g>")[0]
    return len(re.findall(rf'fill="{RETREATED}"', group)) if "layer_2_marks" in group else 0


def heights(svg: str) -> dict[str, float]:
    """The numbers along the vertical axis, and how far down each stands."""
    found = re.findall(r'<text text-anchor="end" transform="translate\([^,]*,([\d.]+)\)[^>]*>([^<]+)<', svg)
    return {text: float(down) for down, text in found}


def test_there_is_one_line_a_subject_and_a_triangle_for_each_second_infusion(study: Path, plan: Plan) -> None:
    svg = picture(study, plan)
    assert (lines(svg, ONE_COURSE), lines(svg, RETREATED), triangles(svg)) == (2, 1, 1)


def test_without_a_second_infusion_there_is_no_triangle(study: Path, plan: Plan) -> None:
    path = study / "records/transplants.csv"
    once = [row for row in read_csv(path, Transplant) if row.course == 1]
    path.write_bytes(csv_bytes(once, Transplant))
    svg = picture(study, plan)
    assert (lines(svg, ONE_COURSE), lines(svg, RETREATED), triangles(svg)) == (3, 0, 0)


def test_a_value_that_was_not_chosen_is_not_drawn(study: Path, plan: Plan) -> None:
    path = study / "outcomes/analysis.csv"
    before = picture(study, plan)
    loser = Analysis(usubjid="s1", paramcd="CK", course=1, adt=None, ady=20, aval=None, why_not="no_adt")
    path.write_bytes(csv_bytes([*read_csv(path, Analysis), loser], Analysis))
    assert picture(study, plan) == before


def test_a_zero_is_drawn_although_it_has_no_logarithm(study: Path, plan: Plan) -> None:
    path = study / "outcomes/analysis.csv"
    path.write_text(path.read_text("utf-8").replace(",175,U/L", ",0,U/L"), "utf-8")
    down = heights(picture(study, plan))
    assert down["0"] - down["1000"] == pytest.approx(down["1000"] - down["2000"], abs=1)


def test_enzymes_are_drawn_on_a_logarithmic_scale(study: Path, plan: Plan) -> None:
    down = heights(picture(study, plan))
    assert down["200"] - down["400"] == pytest.approx(down["1000"] - down["2000"], abs=1)
    assert down["200"] - down["400"] > 10
