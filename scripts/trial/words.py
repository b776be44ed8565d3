"""The texts beside the resources: the study's settings, and what a reader should know of the data."""

from pathlib import Path
from string import Template
from typing import Any

from trial.plan import DATA_CUT, PEOPLE, VISITS
from trial.rows import course_day

STUDY = f"""\
# SYNTHETIC data: no patient of this study exists. Written by scripts/make_trial.py.

[study]
id = "msct-demo"
title = "SYNTHETIC DATA: allogeneic MSCT in drug-resistant PM/DM"
timezone = "Asia/Shanghai"
data_cut = {DATA_CUT}

[cohort]
group = "msct-trial"
"""
SHOWN = ("CK", "CKMBMASS", "CKMBACT", "PTGVAS", "MMT8")


def study() -> str:
    """study.toml of the synthetic trial; where the server is, is filled in by who runs it."""
    return STUDY


def readme(known: dict[str, Any]) -> str:
    """README.md of fixtures/: readme.md of this folder, with the numbers of truth.json in it."""
    template = Template((Path(__file__).parent / "readme.md").read_text("utf-8"))
    people = {f"who_{key}": f"{person.sex}, {person.dx}" for key, person in PEOPLE.items()}
    days = {f"days_{key}": _infused(key) for key, person in PEOPLE.items() if person.infusions}
    change = next(row for row in known["endpoints"] if row["endpoint"] == "CHG_CK")
    values = [
        subject["courses"]["1"]["values"]["CK"]
        for subject in known["subjects"].values()
        if subject["courses"]
    ]
    return template.substitute(
        **people,
        **days,
        total=f"{sum(known['lines'].values()):,}",
        cut=DATA_CUT,
        visits=_visits(known),
        base_sum=" + ".join(value["BASELINE"]["aval"] for value in values),
        base_mean=_short(_row(known, "CK", "BASELINE")["mean"]),
        m6_sum=" + ".join(value["M6"]["aval"] for value in values if "M6" in value),
        m6_mean=_short(_row(known, "CK", "M6")["mean"]),
        p=change["p"],
        change=change["value"],
        answers=_answers(known),
        accounting=_accounting(known),
        aside="\n".join(f"| `{source}` | {reason} |" for source, reason in known["set_aside"].items()),
    )


def _infused(key: str) -> str:
    person = PEOPLE[key]
    days = [day.isoformat() for day in person.infusions]
    if person.second:
        days.append(f"{person.second} (day {course_day(key, 1, person.second)}: course 2)")
    return ", ".join(days)


def _row(known: dict[str, Any], paramcd: str, visit: str) -> dict[str, Any]:
    """The first course's row of a visit; empty where nobody has a value."""
    rows = (row for row in known["by_visit"] if (row["paramcd"], row["course"]) == (paramcd, 1))
    return next((row for row in rows if row["avisit"] == visit), {})


def _visits(known: dict[str, Any]) -> str:
    lines = [f"| | {' | '.join(VISITS)} |", "| --- |" + " --- |" * len(VISITS)]
    for paramcd in SHOWN:
        rows = [_row(known, paramcd, visit) for visit in VISITS]
        cells = [
            f"{row['n']}: {_short(row['mean'])} ({_short(row['median'])})" if row else "" for row in rows
        ]
        lines.append(f"| {paramcd} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(number: str) -> str:
    return f"{float(number):.3f}".rstrip("0").rstrip(".")


def _answers(known: dict[str, Any]) -> str:
    """One line an endpoint: met / n in each population."""
    table: dict[str, dict[str, str]] = {}
    for row in known["endpoints"]:
        if "x" in row:
            table.setdefault(row["endpoint"], {})[row["population"]] = f"{row['x']} / {row['n']}"
    populations = ("INFUSED", "ABN", "EVALUABLE")
    lines = [f"| endpoint | {' | '.join(populations)} |", "| --- |" + " --- |" * len(populations)]
    lines += [
        f"| {name} | {' | '.join(cells.get(p, '') for p in populations)} |" for name, cells in table.items()
    ]
    return "\n".join(lines)


def _accounting(known: dict[str, Any]) -> str:
    columns = ("seen", "mapped", "set_aside", "out_of_scope")
    rows = known["accounting"].items()
    return "\n".join(f"| {kind} | {' | '.join(str(row[c]) for c in columns)} |" for kind, row in rows)
