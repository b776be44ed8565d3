"""`check --discover`: what a hospital calls the study's values, where no table lists it.

Inside the cohort, page by page, within the limit of requests; what was read is forgotten at once. Only
codes with their labels come out, and units: vocabulary, never a value.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.looking import Looker, Spent
from fhir_msct.client.pages import Page
from fhir_msct.client.windows import Window, windows
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.lookalikes import LookAlike, LookAlikes
from fhir_msct.mapping.reading import Reading
from fhir_msct.mapping.scope import OWN_OUTCOME
from fhir_msct.plan import Wanted
from fhir_msct.records import Resource
from fhir_msct.tables import guarded, line

READ = ("Observation", "Procedure", "Observation", "MedicationAdministration", "Observation", "Condition")
"""The types that are read, in turns: there are most Observations."""

PATIENTS = 100
PAGE = 500

CODE_COLUMNS = ("paramcd", "system", "code", "relation", "preferred", "source", "status")
UNIT_COLUMNS = ("paramcd", "system", "unit", "factor", "study_unit", "source", "status")
APPROVAL = ("approved_by", "approved_on")
UNREVIEWED = "UNREVIEWED, found by check --discover"
STATUS = "U"

_UNIT = re.compile(r"(?!.*\d{3})[^\s,;:@]{1,20}( [^\s,;:@]{1,12}){0,2}")
"""What can be a unit; anything longer may be a remark that somebody typed."""


class Found(Struct, frozen=True, kw_only=True):
    """A look-alike, and how often it stands in the cohort's resources."""

    kind: str
    type: str
    system: str
    code: str
    text: str
    count: int
    paramcds: tuple[str, ...]
    """The parameters that it can be, as far as its units tell."""
    in_component: bool = False


class FoundUnit(Struct, frozen=True, kw_only=True):
    """A unit of a listed code that no row lists."""

    paramcd: str
    system: str
    unit: str
    study_unit: str
    count: int
    factor: str = ""
    """Study units in one of these, where the same unit is listed under another system; else nobody knows."""


class Discovered(Struct, frozen=True, kw_only=True):
    """What a look round brought."""

    patients: int
    resources: int
    whole: bool
    look_alikes: tuple[Found, ...] = ()
    free_texts: dict[str, int] = {}
    units: tuple[FoundUnit, ...] = ()
    codes_csv: str = ""
    """Rows for the study's mappings/codes.csv, ready to paste; empty where there are none."""
    choose_csv: str = ""
    """Rows whose paramcd a person has to choose first: they do not load as they are."""
    units_csv: str = ""
    factors_csv: str = ""
    """Rows whose factor a person has to fill in first."""


class Discovery:
    """One look round the cohort."""

    def __init__(self, looker: Looker, wanted: Wanted, mapping: Mapping, sounds: LookAlikes) -> None:
        self._looker, self._wanted, self._mapping, self._sounds = looker, wanted, mapping, sounds
        self._alike: Counter[tuple[str, LookAlike]] = Counter()
        self._fitting: dict[tuple[str, str], Counter[str]] = {}
        self._free: Counter[str] = Counter()
        self._units: Counter[tuple[str, str, str]] = Counter()
        self._seen: set[tuple[str, str | None]] = set()

    def look_round(self, patients: Sequence[str]) -> Discovered:
        """Reads page after page of each type in turns, until there are none or no request is left."""
        asked = patients[:PATIENTS]
        pages = {type_: self._pages(type_, asked) for type_ in READ if type_ in self._wanted.types}
        whole, turn = len(asked) == len(patients), 0
        while pages and not self._looker.budget.is_spent:
            type_ = READ[turn % len(READ)]
            turn += 1
            if type_ in pages:
                try:
                    self._take(next(pages[type_]))
                except StopIteration:
                    del pages[type_]
                except (Declined, Unusable):
                    whole = False
                    del pages[type_]
                except Spent:
                    break
        return self._told(len(asked), whole and not pages)

    def _pages(self, type_: str, patients: Iterable[str]) -> Iterator[Page]:
        only = msgspec.structs.replace(self._wanted, types=(type_,), codes={})
        for window in windows(only, patients):
            yield from self._looker.client.search(type_, _params(window))

    def _take(self, page: Page) -> None:
        for one in page.resources:
            if (one.type, one.id) not in self._seen:
                self._seen.add((one.type, one.id))
                self._judge(one, self._mapping.read(one, base=self._looker.client.base_url))

    def _judge(self, resource: Resource, reading: Reading) -> None:
        reasons = {aside.reason for aside in reading.set_aside}
        if "unit-unknown" in reasons:
            self._units.update(self._unlisted(resource))
        if reading.out in (None, OWN_OUTCOME) and "no-code" not in reasons:
            return
        tree = _quantities(resource)
        for one in self._sounds.among(resource.body):
            if not one.code:
                self._free[one.kind] += 1
                continue
            self._alike[resource.type, one] += 1
            fitting = self._fitting.setdefault((one.system, one.code), Counter())
            fitting.update(p for p in one.candidates if any(self._is_of(p, quantity) for _, quantity in tree))

    def _is_of(self, paramcd: str, quantity: dict[str, Any]) -> bool:
        """Whether a quantity has a unit of a parameter."""
        system, code, text = (_text(quantity.get(name)) for name in ("system", "code", "unit"))
        return bool(code or text) and self._mapping.units.find(paramcd, system, code, text) is not None

    def _unlisted(self, resource: Resource) -> Iterator[tuple[str, str, str]]:
        table = self._mapping.tables["codes"]
        for codings, quantity in _quantities(resource):
            means = [table.meaning(_text(one.get("system")), _text(one.get("code"))) for one in codings]
            paramcd = next((one.value for one in means if one), "")
            system, code, text = (_text(quantity.get(name)) for name in ("system", "code", "unit"))
            unit, system = (code, system) if system and code else (text or code, "")
            if paramcd and unit and not self._is_of(paramcd, quantity):
                yield paramcd, system, unit

    def _told(self, patients: int, whole: bool) -> Discovered:
        alike = tuple(self._found(type_, one, count) for (type_, one), count in self._alike.most_common())
        units = tuple(self._unit(*key, count) for key, count in self._units.most_common())
        sure, open_ = _by_code(alike)
        shown = [one for one in units if one.unit]
        return Discovered(
            patients=patients,
            resources=len(self._seen),
            whole=whole,
            look_alikes=alike,
            free_texts=dict(self._free.most_common()),
            units=units,
            codes_csv=_csv(CODE_COLUMNS, map(_code_row, sure)),
            choose_csv=_csv(CODE_COLUMNS, map(_code_row, open_)),
            units_csv=_csv(UNIT_COLUMNS, (_unit_row(one) for one in shown if one.factor)),
            factors_csv=_csv(UNIT_COLUMNS, (_unit_row(one) for one in shown if not one.factor)),
        )

    def _found(self, type_: str, one: LookAlike, count: int) -> Found:
        fitting = self._fitting.get((one.system, one.code), Counter())
        narrowed = tuple(paramcd for paramcd in one.candidates if fitting[paramcd])
        return Found(
            kind=one.kind,
            type=type_,
            system=one.system,
            code=one.code,
            text=one.text,
            count=count,
            paramcds=narrowed or one.candidates,
            in_component=one.in_component,
        )

    def _unit(self, paramcd: str, system: str, unit: str, count: int) -> FoundUnit:
        """A unit as it may be shown, with the factor of the same unit under another system."""
        table = self._mapping.units.table
        same = {one.factor for (of, _, name), one in table.items() if of == paramcd and name == unit}
        return FoundUnit(
            paramcd=paramcd,
            system=system,
            unit=unit if _UNIT.fullmatch(unit) else "",
            study_unit=self._mapping.study.parameters[paramcd].study_unit,
            count=count,
            factor=str(same.pop()) if len(same) == 1 else "",
        )


def _params(window: Window) -> tuple[tuple[str, str], ...]:
    return window.params(PAGE)


def _quantities(resource: Resource) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Each quantity of an Observation, with the codings that it stands under."""
    tree = msgspec.json.decode(resource.body) if resource.type == "Observation" else {}
    parts = tree.get("component")
    found = []
    for part in (tree, *(parts if isinstance(parts, list) else ())):
        quantity = part.get("valueQuantity") if isinstance(part, dict) else None
        code = part.get("code") if isinstance(part, dict) else None
        codings = code.get("coding") if isinstance(code, dict) else None
        if isinstance(quantity, dict):
            named = codings if isinstance(codings, list) else []
            found.append(([one for one in named if isinstance(one, dict)], quantity))
    return found


def _by_code(alike: Iterable[Found]) -> tuple[list[Found], list[Found]]:
    """One look-alike a code that an Observation stands under: those of one parameter, those of several."""
    merged: dict[tuple[str, str], Found] = {}
    for one in alike:
        if one.paramcds and one.type == "Observation" and not one.in_component:
            first = merged.setdefault((one.system, one.code), one)
            both = tuple(dict.fromkeys((*first.paramcds, *one.paramcds)))
            merged[one.system, one.code] = msgspec.structs.replace(first, paramcds=both)
    sure = [one for one in merged.values() if len(one.paramcds) == 1]
    return sure, [one for one in merged.values() if len(one.paramcds) > 1]


def _code_row(one: Found) -> tuple[str, ...]:
    label = f"{UNREVIEWED}: {one.text}" if one.text else UNREVIEWED
    return ("|".join(one.paramcds), one.system, one.code, "equivalent", "", label, STATUS)


def _unit_row(one: FoundUnit) -> tuple[str, ...]:
    return (one.paramcd, one.system, one.unit, one.factor, one.study_unit, UNREVIEWED, STATUS)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under their header, approval left open; nothing where there are no rows."""
    lines = [(*map(guarded, row), *("" for _ in APPROVAL)) for row in dict.fromkeys(map(tuple, rows))]
    return "".join(map(line, ((*columns, *APPROVAL), *lines))) if lines else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
