"""The terminal's first screen: the trial as plain ASCII text, at most 100 columns wide."""

from collections.abc import Iterable, Sequence
from textwrap import wrap

from fhir_msct.plan import Endpoint
from fhir_msct.report import answers, flow, highlights, people, visits
from fhir_msct.report.rounding import ABSENT, interval, p_value, percent, statistic
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import counted
from fhir_msct.report.words import word
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
    lines = [line for banner in highlights.banners(files) for line in wrap(banner, WIDTH)]
    return [*lines, *wrap(f"{files.plan.study.title or files.plan.study.id}{cut}", WIDTH)]


def _treated(files: StudyFiles) -> list[str]:
    """One line a subject: when and with what; then what was refused."""
    known = {row.usubjid: row for row in files.subjects}
    rows = []
    for usubjid, courses in people.openings(files).items():
        first, subject = courses[0], known.get(usubjid)
        what = ", ".join(part for part in (first.product, first.cells, first.dose) if part)
        who = (
            f"{subject.dx or ABSENT} {word('sex', subject.sex or ABSENT)} {subject.age or ABSENT}"
            if subject
            else ""
        )
        again = "; ".join(f"again {infusion.date}" for infusion in courses[1:])
        rows.append((usubjid, who, first.date, what, again, _died(files, usubjid)))
    lines = _columns(rows)
    title = _title(files, f"TREATED   {highlights.treated_line(files)}")
    return [title, *lines, *_refused(files)]


def _refused(files: StudyFiles) -> list[str]:
    said = [f"{row.type}/{row.id}: {word('set_aside', row.reason)}" for row in people.refused(files)]
    said += [f"{row.source}: {word('recognised', row.recognised_by)}" for row in people.waiting(files)]
    return _labelled("  refused", said)


def _died(files: StudyFiles, usubjid: str) -> str:
    died = next((row.dthdt for row in files.subjects if row.usubjid == usubjid), "")
    return f"died {'' if died == 'Y' else died}".rstrip() if died else ""


def _visits(files: StudyFiles) -> list[str]:
    """Before and after at each visit of the first course, a group of lines a parameter."""
    level = percent(files.plan.statistics.conf)
    heads = ("", "n/due", "before", "after", f"change (>= {level} % interval)", "p", "remarks")
    groups = []
    for (paramcd, course), rows in visits.summaries(files).items():
        if course == 1 and any(row.chg_n for row in rows):
            groups.append((visits.title(files.plan.parameters[paramcd]), paramcd, rows))
    if not groups:
        return []
    title = _title(
        files, "BEFORE AND AFTER the first MSCT: medians, Hodges-Lehmann change, exact signed-rank p"
    )
    lines = _columns(
        [heads] + [cells for _, _, rows in groups for cells in _visit_rows(rows)], right=range(1, 6)
    )
    out, rest = [title, lines[0]], iter(lines[1:])
    for name, paramcd, rows in groups:
        out.append(f"{paramcd}: {name}")
        out += [next(rest) for _ in _visit_rows(rows)]
    return out


def _visit_rows(rows: Iterable[VisitSummary]) -> list[tuple[str, ...]]:
    """BASELINE and every visit with a value."""
    return [_visit_row(row) for row in rows if row.n]


def _visit_row(row: VisitSummary) -> tuple[str, ...]:
    if row.avisit == visits.BASELINE:
        return (row.avisit, visits.due(row), statistic(row.median), "", "", "", visits.notes(row, brief=True))
    between = interval(row.ci_lo, row.ci_hi)
    change = statistic(row.estimate) + (f" ({between})" if between else "")
    return (
        *(row.avisit, visits.due(row), statistic(row.base_median), statistic(row.median)),
        *(change, p_value(row.p), visits.notes(row, brief=True)),
    )


def _responders(files: StudyFiles) -> list[str]:
    """A line a parameter, a column a family of shares, first those of all infused."""
    families = [row for row in files.plan.endpoints if row.rule in ("ever_better", "response")]
    codes = [code for row in families for code in row.paramcds]
    shown = [code for code in dict.fromkeys(codes) if code in answers.answered_parameters(files)]
    if not shown:
        return []
    heads = ("", *(_family_title(row) for row in families))
    rows = [(code, *(_share(files, row, code) for row in families)) for code in shown]
    note = (
        "  Enzyme responders: of those whose baseline was above normal. Missing, dead or treated again: no."
    )
    return [_title(files, "RESPONDERS of all infused (95 % interval)"), *_columns([heads, *rows]), note]


def _family_title(endpoint: Endpoint) -> str:
    if endpoint.rule == "ever_better":
        return "better at any visit"
    again = " after 2nd MSCT" if endpoint.course > 1 else ""
    return f">= {endpoint.threshold} % better at {endpoint.avisit}{again}"


def _share(files: StudyFiles, endpoint: Endpoint, code: str) -> str:
    row = answers.of_all(answers.family(files, endpoint, code))
    return ABSENT if row is None or row.status == answers.NO_ANSWER else answers.text(row)


def _events(files: StudyFiles) -> list[str]:
    lines = highlights.event_lines(files)
    said = [f"{name}: {answer}" for name, answer in lines if not answer.startswith(answers.NO_ANSWER)]
    return [_title(files, "EVENTS of all infused"), *_items(said)] if said else []


def _set_aside(files: StudyFiles) -> list[str]:
    counts = flow.set_aside_counts(files)
    said = [f"{count} {kind}: {word('set_aside', reason)}" for kind, reason, count in counts]
    total = sum(count for _, _, count in counts)
    return [f"SET ASIDE {counted(total, 'resource')}, not used and not lost", *_items(said)] if said else []


def _unsupported(files: StudyFiles) -> list[str]:
    rows = answers.unanswered(files).rows
    said = [f"{asked}: {why}" for why, asked in rows]
    said.append("whether MSCT was the cause: everybody was treated, there is no control group")
    return ["THESE DATA CANNOT SAY", *_items(said)]


def _items(said: Iterable[str]) -> list[str]:
    return [
        line
        for text in said
        for line in wrap(text, WIDTH, initial_indent="  - ", subsequent_indent="    ", break_long_words=True)
    ]


def _labelled(label: str, said: Sequence[str]) -> list[str]:
    """Lines under one label, which stands before the first."""
    lines: list[str] = []
    for text in said:
        head = label.ljust(LABEL) if not lines else " " * LABEL
        lines += wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * LABEL)
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
        texts.append(
            "\n".join(wrap(last, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead)) or [lead])
        )
    return texts
