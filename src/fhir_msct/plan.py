"""The protocol as it was written down: `study.toml`, `endpoints.toml` and `parameters.csv`, read and checked.

The shipped files are the defaults; a study folder's `study.toml` overrides them key by key. An
unknown key, a wrong type or a window that overlaps another is an error that names file and key.
"""

import csv
import itertools
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfoNotFoundError

import msgspec

from fhir_msct import data
from fhir_msct.dates import calendar_date
from fhir_msct.errors import ConfigError
from fhir_msct.protocol import (
    Accept,
    Cohort,
    Course,
    Endpoint,
    Parameter,
    Plan,
    Pull,
    Push,
    Recurrence,
    Safety,
    Section,
    Server,
    Statistics,
    StudyKeys,
    Visit,
    Wanted,
)

__all__ = [
    "Accept",
    "Cohort",
    "Course",
    "Endpoint",
    "Parameter",
    "Plan",
    "Pull",
    "Push",
    "Recurrence",
    "Safety",
    "Server",
    "Statistics",
    "StudyKeys",
    "Visit",
    "Wanted",
    "load",
]

T = TypeVar("T")


class _File(Section, frozen=True, kw_only=True):
    study: StudyKeys
    server: Server
    push: Push
    cohort: Cohort
    pull: Pull
    records: Accept
    course: Course
    visit: tuple[Visit, ...]
    statistics: Statistics
    recurrence: Recurrence
    safety: Safety


def load(folder: Path | None = None) -> Plan:
    """The plan of a study folder over the shipped defaults; the defaults alone without a folder.

    Raises ConfigError with file and key.
    """
    shipped = data.mappings()
    tree = _toml(shipped / "study.toml")
    at = shipped / "study.toml"
    if folder is not None:
        at = folder / "study.toml"
        if not at.is_file():
            raise ConfigError(f"{at} does not exist: run `fhir-msct init {folder}` first")
        tree = _overridden(tree, _toml(at))
    cut = tree.get("study", {}).get("data_cut")
    if isinstance(cut, date):
        tree["study"]["data_cut"] = cut.isoformat()
    checked = _convert(tree, _File, at)
    own = folder / "mappings" if folder is not None else None
    parts = {f: getattr(checked, f) for f in _File.__struct_fields__ if f != "visit"}
    plan = Plan(
        **parts,
        visits=_disjoint(checked.visit, at),
        endpoints=_endpoints(shipped, own),
        parameters=_parameters(shipped, own),
    )
    _check(plan, at)
    return plan


class _Endpoints(Section, frozen=True, kw_only=True):
    endpoint: tuple[Endpoint, ...]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None


def _overridden(shipped: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Key by key: a table is merged, anything else (also a list of tables) replaces the default."""
    merged = dict(shipped)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(shipped.get(key), dict)
        merged[key] = _overridden(shipped[key], value) if both else value
    return merged


def _convert(tree: dict[str, Any], kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_said(error)}") from None


def _said(error: msgspec.ValidationError) -> str:
    """`study.colour: unknown key`, in place of the decoder's own words."""
    what, _, where = str(error).partition(" - at `$")
    where = where.strip("`").lstrip(".")
    if "unknown field" in what:
        key = what.split("`")[1]
        return (
            f"{where + '.' if where else ''}{key}: unknown key: see the comments that `fhir-msct init` writes"
        )
    return f"{where}: {what[:1].lower()}{what[1:]}" if where else what


def _disjoint(visits: tuple[Visit, ...], path: Path) -> tuple[Visit, ...]:
    for visit in visits:
        if not visit.start <= visit.target <= visit.stop:
            raise ConfigError(f"{path}: visit {visit.name}: wants from <= target <= to")
    for before, after in itertools.pairwise(visits):
        if before.stop >= after.start:
            raise ConfigError(f"{path}: visits {before.name} and {after.name} overlap or are out of order")
    return visits


def _check(plan: Plan, path: Path) -> None:
    cut = plan.study.data_cut
    if cut not in (None, "none") and calendar_date(cut) is None:
        raise ConfigError(f'{path}: study.data_cut: wants a date such as 2024-06-30, or "none"')
    try:
        _ = plan.zone
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{path}: study.timezone: no such time zone: {plan.study.timezone}") from None
    known = {visit.name for visit in plan.visits}
    for endpoint in plan.endpoints:
        if endpoint.avisit and endpoint.avisit not in known:
            raise ConfigError(f"{path}: endpoint {endpoint.id}: no visit is called {endpoint.avisit}")


def _endpoints(shipped: Path, own: Path | None) -> tuple[Endpoint, ...]:
    """The shipped endpoints; a study's own replace those of the same id, or are added."""
    found: dict[str, Endpoint] = {}
    for path in (folder / "endpoints.toml" for folder in (shipped, own) if folder is not None):
        if path.is_file():
            found |= {one.id: one for one in _convert(_toml(path), _Endpoints, path).endpoint}
    return tuple(found.values())


def _parameters(shipped: Path, own: Path | None) -> dict[str, Parameter]:
    """The shipped parameters and a study's own. Raises ConfigError where the two contradict each other."""
    found: dict[str, Parameter] = {}
    for path in (folder / "parameters.csv" for folder in (shipped, own) if folder is not None):
        for line, row in enumerate(_lines(path), 2):
            try:
                one = _parameter(row)
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"{path}:{line}: {type(error).__name__} {error}: see the shipped file"
                ) from None
            if found.setdefault(one.paramcd, one) != one:
                raise ConfigError(
                    f"{path}:{line}: {one.paramcd} is a parameter already, and not the same one"
                )
    return found


def _lines(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [*csv.DictReader(file)]


def _parameter(row: dict[str, str]) -> Parameter:
    return Parameter(
        paramcd=row["paramcd"],
        param=row["param"],
        study_unit=row["study_unit"],
        direction=row["direction"],  # type: ignore[arg-type]
        low=int(row["low"]) if row["low"] else None,
        high=int(row["high"]) if row["high"] else None,
        scale=row["scale"],
        enzyme=row["enzyme"] == "Y",
        sided=row["sided"] == "Y",
        baseline_from=int(row["baseline_from"]),
        baseline_to=int(row["baseline_to"]),
    )
