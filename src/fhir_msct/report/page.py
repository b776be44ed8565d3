"""`report.html`: one file that holds everything, without script and without network.

It reads on a telephone and in print, in light and in dark, with a screen reader too. The same study
files give the same bytes.
"""

from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from fhir_msct.report import answers, flow, highlights, methods, people, visits, words
from fhir_msct.report.figures import figures
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import Table

TEMPLATE = Path(__file__).with_name("page.html")


class Section(Struct, frozen=True, kw_only=True):
    """One chapter of the page."""

    key: str
    title: str
    text: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[tuple[str, Markup], ...] = ()


def page(files: StudyFiles) -> str:
    """The whole report as one HTML document."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=files.plan.study.title or files.plan.study.id,
        facts=methods.facts(files),
        banners=highlights.banners(files),
        mark=highlights.mark(files),
        sections=sections(files),
    )


def sections(files: StudyFiles) -> list[Section]:
    """The chapters in reading order."""
    return [
        Section(
            key="short",
            title="In short",
            text=(methods.short_text(files),),
            lines=tuple(highlights.lines(files)),
        ),
        _figure_section(files),
        Section(
            key="treated",
            title="Who was treated",
            tables=(
                *(flow.subjects_flow(files), people.subjects_table(files)),
                *(people.infusions_table(files), people.refused_table(files)),
            ),
        ),
        *_course_sections(files),
        Section(
            key="answers",
            title="The trial's questions",
            text=(words.table("text")["answers"],),
            tables=(answers.endpoints_table(files), answers.rules_table(files), *_subject_tables(files)),
        ),
        Section(
            key="not",
            title="What these data cannot support",
            tables=(answers.unanswered(files),),
        ),
        Section(key="bias", title="Before you believe it", lines=tuple(words.table("bias")["lines"])),
        Section(
            key="flow",
            title="What became of every resource",
            text=(words.table("text")["flow"],),
            tables=(
                *(flow.resources_table(files), flow.set_aside_table(files)),
                *(flow.set_aside_list(files), flow.out_of_scope_table(files)),
            ),
        ),
        Section(key="methods", title="How it was computed", lines=tuple(methods.sentences(files))),
        Section(key="provenance", title="Where this report comes from", tables=methods.provenance(files)),
    ]


def _figure_section(files: StudyFiles) -> Section:
    drawn = tuple((panel.title, Markup(panel.svg)) for panel in figures(files))  # noqa: S704 (drawn by us)
    text = (words.table("text")["figure"],) if drawn else ("Nothing was measured.",)
    return Section(key="figure", title="Each subject over time", text=text, figures=drawn)


def _course_sections(files: StudyFiles) -> list[Section]:
    """Values and changes of each parameter, a chapter a course: courses are never pooled."""
    courses: dict[int, list[Table]] = {}
    for (paramcd, course), rows in visits.summaries(files).items():
        parameter = files.plan.parameters[paramcd]
        tables = courses.setdefault(course, [])
        tables += [visits.values_table(parameter, course, rows), visits.change_table(parameter, course, rows)]
    return [
        Section(
            key=f"course-{course}",
            title=f"Before and after: course {course}",
            text=(methods.visit_text(files), words.table("text")["change"]),
            tables=tuple(tables),
        )
        for course, tables in courses.items()
    ]


def _subject_tables(files: StudyFiles) -> list[Table]:
    """Each subject's own response, before and after, for the endpoints that compare two values."""
    compared = [endpoint for endpoint in files.plan.endpoints if endpoint.rule == "response"]
    tables = [answers.subject_answers(files, endpoint) for endpoint in compared]
    return [table for table in tables if table.rows]
