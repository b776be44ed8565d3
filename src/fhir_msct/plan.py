"""The protocol as typed data: `study.toml`, `endpoints.toml` and `parameters.csv`, and what to pull.

The shipped files are the defaults; a study folder's `study.toml` overrides them key by key. An
unknown key, a wrong type or a window that overlaps another is an error that names file and key.
"""

import csv
import itertools
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Struct, field

from fhir_msct import data
from fhir_msct.dates import calendar_date
from fhir_msct.errors import ConfigError

T = TypeVar("T")


class _Section(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class StudyKeys(_Section, frozen=True, kw_only=True):
    id: str
    title: str = ""
    timezone: str | None = None
    data_cut: str | None = None
    """An ISO date, "none", or nothing: then the server's clock at the last complete pull decides."""


class Server(_Section, frozen=True, kw_only=True):
    url: str | None = None
    kind: Literal["hospital", "research"] = "hospital"
    auth: Literal["none", "bearer"] = "none"
    token_file: str | None = None


class Push(_Section, frozen=True, kw_only=True):
    url: str | None = None
    same_as_source: bool = False


class Cohort(_Section, frozen=True, kw_only=True):
    patients: tuple[str, ...] = ()
    group: str | None = None
    research_study: str | None = None
    diagnosis: tuple[str, ...] = ()
    basis: str | None = None


class Pull(_Section, frozen=True, kw_only=True):
    scope: Literal["types", "codes"] = "types"
    page_size: int = 100


class Accept(_Section, frozen=True, kw_only=True):
    accept_status: tuple[str, ...] = ("final", "amended", "corrected")
    accept_event_status: tuple[str, ...] = ("completed",)
    accept_verification: tuple[str, ...] = ("confirmed",)
    identifier_system: str | None = None


class Course(_Section, frozen=True, kw_only=True):
    repeat_within_days: int
    trusted: tuple[str, ...]


class Visit(_Section, frozen=True, kw_only=True):
    """A scheduled visit: days of the course (no day 0) from which a value is taken, and its target."""

    name: str
    start: int = field(name="from")
    stop: int = field(name="to")
    target: int


class Statistics(_Section, frozen=True, kw_only=True):
    exact_pairs: int
    conf: float
    min_ci_n: int


class Recurrence(_Section, frozen=True, kw_only=True):
    terms: tuple[str, ...]
    states: tuple[str, ...]
    laboratory: bool = False
    enzymes: tuple[str, ...]
    enzyme_times_nadir: int = 2
    strengths: tuple[str, ...]
    strength_below_best: int = 20


class Safety(_Section, frozen=True, kw_only=True):
    sources: tuple[str, ...] = ()


class Endpoint(_Section, frozen=True, kw_only=True):
    """One family of endpoints; `paramcds` expands it to `<id>_<paramcd>` when there are several."""

    id: str
    rule: Literal[
        "ever_better", "response", "change", "normal", "finding_improved",
        "recurrence", "retreated", "death", "event",
    ]  # fmt: skip
    course: int
    populations: tuple[Literal["INFUSED", "EVALUABLE", "ABN"], ...]
    words: str
    source: str
    paramcds: tuple[str, ...] = ()
    avisit: str = ""
    threshold: int | None = None
    finding: str = ""
    judgement: str = ""
    event: str = ""

    def name(self, paramcd: str) -> str:
        """The endpoint's code for one parameter: `RESP20_CK`; `CKNORM` names its parameter itself."""
        return f"{self.id}_{paramcd}" if len(self.paramcds) > 1 else self.id


class Parameter(Struct, frozen=True, kw_only=True):
    """What is measured under one `paramcd`, in which unit, and which direction is better."""

    paramcd: str
    param: str
    study_unit: str
    direction: Literal["lower", "higher", ""]
    low: int | None
    high: int | None
    scale: str
    enzyme: bool
    sided: bool
    """Scored on one side of the body, so that values of two sides are never compared (rule D12)."""
    baseline_from: int
    baseline_to: int


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that is decided before the first number is read."""

    study: StudyKeys
    server: Server
    push: Push
    cohort: Cohort
    pull: Pull
    records: Accept
    course: Course
    visits: tuple[Visit, ...]
    statistics: Statistics
    recurrence: Recurrence
    safety: Safety
    endpoints: tuple[Endpoint, ...]
    parameters: dict[str, Parameter]

    @property
    def zone(self) -> ZoneInfo | None:
        """The study's time zone (rule D1), if it has one."""
        return ZoneInfo(self.study.timezone) if self.study.timezone else None


class Wanted(Struct, frozen=True, kw_only=True):
    """What to ask a source for: types, and how the cohort is found. Knows nothing of the trial."""

    types: tuple[str, ...]
    cohort: Cohort
    codes: dict[str, tuple[str, ...]] = {}
    """Per type, `system|code` to ask for when only the study's codes may be pulled; else empty."""
    page_size: int = 100


class _File(_Section, frozen=True, kw_only=True):
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
    endpoints = _convert(_toml(shipped / "endpoints.toml"), _Endpoints, shipped / "endpoints.toml")
    parts = {f: getattr(checked, f) for f in _File.__struct_fields__ if f != "visit"}
    plan = Plan(
        **parts,
        visits=_disjoint(checked.visit, at),
        endpoints=endpoints.endpoint,
        parameters=_parameters(shipped / "parameters.csv"),
    )
    _check(plan, at)
    return plan


class _Endpoints(_Section, frozen=True, kw_only=True):
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
        raise ConfigError(f"{path}: {error}") from None


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


def _parameters(path: Path) -> dict[str, Parameter]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["paramcd"]: _parameter(row) for row in csv.DictReader(file)}


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
