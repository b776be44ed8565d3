"""The figure: each subject's values over time, for each parameter, as SVG inside the page.

Vega-Lite (https://vega.github.io/vega-lite/) draws it without a browser and without a network.
Imported lazily: altair and vl_convert are slow to load.
"""

import re
from datetime import date
from html import escape
from typing import Any

import altair
import vl_convert
from msgspec import Struct

from fhir_msct.plan import Parameter
from fhir_msct.report.people import openings
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import counted
from fhir_msct.report.visits import summaries, title
from fhir_msct.report.words import unit
from fhir_msct.results import Analysis

INK = "currentColor"
ONE_COURSE, RETREATED, MEDIAN = "#4f7fb5", "#c8742b", INK
"""Blue for subjects treated once, orange for those treated again: apart in light, dark and grey."""
WIDTH, HEIGHT = 330, 210

altair.data_transformers.disable_max_rows()


class Figure(Struct, frozen=True, kw_only=True):
    """One panel: its heading and its picture, which says in words what it shows."""

    title: str
    svg: str


def figures(files: StudyFiles) -> tuple[Figure, ...]:
    """One panel for each parameter that was measured in more than one subject."""
    shown = [files.plan.parameters[code] for code, course in summaries(files) if course == 1]
    drawn = [(parameter, _chosen(files, parameter)) for parameter in shown]
    return tuple(_figure(files, *panel) for panel in drawn if len({row.usubjid for row in panel[1]}) > 1)


def _chosen(files: StudyFiles, parameter: Parameter) -> list[Analysis]:
    return [row for row in files.analysis if row.paramcd == parameter.paramcd and _is_used(row)]


def _figure(files: StudyFiles, parameter: Parameter, chosen: list[Analysis]) -> Figure:
    words = (
        f"{parameter.paramcd} of {counted(len({row.usubjid for row in chosen}), 'subject')} by day since "
        "the first MSCT, one line a subject; the tables below hold the numbers."
    )
    picture = vl_convert.vegalite_to_svg(_chart(files, parameter, chosen))
    return Figure(title=title(parameter), svg=_inline(picture, words))


def _is_used(row: Analysis) -> bool:
    """Baselines and the values chosen for a visit; both courses."""
    return row.aval is not None and row.ady is not None and "Y" in (row.ablfl, row.anl01fl)


def _chart(files: StudyFiles, parameter: Parameter, chosen: list[Analysis]) -> dict[str, Any]:
    again = {usubjid for usubjid, courses in openings(files).items() if len(courses) > 1}
    points = [
        {
            "subject": row.usubjid,
            "day": row.ady,
            "value": float(row.aval or 0),
            "group": "treated again" if row.usubjid in again else "treated once",
        }
        for row in sorted(chosen, key=lambda row: (row.usubjid, row.ady or 0))
    ]
    scale = altair.Scale(
        type="log" if _is_logarithmic(parameter, points) else "linear", zero=False, nice=False, padding=8
    )
    layers = [
        _infusion_rule(),
        _subject_lines(points, parameter, scale),
        _second_infusions(files, points, scale),
        _medians(files, parameter, scale),
    ]
    chart = altair.layer(*layers).properties(width=WIDTH, height=HEIGHT, background="transparent")
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor=INK, titleColor=INK, domainColor=INK, tickColor=INK, gridColor=INK, gridOpacity=0.12,
        titleFontWeight="normal", labelFontSize=11, titleFontSize=11,
    )  # fmt: skip
    document: dict[str, Any] = chart.to_dict()
    return document


def _is_logarithmic(parameter: Parameter, points: list[dict[str, Any]]) -> bool:
    """Enzymes fall by multiples; a logarithm needs values above zero."""
    return parameter.enzyme and all(point["value"] > 0 for point in points)


def _infusion_rule() -> Any:
    """Day 1, the first MSCT of every subject."""
    rule = altair.Chart({"values": [{"day": 1}]}).mark_rule(color=INK, strokeDash=[4, 3], opacity=0.6)
    return rule.encode(x="day:Q")


def _subject_lines(points: list[dict[str, Any]], parameter: Parameter, scale: Any) -> Any:
    colour = altair.Scale(domain=["treated once", "treated again"], range=[ONE_COURSE, RETREATED])
    chart = altair.Chart({"values": points})
    return chart.mark_line(point=altair.OverlayMarkDef(size=14), strokeWidth=1.2, opacity=0.8).encode(
        x=altair.X("day:Q", title="day since the first MSCT"),
        y=altair.Y(
            "value:Q",
            title=f"{parameter.paramcd} ({unit(parameter.study_unit)})",
            scale=scale,
            axis=altair.Axis(format="~f"),
        ),
        detail="subject:N",
        color=altair.Color("group:N", scale=colour, legend=None),
    )


def _second_infusions(files: StudyFiles, points: list[dict[str, Any]], scale: Any) -> Any:
    """A triangle where a subject was infused again, at the height of the value before it."""
    marks = []
    for usubjid, courses in openings(files).items():
        own = [point for point in points if point["subject"] == usubjid]
        for infusion in courses[1:]:
            day = _study_day(courses[0].date, infusion.date)
            before = [point for point in own if point["day"] <= day]
            marks += [{"day": day, "value": before[-1]["value"]}] if before else []
    chart = altair.Chart({"values": marks})
    mark = chart.mark_point(shape="triangle-down", filled=True, size=90, color=RETREATED, opacity=1)
    return mark.encode(x="day:Q", y=altair.Y("value:Q", scale=scale))


def _medians(files: StudyFiles, parameter: Parameter, scale: Any) -> Any:
    """The median of each visit of course 1, drawn at the visit's target day."""
    targets = {"BASELINE": 1} | {visit.name: visit.target for visit in files.plan.visits}
    rows = summaries(files)[parameter.paramcd, 1]
    marks = [
        {"day": targets[row.avisit], "value": float(row.median)}
        for row in rows
        if row.median is not None and row.avisit in targets
    ]
    line = altair.Chart({"values": marks}).mark_line(color=MEDIAN, strokeWidth=3, opacity=0.85)
    return line.encode(x="day:Q", y=altair.Y("value:Q", scale=scale))


def _study_day(anchor: str, day: str) -> int:
    """Days from the anchor's date on count from 1 (rule D2)."""
    return (date.fromisoformat(day) - date.fromisoformat(anchor)).days + 1


def _inline(svg: str, words: str) -> str:
    """SVG that fits the column it stands in and is one picture to a screen reader; HTML needs no xmlns."""
    svg = re.sub(r' (xmlns(:xlink)?|version|role|aria-[a-z]+)="[^"]*"', "", svg)
    named = f' role="img" aria-label="{escape(words)}"'
    return re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', lambda found: found[1] + named, svg, count=1)
