"""Where an export is asked for, and with which filters: the level is that of the cohort."""

from typing import Any

from fhir_msct.client.manifest import levels
from fhir_msct.plan import Plan, Wanted

SAID = {"Group": "a Group", "Patient": "all patients", "system": "only everything"}
"""What a server may say that it exports."""


def level(plan: Plan, capability: dict[str, Any]) -> tuple[str | None, str]:
    """The level at which to export (empty: the whole server), or None and the reason to search."""
    return _level(plan, levels(capability))


def thinkable(plan: Plan) -> dict[str, str]:
    """The levels at which an export may be asked for, and on what that depends, before a server is asked."""
    found: dict[str, str] = {}
    if (always := _level(plan, frozenset())[0]) is not None:
        found[always] = "where the server takes it"
    for said, words in SAID.items():
        where, _ = _level(plan, frozenset({said}))
        if where is not None:
            found.setdefault(where, f"where the server says that it exports {words}")
    return found


def why_not(plan: Plan) -> str:
    """Why an export that is wished for is not asked for on any server; empty where it may be."""
    return _level(plan, frozenset(SAID))[1]


def filters(wanted: Wanted) -> list[str]:
    """The `_typeFilter` of each code, where only these may be asked for."""
    return [f"{type_}?code={code}" for type_, codes in wanted.codes.items() for code in codes]


def _level(plan: Plan, known: frozenset[str]) -> tuple[str | None, str]:
    group = plan.cohort.group
    if plan.pull.how == "search":
        return None, ""
    if group:
        if plan.pull.how == "export" or "Group" in known:
            return f"Group/{group.removeprefix('Group/')}", ""
        return None, "" if plan.pull.how == "auto" else "the server does not say that it exports a Group"
    if plan.server.kind != "research":
        why = (
            "an export without a Group brings everybody's data: [cohort] group, or [server] kind = 'research'"
        )
        return None, why if plan.pull.how == "export" else ""
    if "Patient" in known or (plan.pull.how == "export" and "system" not in known):
        return "Patient", ""
    return ("", "") if "system" in known else (None, "")
