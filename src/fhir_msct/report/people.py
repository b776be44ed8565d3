"""Who was treated, with what and when; who was treated again; and what was refused as a treatment."""

from fractions import Fraction
from itertools import groupby

from msgspec import Struct

from fhir_msct.records import SetAside, Subject, Transplant
from fhir_msct.report.rounding import ABSENT, measured
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import Table
from fhir_msct.report.words import unit, word

REFUSED = ("transplant-not-msc", "history-not-event")
"""Reasons for which something that looks like the treatment is not one."""

MILLION = 10**6


class Infusion(Struct, frozen=True, kw_only=True):
    """One infusion of one subject, merged from every resource that tells of it."""

    usubjid: str
    course: int
    number: int
    date: str
    product: str
    cells: str
    dose: str
    recognised: str
    source: str


def infusions(files: StudyFiles) -> tuple[Infusion, ...]:
    """Every infusion that opened or belongs to a course, by subject and date."""
    counted = [row for row in files.transplants if row.course is not None]
    counted.sort(key=_infusion_key)
    return tuple(_infusion(list(rows)) for _, rows in groupby(counted, key=_infusion_key))


def openings(files: StudyFiles) -> dict[str, list[Infusion]]:
    """The first infusion of each course of each subject; any other is a repeat dose."""
    first: dict[str, list[Infusion]] = {}
    for infusion in infusions(files):
        known = first.setdefault(infusion.usubjid, [])
        if infusion.course > len(known):
            known.append(infusion)
    return first


def repeats(files: StudyFiles, usubjid: str) -> list[str]:
    """The dates of a subject's repeat doses."""
    opened = {infusion.number for infusion in openings(files).get(usubjid, [])}
    own = [row for row in infusions(files) if row.usubjid == usubjid]
    return [row.date for row in own if row.number not in opened]


def died_on(subject: Subject) -> str:
    """The day of death as it was written, "yes" where none was; empty for who lives."""
    return "yes" if subject.dthdt == "Y" else subject.dthdt.partition("T")[0]


def waiting(files: StudyFiles) -> list[Transplant]:
    """What may be an infusion and opens no course until somebody confirms it."""
    return [row for row in files.transplants if row.course is None]


def refused(files: StudyFiles) -> list[SetAside]:
    """What looks like the treatment and is not."""
    return [row for row in files.set_aside if row.reason in REFUSED]


def subjects_table(files: StudyFiles) -> Table:
    """Every subject of the records, treated or not."""
    opened = openings(files)
    return Table(
        title="Subjects",
        columns=("subject", "age", "sex", "diagnosis", "first MSCT", "second MSCT", "died", "remark"),
        rows=tuple(_subject(row, opened.get(row.usubjid, [])) for row in files.subjects),
        numbers=frozenset({1}),
        note="Age in whole years at the first MSCT.",
    )


def infusions_table(files: StudyFiles) -> Table:
    """Every infusion that counts."""
    return Table(
        title="Infusions",
        columns=("subject", "course", "date", "product", "cells from", "dose", "recognised by", "source"),
        rows=tuple(
            (
                *(row.usubjid, str(row.course), row.date, row.product or ABSENT, row.cells or ABSENT),
                *(row.dose or ABSENT, row.recognised, row.source),
            )
            for row in infusions(files)
        ),
        numbers=frozenset({1}),
        empty="No infusion was recognised.",
    )


def refused_table(files: StudyFiles) -> Table:
    """Look-alikes of the treatment, refused or waiting, with the reason."""
    rows = [
        (row.source or f"{row.type}/{row.id}", word("set_aside", row.reason), "refused")
        for row in refused(files)
    ]
    rows += [(row.source, word("recognised", row.recognised_by), "not counted") for row in waiting(files)]
    return Table(
        title="Not counted as MSCT",
        columns=("resource", "why", "decision"),
        rows=tuple(rows),
        empty="Nothing that looked like an MSCT was refused.",
    )


def _infusion_key(row: Transplant) -> tuple[str, int, int]:
    return row.usubjid, row.course or 0, row.infusion or 0


def _infusion(rows: list[Transplant]) -> Infusion:
    first = rows[0]
    return Infusion(
        usubjid=first.usubjid,
        course=first.course or 0,
        number=first.infusion or 0,
        date=first.exstdt.isoformat() if first.exstdt else first.exstdtc,
        product=_distinct(_longest([row.product for row in rows])),
        cells=_distinct([row.cell_source or "" for row in rows]),
        dose=_distinct([_dose(row) for row in rows]),
        recognised=_distinct([word("recognised", row.recognised_by) for row in rows]),
        source=_distinct([row.source for row in rows]),
    )


def _dose(row: Transplant) -> str:
    """A dose as people write it: many cells as millions."""
    if row.dose is None:
        return ""
    amount = Fraction(row.dose)
    text = f"{measured(amount / MILLION)} million" if amount >= MILLION else measured(amount)
    return f"{text} {unit(row.doseu or '')}".strip()


def _longest(names: list[str]) -> list[str]:
    """Without the names that a longer one contains: "MSC" says no more than "human MSC"."""
    return [name for name in names if not any(name != other and name in other for other in names)]


def _distinct(texts: list[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _subject(row: Subject, opened: list[Infusion]) -> tuple[str, ...]:
    dates = [infusion.date for infusion in opened]
    return (
        row.usubjid,
        str(row.age) if row.age is not None else ABSENT,
        word("sex", row.sex or ABSENT),
        word("diagnosis", row.dx) or ABSENT,
        dates[0] if dates else ABSENT,
        ", ".join(dates[1:]) or ABSENT,
        died_on(row) or ABSENT,
        word("excluded", row.excluded_why),
    )
