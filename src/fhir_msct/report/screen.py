"""The terminal's first screen: the trial as plain ASCII text, at most 100 columns wide."""

from collections.abc import Iterable, Sequence
from textwrap import TextWrapper

from fhir_msct.plan import Endpoint, Parameter
from fhir_msct.records import Subject
from fhir_msct.report import answers, flow, highlights, people, visits
from fhir_msct.report.rounding import ABSENT, interval, p_value, percent, statistic
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import counted, listed
from fhir_msct.report.words import table, unit, word
from fhir_msct.results import VisitSummary

WIDTH = 100
LABEL = 11
"""Width of the first column of the lines that begin with a word."""


def screen(
    files: StudyFiles, *, pull: Sequence[str] = (), push: Sequence[str] = (), then: Sequence[str] = ()
) -> str:
    """All of it. `pull` and `push` say what those stages reported; `then` is what to type next."""
    blocks = [
        _head(files),
        [*_labelled("pull", pull), *_labelled("records", [highlights.resources_line(files)])],
        _treated(files),
        _visits(files),
        _responders(files),
        _events(files),
        _set_aside(files),
        _unsupported(files),
        [*_labelled("push", push)],
        ["NEXT", *(f"  {line}" for line in then)] if then else [],
    ]
    lines = "\n\n".join("\n".join(block) for block in blocks if block).split("\n")
    text = "\n".join(line.rstrip() for line in lines)
    return text.encode("ascii", "replace").decode("ascii") + "\n"


def _head(files: StudyFiles) -> list[str]:
    """Warnings, then the study."""
    cut = f"; data cut {files.data_cut}" if files.data_cut not in ("", "none") else ""
    lines = [line for banner in highlights.banners(files) for line in _wrap(banner)]
    return [*lines, *_wrap(f"{files.plan.study.title or files.plan.study.id}{cut}")]


def _treated(files: StudyFiles) -> list[str]:
    """One line a subject: when and with what; then what was refused."""
    known = {row.usubjid: row for row in files.subjects}
    rows = []
    for usubjid, courses in people.openings(files).items():
        first = courses[0]
        what = ", ".join(part for part in (first.product, first.cells, first.dose) if part)
        again = [f"repeat {date}" for date in people.repeats(files, usubjid)]
        again += [f"again {infusion.date}" for infusion in courses[1:]] + _died(known.get(usubjid))
        rows.append((usubjid, _person(known.get(usubjid)), first.date, what, ", ".join(again)))
    title = _title(files, f"TREATED: {highlights.treated_line(files)}")
    return [title, *_columns(rows), *_refused(files)]


def _person(subject: Subject | None) -> str:
    if subject is None:
        return ""
    age = "" if subject.age is None else str(subject.age)
    return " ".join(part for part in (subject.dx, word("sex", subject.sex or ""), age) if part)


def _refused(files: StudyFiles) -> list[str]:
    """The look-alikes of an infusion, those with one reason together."""
    why: dict[str, list[str]] = {}
    for row in people.refused(files):
        why.setdefault(word("refused", row.reason), []).append(f"{row.type}/{row.id}")
    said = [f"{listed(places)}: {reason}" for reason, places in why.items()]
    waiting = ["/".join(row.source.split("/")[:2]) for row in people.waiting(files)]
    review = [f"{listed(waiting)}: words only; awaits reviews.csv"] if waiting else []
    return _labelled("  refused", said) + _labelled("  waiting", review)


def _died(subject: Subject | None) -> list[str]:
    day = people.died_on(subject) if subject else ""
    return [f"died {day}" if day != "yes" else "died"] if day else []


def _visits(files: StudyFiles) -> list[str]:
    """Before and after at each visit of the first course, the parameters with the most values first."""
    shown = _shown(files)
    if not shown:
        return []
    conf = percent(files.plan.statistics.conf)
    rows: list[tuple[str, ...]] = [
        ("", "visit", "n/due", "before", "after", f"change ({conf} % interval)", "p", "")
    ]
    for paramcd, summaries in shown.items():
        rows += _visit_rows(files.plan.parameters[paramcd], summaries)
    title = "BEFORE AND AFTER the first MSCT: medians, Hodges-Lehmann change, signed-rank p (nominal)"
    lines = [*_columns(rows, right=range(2, 7)), *_key(files, rows), *_others(files, shown)]
    return [_title(files, title), *lines]


def _shown(files: StudyFiles) -> dict[str, list[VisitSummary]]:
    """The first course: parameters with an interval at some visit, then of others the visit asked about."""
    held = {code: rows for (code, course), rows in visits.summaries(files).items() if course == 1}
    many = {code: rows for code, rows in held.items() if any(row.conf is not None for row in rows)}
    asked = {endpoint.avisit for endpoint in files.plan.endpoints if endpoint.rule == "change"}
    few = {
        code: [row for row in rows if row.avisit in asked and (row.chg_n or 0) >= highlights.FEWEST]
        for code, rows in held.items()
        if code not in many
    }
    return many | {code: rows for code, rows in few.items() if rows}


def _others(files: StudyFiles, shown: Iterable[str]) -> list[str]:
    """Parameters that are in the report alone."""
    held = [code for code, course in visits.summaries(files) if course == 1]
    others = [code for code in held if code not in shown]
    return (
        _paragraph(f"{listed(others)}: in fewer than {highlights.FEWEST} subjects, see the report")
        if others
        else []
    )


def _visit_rows(parameter: Parameter, rows: Iterable[VisitSummary]) -> list[tuple[str, ...]]:
    """Each visit with a value; the parameter stands beside the first of them."""
    is_score = parameter.study_unit.startswith("{")
    scale = f"0-{parameter.high}" if is_score and parameter.high else unit(parameter.study_unit)
    better = f"{parameter.direction} better" if parameter.direction else ""
    held = [row for row in rows if row.n]
    sides = [f"{parameter.paramcd}, {scale}", better, *[""] * len(held)]
    return [(side, *_visit_row(row)) for side, row in zip(sides, held, strict=False)]


def _visit_row(row: VisitSummary) -> tuple[str, ...]:
    signs = " ".join(visits.signs(row))
    if row.avisit == visits.BASELINE:
        return row.avisit, visits.due(row), statistic(row.median), "", "", "", signs
    between = interval(row.ci_lo, row.ci_hi)
    change = statistic(row.estimate) + (f" ({between})" if between else "")
    before, after = statistic(row.pair_base_median), statistic(row.pair_median)
    return row.avisit, visits.due(row), before, after, change, p_value(row.p), signs


def _key(files: StudyFiles, rows: Iterable[tuple[str, ...]]) -> list[str]:
    """What the signs that were used mean."""
    used = {sign[-1] for row in rows for sign in row[-1].split()}
    said = [f"{sign} {text}" for sign, text in table("key").items() if sign in used]
    return _paragraph("; ".join(said).format(fewest=files.plan.statistics.min_ci_n)) if said else []


def _responders(files: StudyFiles) -> list[str]:
    """A line a parameter, a column a family of shares."""
    families = [row for row in files.plan.endpoints if row.rule in ("ever_better", "response")]
    shown = [code for code in _shown(files) if any(code in row.paramcds for row in families)]
    if not shown:
        return []
    rows = [("", *(_family_title(row) for row in families))]
    rows += [(code, *(_share(files, row, code) for row in families)) for code in shown]
    conf = percent(files.plan.statistics.conf)
    title = (
        f"RESPONDERS of all infused, enzymes: of those above normal before ({conf} % interval; missing = no)"
    )
    return [_title(files, title), *_columns(rows)]


def _family_title(endpoint: Endpoint) -> str:
    if endpoint.rule == "ever_better":
        return "better at any visit"
    at = f">= {endpoint.threshold} % better at {endpoint.avisit}"
    return f"the same after 2nd MSCT ({endpoint.avisit})" if endpoint.course > 1 else at


def _share(files: StudyFiles, endpoint: Endpoint, code: str) -> str:
    row = answers.of_all(answers.family(files, endpoint, code))
    return ABSENT if row is None or row.status == answers.NO_ANSWER else answers.text(row)


def _events(files: StudyFiles) -> list[str]:
    lines = highlights.event_lines(files)
    said = [(name, answer) for name, answer in lines if not answer.startswith(answers.NO_ANSWER)]
    return [_title(files, "EVENTS"), *_columns(said)] if said else []


def _set_aside(files: StudyFiles) -> list[str]:
    said = "; ".join(flow.set_aside_briefly(files))
    total = counted(len(files.set_aside), "resource")
    title = _title(files, f"SET ASIDE: {total}, not used and not lost")
    return [title, *_paragraph(said)] if said else []


def _unsupported(files: StudyFiles) -> list[str]:
    rows = answers.unanswered(files).rows
    said = [f"{asked}: {why}" for why, asked in rows]
    said.append("whether MSCT was the cause: everybody was treated, there is no control group")
    return [_title(files, "THESE DATA CANNOT SAY"), *_items(said)]


def _paragraph(text: str) -> list[str]:
    return _wrap(text, "  ", "  ")


def _items(said: Iterable[str]) -> list[str]:
    return [line for text in said for line in _wrap(text, "  - ", "    ")]


def _wrap(text: str, first: str = "", others: str = "") -> list[str]:
    """Lines of a text behind these indents; a word with hyphens stays whole."""
    return TextWrapper(WIDTH, first, others, break_on_hyphens=False).wrap(text)


def _labelled(label: str, said: Sequence[str]) -> list[str]:
    """Lines under one label, which stands before the first."""
    lines: list[str] = []
    for text in said:
        head = label.ljust(LABEL) if not lines else " " * LABEL
        lines += _wrap(text, head, " " * LABEL)
    return lines


def _title(files: StudyFiles, text: str) -> str:
    mark = highlights.mark(files)
    return f"{text} [{mark}]" if mark else text


def _columns(rows: Sequence[tuple[str, ...]], right: Iterable[int] = ()) -> list[str]:
    """One text a row, cells under each other; a last cell that is too long goes on below itself."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))] if rows else []
    flush = set(right)
    texts = []
    for *cells, last in rows:
        placed = [
            text.rjust(widths[n]) if n in flush else text.ljust(widths[n])
            for n, text in enumerate(cells)
            if widths[n]
        ]
        lead = "  " + "  ".join(placed) + "  "
        texts.append("\n".join(_wrap(last, lead, " " * len(lead)) or [lead]))
    return texts
