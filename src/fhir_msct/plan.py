"""The protocol as it was written down: `study.toml`, `endpoints.toml` and `parameters.csv`, read and checked.

The shipped files are the defaults; a study folder's `study.toml` overrides them key by key. An
unknown key, a wrong type or a window that overlaps another is an error that names file and key.
"""

import csv
import itertools
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
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

_DATE = "2024-06-30"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DOTS = re.compile(r"[.\u3002\uff0e\uff61]")
_ENCODED = "xn--"


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


def names_its_study(folder: Path) -> bool:
    """Whether a folder's own study.toml says `[study] id`: the shipped one belongs to no study."""
    study = _toml(folder / "study.toml").get("study")
    return isinstance(study, dict) and bool(str(study.get("id", "")).strip())


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
    if _CONTROL.search(plan.study.id):
        raise ConfigError(f"{path}: study.id: holds a character that nobody can see")
    cut = plan.study.data_cut
    if cut not in (None, "none") and not (cut and len(cut) == len(_DATE) and calendar_date(cut)):
        raise ConfigError(f'{path}: study.data_cut: wants a date such as {_DATE}, or "none"')
    try:
        _ = plan.zone
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{path}: study.timezone: no such time zone: {plan.study.timezone}") from None
    _check_addresses(plan, path)
    for key in ("enzymes", "strengths"):
        for paramcd in getattr(plan.recurrence, key):
            if paramcd not in plan.parameters:
                raise ConfigError(f"{path}: recurrence.{key}: no parameter is called {paramcd}")
    known = {visit.name for visit in plan.visits}
    for endpoint in plan.endpoints:
        if endpoint.avisit and endpoint.avisit not in known:
            raise ConfigError(f"{path}: endpoint {endpoint.id}: no visit is called {endpoint.avisit}")


def _check_addresses(plan: Plan, path: Path) -> None:
    for section, way in (("server", plan.server), ("push", plan.push)):
        check_host(way.url, f"{path}: {section}.url")
        check_host(way.token_origin, f"{path}: {section}.token_origin")
    for url in plan.pull.file_origins:
        check_host(url, f"{path}: pull.file_origins")


def check_host(url: str | None, named: str) -> None:
    """Returns for an address whose host could be one; raises ConfigError where no resolver takes its name.

    Whether it is an address at all is asked where it is used. https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4
    """
    try:
        parts = urlsplit((url or "").strip())
        host = parts.hostname or ""
    except ValueError:
        return
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{named}: a port is a number up to 65535") from None
    if host and not all(_is_label(label) for label in _DOTS.split(_DOTS.sub(".", host).removesuffix("."))):
        raise ConfigError(
            f"{named}: no host can have this name: a part between two dots is empty, too long or no xn-- name"
        )


def _is_label(label: str) -> bool:
    """Whether this can stand between two dots, as written or encoded (https://www.rfc-editor.org/rfc/rfc5891)."""
    if not label.isascii():
        return len(label.encode("punycode")) <= 63 - len(_ENCODED)
    if not label.lower().startswith(_ENCODED):
        return 0 < len(label) <= 63 or ":" in label
    try:
        meant = label[len(_ENCODED) :].encode("ascii").decode("punycode")
    except UnicodeError:
        return False
    return len(label) <= 63 and meant.isprintable() and not meant.isascii()


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
