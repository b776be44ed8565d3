"""A trial as a small table: one line a record, days counted from the first infusion.

    p1  MSCT  d1                     an infusion on day 1, which is 2024-01-01
    p1  CK    d-5    1000  uln=200   a result; `<0.3`, `28 unit=ukat/L`, `flags=utc_date` are possible too
    p1  CK    2024-07-01T08:00:00Z 500 id=a   any FHIR date; `id` names the resource, else its line does
    p1  MMT8  d183   60    side=right
    p1  DX    d-90   DM    state=relapse
    p1  ILD   d-90   abated=d50      present before, ended later; `-` is an unknown date
    p1  ILDRESP d183 improved
    p1  died  d400
    p1  born  1980-05-03

`shown` and `table` make rows comparable to a table of text.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from fhir_msct import plan as plans
from fhir_msct.dates import calendar_date
from fhir_msct.exact import scaled
from fhir_msct.outcomes import Review, analyse, complete, open_courses
from fhir_msct.plan import Plan
from fhir_msct.records import Finding, Measurement, StudyRecords, Subject, Transplant
from fhir_msct.results import Answer, Outcome, Results, VisitSummary
from fhir_msct.tables import cell

PLAN = plans.load()
FIRST_INFUSION = date(2024, 1, 1)
FACTORS = {"ukat/L": Fraction(60), "nkat/L": Fraction(3, 50), "mm": Fraction(1, 10)}
FINDINGS = ("DX", "ILD", "ULCER", "ILDRESP", "ULCRESP")


def day(text: str) -> str:
    """`d183` as a date; the study has no day 0. Anything else is a date already; `-` is none."""
    if text == "-":
        return ""
    if not text.startswith("d"):
        return text
    number = int(text[1:])
    assert number != 0, "there is no day 0"
    return (FIRST_INFUSION + timedelta(days=number - (number > 0))).isoformat()


def records(text: str, *, plan: Plan = PLAN, reviews: Iterable[Review] = ()) -> StudyRecords:
    """The records of a table, with courses opened and subjects completed."""
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    lines = [line for line in lines if line]
    made: dict[type, list[Any]] = {Measurement: [], Transplant: [], Finding: []}
    subjects = {who: Subject(usubjid=who, source=f"Patient/{who}/_history/1") for who, *_ in lines}
    for number, (who, what, when, *rest) in enumerate(lines):
        options = dict(word.split("=", 1) for word in rest if "=" in word and word[0] not in "<>")
        words = [word for word in rest if not ("=" in word and word[0] not in "<>")]
        options.setdefault("id", f"{who}-{what}-{number}")
        if what in ("died", "born"):
            part = {"dthdt": day(when)} if what == "died" else {"birth": when}
            subjects[who] = replace(subjects[who], **part)
        elif what in ("MSCT", "DRUG"):
            made[Transplant].append(_transplant(who, what, day(when), options, plan))
        elif what in FINDINGS:
            made[Finding].append(_finding(who, what, day(when), words, options))
        else:
            made[Measurement].append(_measurement(who, what, day(when), words[0], options, plan))
    return _completed(tuple(subjects.values()), made, plan, reviews)


def analysed(text: str, *, cut: str | None = None, plan: Plan = PLAN, reviews: Any = ()) -> Results:
    """The results of a table, up to a data cut such as `d200`."""
    data_cut = date.fromisoformat(day(cut)) if cut else None
    return analyse(records(text, plan=plan, reviews=reviews), plan, data_cut)


def pairs(before: Sequence[object], after: Sequence[object], paramcd: str = "CK") -> Results:
    """The results of a trial of one parameter, before and at M6, one pair a subject."""
    lines = [
        f"p{n} MSCT d1 \n p{n} {paramcd} d-5 {a} \n p{n} {paramcd} d183 {b}"
        for n, (a, b) in enumerate(zip(before, after, strict=True), start=10)
    ]
    return analysed("\n".join(lines))


def changed(plan: Plan = PLAN, **sections: dict[str, Any]) -> Plan:
    """The plan with some keys of some sections set: `changed(course={"repeat_within_days": 7})`."""
    return replace(plan, **{name: replace(getattr(plan, name), **keys) for name, keys in sections.items()})


def shown(rows: Iterable[Any], columns: str, **where: Any) -> list[list[str]]:
    """Some columns of the rows that have these values, as `table` reads them; a source is its ids."""
    kept = [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]
    return [[_shown(getattr(row, name)) for name in columns.split()] for row in kept]


def table(text: str) -> list[list[str]]:
    """The cells of a table of text: a dot is an empty cell, a plus joins the words of one cell."""
    return [line.split() for line in text.strip().splitlines()]


def visit(results: Results, paramcd: str, avisit: str, course: int = 1) -> VisitSummary:
    """One row of by_visit."""
    [row] = [
        row for row in results.by_visit if (row.paramcd, row.avisit, row.course) == (paramcd, avisit, course)
    ]
    return row


def outcome(results: Results, who: str, endpoint: str) -> Outcome:
    """One subject's answer to one endpoint."""
    [row] = [row for row in results.by_subject if (row.usubjid, row.endpoint) == (who, endpoint)]
    return row


def said(results: Results, who: str, endpoint: str) -> str:
    """One subject's answer as a word: its status, or the reason why there is none."""
    row = outcome(results, who, endpoint)
    return row.reason if row.status == "not evaluable" else row.status


def trial(results: Results, endpoint: str, population: str) -> Answer:
    """The trial's answer to one endpoint in one population."""
    [row] = [row for row in results.endpoints if (row.endpoint, row.population) == (endpoint, population)]
    return row


def share(results: Results, endpoint: str, population: str) -> str:
    """The trial's answer as `x/n`, or the reason why there is none."""
    row = trial(results, endpoint, population)
    return row.reason if row.status == "not evaluable" else f"{row.x}/{row.n}"


def _shown(value: Any) -> str:
    text = re.sub(r"[A-Z]\w+/(\S+?)/_history/\d+", r"\1", cell(value))
    return text.replace(" ", "+") or "."


def _completed(
    subjects: tuple[Subject, ...], made: dict[type, list[Any]], plan: Plan, reviews: Iterable[Review]
) -> StudyRecords:
    held = StudyRecords(
        subjects=subjects,
        measurements=tuple(made[Measurement]),
        transplants=open_courses(made[Transplant], plan, reviews),
        findings=tuple(made[Finding]),
    )
    return replace(held, subjects=complete(subjects, held, plan))


def _measurement(
    who: str, paramcd: str, when: str, number: str, options: dict[str, str], plan: Plan
) -> Measurement:
    digits = number.lstrip("<>=")
    factor = FACTORS.get(options.get("unit", ""), Fraction(1))
    parameter = plan.parameters[paramcd]
    return Measurement(
        usubjid=who,
        paramcd=paramcd,
        adtc=when,
        adt=calendar_date(when, plan.zone),
        value=Decimal(digits),
        orres=digits,
        comparator=number.removesuffix(digits) or None,
        aval=scaled(Decimal(digits), factor),
        avalu=parameter.study_unit,
        factor=factor,
        ornrhi=options.get("uln", ""),
        range_factor=factor if "uln" in options else None,
        scale=parameter.scale,
        side=options.get("side"),
        status=options.get("status", "final"),
        identifiers=(options["ident"],) if "ident" in options else (),
        lastupdated=options.get("updated", ""),
        flags=tuple(options["flags"].split(",")) if "flags" in options else (),
        source=f"Observation/{options['id']}/_history/1",
    )


def _transplant(who: str, what: str, when: str, options: dict[str, str], plan: Plan) -> Transplant:
    resource = "Procedure" if what == "MSCT" else "MedicationAdministration"
    return Transplant(
        usubjid=who,
        status="completed",
        exstdtc=when,
        exstdt=calendar_date(when, plan.zone),
        recognised_by=options.get("tier", "product code").replace("_", " "),
        source=f"{resource}/{options['id']}/_history/{options.get('version', '1')}",
    )


def _finding(who: str, what: str, when: str, words: list[str], options: dict[str, str]) -> Finding:
    judged = what in ("ILDRESP", "ULCRESP")
    ended = day(options.get("abated", "-"))
    return Finding(
        usubjid=who,
        finding=what,
        term=words[0] if words and not judged else what,
        state=words[0] if judged else options.get("state", "active"),
        adtc=when,
        adt=calendar_date(when),
        aendtc=ended,
        aendt=calendar_date(ended),
        recorded=day(options["recorded"]) if "recorded" in options else None,
        source=f"{'Observation' if judged else 'Condition'}/{options['id']}/_history/1",
    )
