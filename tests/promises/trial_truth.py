"""Compares a study folder with what the generator of the synthetic trial knows, file by file.

Plain CSV and JSON: nothing of the package reads here. Each function returns what differs, in words.
"""

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

Row = dict[str, str]
Truth = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
STATISTIC = Decimal("1e-12")
"""Relative tolerance of a statistic; a measured value must be equal."""
FLOATING = Decimal("1e-9")


def truth() -> Truth:
    """truth.json."""
    found: Truth = json.loads((FIXTURES / "truth.json").read_text("utf-8"))
    return found


def table(study: Path, name: str) -> list[Row]:
    """The rows of one CSV file of a study folder."""
    with (study / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def equal(cell: str, wanted: str) -> bool:
    """Whether two decimals are the same number."""
    return bool(cell) == bool(wanted) and (not cell or Decimal(cell) == Decimal(wanted))


def near(cell: str, wanted: str, tolerance: Decimal = STATISTIC) -> bool:
    """Whether a statistic is the same but for rounding in its last digit."""
    if not cell:
        return False
    one, other = Decimal(cell), Decimal(wanted)
    return abs(one - other) <= tolerance * max(Decimal(1), abs(other))


def accounting(study: Path, known: Truth) -> list[str]:
    """Counts of every type, reasons and out-of-scope codes."""
    found = json.loads((study / "records/accounting.json").read_text("utf-8"))
    wrong = [
        f"{kind} {name}: {found['types'].get(kind, {}).get(name)}, not {count}"
        for kind, counts in known["accounting"].items()
        for name, count in counts.items()
        if found["types"].get(kind, {}).get(name) != count
    ]
    for kind, counts in found["types"].items():
        if counts["seen"] != counts["mapped"] + counts["set_aside"] + counts["out_of_scope"]:
            wrong.append(f"{kind}: the counts do not add up")
    reasons: dict[str, dict[str, int]] = {}
    for source, reason in known["set_aside"].items():
        counted = reasons.setdefault(source.partition("/")[0], {})
        counted[reason] = counted.get(reason, 0) + 1
    wrong += [] if found["set_aside"] == reasons else [f"reasons: {found['set_aside']}, not {reasons}"]
    codes = [row for row in found["out_of_scope"] if row["type"] in known["accounting"]]
    key = ("type", "system", "code")
    wrong += _difference(
        {tuple(row[k] for k in key): row["count"] for row in codes},
        {tuple(row[k] for k in key): row["count"] for row in known["out_of_scope"]},
        "out of scope",
    )
    return wrong


def _difference(found: dict[Any, Any], wanted: dict[Any, Any], what: str) -> list[str]:
    keys = sorted(set(found) | set(wanted), key=str)
    return [
        f"{what} {key}: {found.get(key)}, not {wanted.get(key)}"
        for key in keys
        if found.get(key) != wanted.get(key)
    ]


def set_aside(study: Path, known: Truth) -> list[str]:
    """Which resource was set aside, and why."""
    found = {row["source"]: row["reason"] for row in table(study, "records/set_aside")}
    return _difference(found, known["set_aside"], "set aside")


def subjects(study: Path, known: Truth) -> list[str]:
    """Who they are, whether and when they were infused, and who died."""
    rows = {row["usubjid"]: row for row in table(study, "records/subjects")}
    wrong = _difference(dict.fromkeys(rows, True), dict.fromkeys(known["subjects"], True), "subject")
    for usubjid, wanted in known["subjects"].items():
        row = rows.get(usubjid, {})
        expected = {key: wanted[key] for key in ("sex", "dx", "trtsdt", "infusedfl")}
        expected |= {"age": "" if wanted["age"] is None else str(wanted["age"])}
        expected |= {"courses": str(len(wanted["courses"])), "dthdt": wanted["dthdt"]}
        found = {key: row.get(key, "") for key in expected} | {"dthdt": row.get("dthdt", "")[:10]}
        wrong += _difference(found, expected, usubjid)
        if (row.get("excluded_why", "") == "") != (wanted["infusedfl"] == "Y"):
            wrong.append(f"{usubjid}: excluded_why is {row.get('excluded_why')!r}")
    return wrong


def transplants(study: Path, known: Truth) -> list[str]:
    """Which infusion opened which course, what awaits review, and that the decoys are not there."""
    rows = {row["source"]: row for row in table(study, "records/transplants")}
    wrong = _difference(dict.fromkeys(rows, True), dict.fromkeys(known["transplants"], True), "transplant")
    for source, wanted in known["transplants"].items():
        row = rows.get(source, {})
        names = ["usubjid", "recognised_by", "exstdtc", "course", "cell_source", "dose"]
        if wanted["course"] is not None:
            names.append("infusion")
        expected = {name: "" if wanted[name] is None else str(wanted[name]) for name in names}
        wrong += _difference({name: row.get(name, "") for name in names}, expected, source)
        if (wanted["course"] is None) != ("review" in row.get("flags", "").split()):
            wrong.append(f"{source}: flags are {row.get('flags')!r}")
    return wrong


def findings(study: Path, known: Truth) -> list[str]:
    """Diseases, lung disease, ulcers, and what the investigator thought of them."""
    rows = {row["source"]: row for row in table(study, "records/findings")}
    wrong = _difference(dict.fromkeys(rows, True), dict.fromkeys(known["findings"], True), "finding")
    for source, wanted in known["findings"].items():
        found = {name: rows.get(source, {}).get(name) for name in wanted}
        wrong += _difference(found, wanted, source)
    return wrong


def measurements(study: Path, known: Truth) -> list[str]:
    """Every measured value in the study's unit, with date, comparator, side, limit and flags."""
    rows = {row["source"]: row for row in table(study, "records/measurements")}
    wrong = _difference(dict.fromkeys(rows, True), dict.fromkeys(known["measurements"], True), "measurement")
    for source, wanted in known["measurements"].items():
        row = rows.get(source, {})
        names = [name for name in wanted if name != "aval"]
        wrong += _difference({n: row.get(n, "") for n in names}, {n: wanted[n] for n in names}, source)
        if not equal(row.get("aval", ""), wanted["aval"]):
            wrong.append(f"{source}: aval {row.get('aval')}, not {wanted['aval']}")
        if source in known["anrhi"] and not equal(row.get("anrhi", ""), known["anrhi"][source]):
            wrong.append(f"{source}: anrhi {row.get('anrhi')}, not {known['anrhi'][source]}")
        missing = set(known["flags"].get(source, ())) - set(row.get("flags", "").split())
        wrong += [f"{source}: no flag {flag}" for flag in sorted(missing)]
    return wrong


def analysis(study: Path, known: Truth) -> list[str]:
    """Which value was chosen for which visit, its change, what it rests on, and why others were not."""
    rows = table(study, "outcomes/analysis")
    taken: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if "Y" in (row["ablfl"], row["anl01fl"]):
            taken.setdefault((row["usubjid"], row["course"], row["paramcd"], row["avisit"]), []).append(row)
    wanted = {
        (usubjid, course, paramcd, visit): value
        for usubjid, subject in known["subjects"].items()
        for course, told in subject["courses"].items()
        for paramcd, visits in told["values"].items()
        for visit, value in visits.items()
    }
    wrong = _difference({key: len(found) for key, found in taken.items()}, dict.fromkeys(wanted, 1), "chosen")
    for key, value in wanted.items():
        for row in taken.get(key, ()):
            wrong += [f"{key}: {text}" for text in _unlike(row, value, known)]
    for source, flags in known["analysis_flags"].items():
        found = [row for chosen in taken.values() for row in chosen if source in row["source"].split()]
        if len(found) != 1 or not set(flags) <= set(found[0]["flags"].split()):
            wrong.append(f"{source}: flags are {[row['flags'] for row in found]}, not {flags}")
    for source, reason in known["not_chosen"].items():
        found = {row["why_not"] for row in rows if row["source"] == source}
        wrong += [] if reason in found else [f"{source}: not chosen for {sorted(found)}, not {reason}"]
        if any(source in row["source"].split() for found in taken.values() for row in found):
            wrong.append(f"{source}: chosen, though {reason}")
    return wrong


def _unlike(row: Row, value: Truth, known: Truth) -> list[str]:
    wrong = []
    for name in ("aval", "chg"):
        if not equal(row[name], value.get(name, "")):
            wrong.append(f"{name} {row[name]}, not {value.get(name)}")
    if row["comparator"] != value.get("comparator", ""):
        wrong.append(f"comparator {row['comparator']}")
    rests, may = set(row["source"].split()), set(value["sources"])
    differing = len({known["measurements"][source]["aval"] for source in may}) > 1
    if not rests or not rests <= may or (differing and rests != may):
        wrong.append(f"rests on {sorted(rests)}, not {sorted(may)}")
    return wrong


def by_visit(study: Path, known: Truth) -> list[str]:
    """Every count and statistic that the truth states."""
    rows = {(r["paramcd"], int(r["course"]), r["avisit"]): r for r in table(study, "outcomes/by_visit")}
    wanted = {(r["paramcd"], r["course"], r["avisit"]): r for r in known["by_visit"]}
    wrong = [
        f"{key}: n {row['n']}, not 0" for key, row in rows.items() if key not in wanted and int(row["n"])
    ]
    for key, told in wanted.items():
        row = rows.get(key)
        if row is None:
            wrong.append(f"{key}: no row")
            continue
        for name, value in told.items():
            if isinstance(value, int) and row[name] != str(value):
                wrong.append(f"{key} {name}: {row[name]}, not {value}")
            elif name == "flags":
                counted = {
                    flag for flag in row["flags"].split() if flag.partition(":")[0] in ("cens", "retreated")
                }
                wrong += [] if counted == set(value) else [f"{key}: flags {counted}, not {value}"]
            elif isinstance(value, str) and name not in ("paramcd", "avisit"):
                close = near(row[name], value, FLOATING if name == "gmr" else STATISTIC)
                wrong += [] if close else [f"{key} {name}: {row[name]}, not {value}"]
    return wrong


def endpoints(study: Path, known: Truth) -> list[str]:
    """Every answer, in every population, and no answer that the truth does not know."""
    rows = {(r["endpoint"], r["population"]): r for r in table(study, "outcomes/endpoints")}
    wanted = {(r["endpoint"], r["population"]): r for r in known["endpoints"]}
    answered = {key: row["status"] == "value" for key, row in rows.items()}
    wrong = _difference(
        {key: True for key, yes in answered.items() if yes}, dict.fromkeys(wanted, True), "answer"
    )
    for key, told in wanted.items():
        row = rows.get(key, {})
        for name in ("paramcd", "course", "avisit", "n", *(["x"] if "x" in told else [])):
            if row.get(name) != str(told[name]):
                wrong.append(f"{key} {name}: {row.get(name)}, not {told[name]}")
        for name in ("value", "p"):
            if name in told and not near(row.get(name, ""), told[name]):
                wrong.append(f"{key} {name}: {row.get(name)}, not {told[name]}")
    for endpoint, reason in known["no_answer"].items():
        found = {(r["status"], r["reason"]) for (name, _), r in rows.items() if name == endpoint}
        wrong += [] if found == {("not evaluable", reason)} else [f"{endpoint}: {found}"]
    return wrong


def by_subject(study: Path, known: Truth) -> list[str]:
    """Who met which endpoint, who did not, and since when a disease was back."""
    status: dict[str, dict[str, str]] = {}
    onsets = {}
    for row in table(study, "outcomes/by_subject"):
        status.setdefault(row["endpoint"], {})[row["usubjid"]] = row["status"]
        if row["endpoint"] == "RECUR" and row["status"] == "met":
            onsets[row["usubjid"]] = row["value"]
    wrong = _difference(onsets, known["recurrence_onset"], "onset")
    for told in known["endpoints"]:
        found = status.get(told["endpoint"], {})
        if "not_met" in told or told["endpoint"] in ("RECUR", "RETREAT", "DEATH"):
            met = sorted(who for who, word in found.items() if word == "met")
            wrong += [] if met == told["met"] else [f"{told['endpoint']}: met by {met}, not {told['met']}"]
        failed = [who for who in told.get("not_met", ()) if found.get(who) != "not met"]
        wrong += [f"{told['endpoint']}: {who} is {found.get(who)!r}" for who in failed]
    return wrong


FILES = {
    "accounting.json": accounting,
    "set_aside.csv": set_aside,
    "subjects.csv": subjects,
    "transplants.csv": transplants,
    "findings.csv": findings,
    "measurements.csv": measurements,
    "analysis.csv": analysis,
    "by_visit.csv": by_visit,
    "endpoints.csv": endpoints,
    "by_subject.csv": by_subject,
}
"""What compares each file of the two stages."""
