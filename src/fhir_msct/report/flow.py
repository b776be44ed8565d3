"""Where everything went: resources into records, patients into populations, and what was set aside."""

from collections import Counter

from fhir_msct.report.people import openings
from fhir_msct.report.rounding import ABSENT
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import Table
from fhir_msct.report.words import parted, table, word

PARTS = ("mapped", "set_aside", "out_of_scope")
BESIDE = ("superseded", "deleted", "duplicate", "not_fhir")
"""Lines that were read beside the current resources: they hold nothing new."""

BRIEF = "brief_set_aside"


def totals(files: StudyFiles) -> Counter[str]:
    """The accounting summed over all types."""
    sums: Counter[str] = Counter()
    for account in files.accounting.get("types", {}).values():
        sums.update({key: int(count) for key, count in account.items()})
    return sums


def balanced(files: StudyFiles) -> bool:
    """Whether every resource of every type was mapped, set aside or out of scope."""
    accounts = files.accounting.get("types", {}).values()
    return all(row.get("seen", 0) == sum(row.get(part, 0) for part in PARTS) for row in accounts)


def resources_table(files: StudyFiles) -> Table:
    """Each type of resource, and what became of it."""
    held = {
        **dict(sorted(files.accounting.get("types", {}).items())),
        "all": totals(files),
    }
    columns = ("seen", *PARTS, *BESIDE)
    return Table(
        title="From resources to records",
        columns=("type", *(column.replace("_", " ") for column in columns)),
        rows=tuple((kind, *(str(row.get(key, 0)) for key in columns)) for kind, row in held.items()),
        numbers=frozenset(range(1, len(columns) + 1)),
        note="seen = mapped + set aside + out of scope. Superseded, deleted, duplicate and unreadable lines "
        "were received beside them.",
    )


def subjects_flow(files: StudyFiles) -> Table:
    """How many patients were seen, treated once, treated again, evaluable, and how many died."""
    treated = openings(files)
    rows = [
        ("patients in the records", len(files.subjects)),
        ("infused with MSC", sum(row.infusedfl == "Y" for row in files.subjects)),
        ("infused again in a second course", sum(len(courses) > 1 for courses in treated.values())),
        ("evaluable: a baseline and a later value", sum(row.evalfl == "Y" for row in files.subjects)),
        ("died", sum(bool(row.dthdt) for row in files.subjects)),
    ]
    excluded = Counter(row.excluded_why for row in files.subjects if row.excluded_why)
    rows += [(f"left out: {word('excluded', why)}", count) for why, count in sorted(excluded.items())]
    return Table(
        title="Patients",
        columns=("", "number"),
        rows=tuple((what, str(count)) for what, count in rows),
        numbers=frozenset({1}),
    )


def set_aside_counts(files: StudyFiles) -> list[tuple[str, str, int]]:
    """How many of each type were set aside for each reason, the most frequent first."""
    counts = Counter((row.type, row.reason) for row in files.set_aside)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(kind, reason, count) for (kind, reason), count in ordered]


def set_aside_briefly(files: StudyFiles) -> list[str]:
    """The same in few words: "3 without a unit", "2 with status draft, preliminary"."""
    counts: Counter[str] = Counter()
    tails: dict[str, set[str]] = {}
    for row in files.set_aside:
        head, tail = parted(BRIEF, row.reason)
        counts[head] += 1
        tails.setdefault(head, set()).add(tail)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{count} {_briefly(head, tails[head])}" for head, count in ordered]


def _briefly(head: str, tails: set[str]) -> str:
    return str(table(BRIEF).get(head, head)).format(", ".join(sorted(tails)))


def set_aside_table(files: StudyFiles) -> Table:
    """What was set aside, counted."""
    return Table(
        title="Set aside, by reason",
        columns=("type", "reason", "code", "number"),
        rows=tuple(
            (kind, word("set_aside", reason), reason, str(count))
            for kind, reason, count in set_aside_counts(files)
        ),
        numbers=frozenset({3}),
        empty="Nothing was set aside.",
    )


def set_aside_list(files: StudyFiles) -> Table:
    """Every resource that was set aside, so that somebody can look at it."""
    return Table(
        title="Set aside, one by one",
        columns=("resource", "reason", "detail", "where"),
        rows=tuple(
            (row.source or f"{row.type}/{row.id}", row.reason, row.detail or ABSENT, row.where or ABSENT)
            for row in files.set_aside
        ),
        empty="Nothing was set aside.",
    )


def out_of_scope_table(files: StudyFiles) -> Table:
    """The codes that no mapping asks for, with their counts: the place to look for a missing code."""
    rows = files.accounting.get("out_of_scope", [])
    ordered = sorted(rows, key=lambda row: (-row["count"], row["type"], row["system"], row["code"]))
    return Table(
        title="Out of scope, by code",
        columns=("type", "system", "code", "number"),
        rows=tuple(
            (row["type"], row["system"] or ABSENT, row["code"] or ABSENT, str(row["count"]))
            for row in ordered
        ),
        numbers=frozenset({3}),
        note="Look here for a local code that this study should have read.",
        empty="Every resource was in scope.",
    )
