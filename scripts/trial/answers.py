"""The trial's answers as planned: who responded, whose disease came back, who died."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from trial.arithmetic import hodges_lehmann, signed_rank_p, text
from trial.chosen import ENZYMES, HIGHER, LOWER, Trial, infused
from trial.plan import PEOPLE, VISITS
from trial.specials import ILLNESSES, JUDGEMENTS

PARAMETERS = (*LOWER, *HIGHER)
Answer = dict[str, Any]


def answers(trial: Trial) -> list[Answer]:
    """Rows of endpoints.csv: n and x of every proportion, n, estimate and p of every change."""
    rows: list[Answer] = []
    for paramcd in PARAMETERS:
        rows += _proportions(f"IMP_EVER_{paramcd}", paramcd, "", _ever(trial, paramcd), infused(1))
        rows += _response(trial, "RESP20", paramcd, 1)
        if trial.at(paramcd, 2, "M6"):
            rows += _response(trial, "RESP2", paramcd, 2)
        rows += _change(trial, paramcd)
    rows += _proportions("CKNORM", "CK", "M6", trial.normal("M6"), trial.abnormal("CK", 1), population="ABN")
    for name, finding in (("ILDIMP", "ILD"), ("ULCIMP", "ULCER")):
        judged = _improved(finding)
        rows += _proportions(name, "", "", judged, list(judged))
    rows += [_row("RECUR", "", 1, "", "INFUSED", infused(1), recurred())]
    rows += [_row("RETREAT", "", 1, "", "INFUSED", infused(1), infused(2))]
    dead = [who for who, person in PEOPLE.items() if person.died]
    rows += [_row("DEATH", "", 1, "", "INFUSED", infused(1), dead)]
    return rows


def _row(
    name: str, paramcd: str, course: int, visit: str, population: str, n: Iterable[str], x: Iterable[str]
) -> Answer:
    people = list(n)
    met = [f"msct-{who}" for who in sorted(x) if who in people]
    row: Answer = {"endpoint": name, "paramcd": paramcd, "course": course, "avisit": visit}
    return {**row, "population": population, "n": len(people), "x": len(met), "met": met}


def _proportions(
    name: str, paramcd: str, visit: str, answered: dict[str, bool], people: list[str],
    *, course: int = 1, population: str = "INFUSED",
) -> list[Answer]:  # fmt: skip
    """For everybody, the missing being failures, and for those who could be judged."""
    met = [who for who, good in answered.items() if good]
    failed = sorted(f"msct-{who}" for who, good in answered.items() if not good)
    return [
        _row(name, paramcd, course, visit, population, people, met),
        {**_row(name, paramcd, course, visit, "EVALUABLE", answered, met), "not_met": failed},
    ]


def _response(trial: Trial, name: str, paramcd: str, course: int) -> list[Answer]:
    """Of enzymes, those with an abnormal baseline stand in the place of everybody."""
    answered = trial.better(paramcd, course, "M6", 20)
    enzyme = paramcd in ENZYMES
    people = trial.abnormal(paramcd, course) if enzyme else infused(course)
    population = "ABN" if enzyme else "INFUSED"
    name = f"{name}_{paramcd}"
    return _proportions(name, paramcd, "M6", answered, people, course=course, population=population)


def _ever(trial: Trial, paramcd: str) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for visit in VISITS[1:]:
        for who, good in trial.better(paramcd, 1, visit, 0).items():
            found[who] = found.get(who, False) or good
    return found


def _change(trial: Trial, paramcd: str) -> list[Answer]:
    changes = [value.exact - base.exact for base, value in trial.pairs(paramcd, 1, "M6").values()]
    row: Answer = {"endpoint": f"CHG_{paramcd}", "paramcd": paramcd, "course": 1, "avisit": "M6"}
    row |= {"population": "EVALUABLE", "n": len(changes)}
    return [{**row, "value": text(hodges_lehmann(changes)), "p": text(signed_rank_p(changes))}]


def recurred() -> list[str]:
    """A diagnosis of recurrence or relapse, or a second course; everybody had responded before."""
    again = {i.patient for i in ILLNESSES if i.finding == "DX" and i.state in ("recurrence", "relapse")}
    return sorted(again | set(infused(2)))


def onsets() -> dict[str, str]:
    """The date of the first recurrence by patient; empty where only the second treatment says so."""
    dates = {i.patient: i.onset for i in ILLNESSES if i.finding == "DX" and i.state != "active"}
    return {who: dates.get(who, "") for who in recurred()}


def _improved(finding: str) -> dict[str, bool]:
    """Of those who had it at the infusion: judged improved, or over since."""
    states = {patient: state == "improved" for _, patient, _, _, state in JUDGEMENTS}
    found = {}
    for illness in ILLNESSES:
        started = PEOPLE[illness.patient].infusions[0]
        if illness.finding == finding and date.fromisoformat(illness.onset) <= started:
            found[illness.patient] = bool(illness.abated) or states[illness.patient]
    return found
