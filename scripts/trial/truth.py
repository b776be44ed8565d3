"""What the generator knows of its trial: the numbers that any honest reading of it must give."""

from collections import Counter
from datetime import date
from fractions import Fraction
from typing import Any

from trial import answers, noise
from trial.arithmetic import text
from trial.chosen import Trial
from trial.plan import DATA_CUT, PEOPLE, VISITS
from trial.rows import FACTORS, PREFIX, STUDY_UNITS, Row
from trial.server import Holding
from trial.specials import CELLS, ILLNESSES, JUDGEMENTS

Truth = dict[str, Any]
MAPPED = ("Patient", "Procedure", "MedicationAdministration", "Condition", "Observation")


def truth(rows: list[Row], found: list[Holding]) -> Truth:
    """The whole of truth.json."""
    usable = [row for row in rows if not row.reason and not row.superseded]
    trial = Trial(usable)
    return {
        "about": "SYNTHETIC. Known to the generator from its own plan; never computed by the package.",
        "study": {"id": "msct-demo", "data_cut": DATA_CUT.isoformat(), "timezone": "Asia/Shanghai"},
        "lines": dict(Counter(holding.tree["resourceType"] for holding in found)),
        "accounting": _accounting(found),
        "set_aside": dict(sorted(_set_aside(rows).items())),
        "out_of_scope": _out_of_scope(found),
        "subjects": {f"msct-{key}": _subject(key, trial) for key in PEOPLE},
        "transplants": _transplants(),
        "findings": _findings(),
        "measurements": {row.source: _measurement(row) for row in sorted(usable)},
        "not_chosen": {row.source: row.why for row in sorted(usable) if row.why},
        "flags": _flags(usable),
        "analysis_flags": _analysis_flags(usable),
        "anrhi": {row.source: _high(row) for row in sorted(usable) if row.paramcd == "CK"},
        "by_visit": trial.by_visit(),
        "endpoints": answers.answers(trial),
        "recurrence_onset": {f"msct-{who}": onset for who, onset in answers.onsets().items()},
        "no_answer": {"SAE": "no_safety_source", "AE": "no_safety_source"},
    }


def _set_aside(rows: list[Row]) -> dict[str, str]:
    found = {row.source: row.reason for row in rows if row.reason}
    found |= {f"{cells.type}/{cells.id}/_history/1": cells.refused for cells in CELLS if cells.refused}
    return {**found, "Condition/txstatus-p11/_history/1": "history-not-event"}


def _accounting(found: list[Holding]) -> dict[str, dict[str, int]]:
    asides = Counter(holding.tree["resourceType"] for holding in found if _is_aside(holding))
    table = {}
    for kind in MAPPED:
        mine = [holding for holding in found if holding.tree["resourceType"] == kind]
        ids = {holding.tree["id"] for holding in mine}
        others = sum(holding.noise for holding in mine)
        row = {"lines_read": len(mine), "seen": len(ids), "superseded": len(mine) - len(ids)}
        row |= {"set_aside": asides[kind], "out_of_scope": others}
        table[kind] = {**row, "mapped": len(ids) - asides[kind] - others}
    return table


def _is_aside(holding: Holding) -> bool:
    refused = {cells.id for cells in CELLS if cells.refused} | {"txstatus-p11"}
    return holding.tree["id"] in refused or "-odd-" in holding.tree["id"]


def _out_of_scope(found: list[Holding]) -> list[dict[str, Any]]:
    counts = Counter((h.tree["resourceType"], *noise.code_of(h.tree)) for h in found if h.noise)
    return [{"type": t, "system": s, "code": c, "count": n} for (t, s, c), n in sorted(counts.items())]


def _subject(key: str, trial: Trial) -> Truth:
    person = PEOPLE[key]
    courses = [course for course, there in ((1, person.infusions), (2, person.second)) if there]
    return {
        "sex": person.sex,
        "age": _age(key),
        "dx": person.dx,
        "dthdt": person.died.isoformat() if person.died else "",
        "trtsdt": person.infusions[0].isoformat() if person.infusions else "",
        "infusedfl": "Y" if person.infusions else "N",
        "courses": {str(course): _course(key, course, trial) for course in courses},
    }


def _age(key: str) -> int | None:
    born, infusions = PEOPLE[key].birth, PEOPLE[key].infusions
    if not infusions or len(born) < len("2000-01-01"):
        return None
    day, birth = infusions[0], date.fromisoformat(born)
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


def _course(key: str, course: int, trial: Trial) -> Truth:
    second = PEOPLE[key].second
    dates = [second] if course == 2 else list(PEOPLE[key].infusions)
    values: dict[str, dict[str, Truth]] = {}
    for paramcd in PREFIX:
        for visit in VISITS:
            value = trial.at(paramcd, course, visit).get(key)
            if value is not None:
                sources = sorted(row.source for row in value.rows)
                chosen: Truth = {"aval": text(value.exact), "sources": sources}
                if any(row.comparator for row in value.rows):
                    chosen["comparator"] = "<"
                pair = trial.pairs(paramcd, course, visit).get(key)
                if visit != "BASELINE" and pair:
                    chosen["chg"] = text(value.exact - pair[0].exact)
                values.setdefault(paramcd, {})[visit] = chosen
    return {"infusions": [day.isoformat() for day in dates if day], "values": values}


def _transplants() -> dict[str, Truth]:
    table = {}
    for cells in CELLS:
        if cells.refused:
            continue
        row: Truth = {
            "usubjid": f"msct-{cells.patient}",
            "recognised_by": cells.tier,
            "exstdtc": _start(cells.when),
        }
        row |= {"course": cells.course or None, "infusion": cells.infusion or None}
        row |= {"cell_source": cells.source, "dose": cells.dose}
        table[f"{cells.type}/{cells.id}/_history/1"] = row
    return table


def _start(when: str) -> str:
    return when.partition("/")[0]


def _findings() -> dict[str, Truth]:
    table: dict[str, Truth] = {}
    for illness in ILLNESSES:
        row = {"usubjid": f"msct-{illness.patient}", "finding": illness.finding, "state": illness.state}
        table[f"Condition/{illness.id}/_history/1"] = {**row, "adtc": illness.onset, "aendtc": illness.abated}
    for key, person in PEOPLE.items():
        row = {"usubjid": f"msct-{key}", "finding": "DX", "state": "active", "term": person.dx}
        table[f"Condition/dx-{key}/_history/1"] = row
    for id_, key, code, _, state in JUDGEMENTS:
        row = {"usubjid": f"msct-{key}", "finding": code, "state": state}
        table[f"Observation/{id_}/_history/1"] = row
    return dict(sorted(table.items()))


def _measurement(row: Row) -> Truth:
    day = "" if row.marks.get("when") == "month" else row.day.isoformat()
    told: Truth = {"usubjid": f"msct-{row.patient}", "paramcd": row.paramcd, "adt": day}
    told |= {"aval": text(row.exact), "avalu": STUDY_UNITS[row.paramcd], "comparator": row.comparator}
    side = row.marks.get("side", "")
    return {**told, "orres": row.number, **({"side": side} if side else {})}


def _high(row: Row) -> str:
    return text(Fraction(row.high) * FACTORS[row.unit_name]) if row.high else ""


def _analysis_flags(usable: list[Row]) -> dict[str, list[str]]:
    """Flags of chosen values: a date without a time that is the infusion's, a day's median, another side."""
    table: dict[str, list[str]] = {}
    for row in sorted(usable):
        person = PEOPLE[row.patient]
        together = [other.exact for other in usable if row.uses and _together(row, other)]
        if row.patient == "p06" and row.uses and row.day in person.infusions:
            table[row.source] = ["same_day"]
        elif len(set(together)) > 1:
            table[row.source] = ["day_median"]
    return {**table, "Observation/mmt8-p04-m12/_history/1": ["scale_differs"]}


def _together(row: Row, other: Row) -> bool:
    return (row.patient, row.paramcd, row.uses) == (other.patient, other.paramcd, other.uses)


def _flags(usable: list[Row]) -> dict[str, list[str]]:
    """Flags that the rules leave no doubt about."""
    table = {}
    for row in sorted(usable):
        flags = []
        if row.marks.get("code") in ("oid", "slash"):
            flags.append("system_alias")
        if row.unit.startswith("text "):
            flags.append("unit_text")
        if row.unit == "[IU]/L":
            flags.append("unit_assumed")
        if row.paramcd == "CK" and not row.high:
            flags.append("no_uln")
        if row.marks.get("when") == "month":
            flags.append("partial_date")
        if row.paramcd == "MMT8" and not row.marks.get("side"):
            flags.append("no_side")
        if row.why == "outside_scale":
            flags.append("outside_scale")
        if flags:
            table[row.source] = flags
    return table
