"""The examination of the server that is pulled from: what it claims, how it behaves, what it holds.

Inside the cohort, read only, nothing kept: counts, a few resources looked at and forgotten.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from msgspec import Struct

from fhir_msct.client import cohort, probes
from fhir_msct.client.capability import Capability, capability
from fhir_msct.client.failures import PageGone
from fhir_msct.client.looking import Looker, Spent
from fhir_msct.client.probes import NOBODY, Sign
from fhir_msct.client.windows import PATIENTS, Window, patient_of, since_supported
from fhir_msct.errors import ConfigError
from fhir_msct.mapping.library import Mapping
from fhir_msct.plan import Plan, Wanted
from fhir_msct.records import Resource
from fhir_msct.tasks.export_level import level

COUNTED = 500
"""Patients of the cohort within whom is counted; more are said to be more."""

COHORT_PAGES = 6
SAMPLE = 20
NEEDED = ("Patient", "Observation")
NO_CODE = "urn:fhir-msct:codes|fhir-msct-no-such-code"


class TypeHeld(Struct, frozen=True, kw_only=True):
    """What the server claims of one type, and how many resources of it the cohort has."""

    type: str
    held: int | None
    searches: bool
    by_patient: bool
    by_last_updated: bool
    by_code: bool


class CodeHeld(Struct, frozen=True, kw_only=True):
    """How many resources of the cohort carry one of the codes of a parameter, a finding, an infusion."""

    what: str
    type: str
    held: int


class Examination:
    """What is found, step by step; `signs` says what is odd."""

    def __init__(
        self, looker: Looker, plan: Plan, wanted: Wanted, mapping: Mapping, now: Callable[[], datetime]
    ) -> None:
        self._looker, self._plan, self._wanted, self._mapping, self._now = looker, plan, wanted, mapping, now
        self.signs: list[Sign] = []
        self.says = Capability()
        self.how = ""
        self._statement: dict[str, Any] = {}
        self.patients: tuple[str, ...] = ()
        self.types: tuple[TypeHeld, ...] = ()
        self.codes: tuple[CodeHeld, ...] = ()
        self._sample: tuple[Resource, ...] = ()
        self._refused: set[str] = set()

    def claims(self) -> None:
        """Reads the CapabilityStatement. Raises ServerUnfit, Declined, Spent."""
        self._looker.budget.ask()
        self._statement = self._looker.client.metadata()
        self.says = capability(self._statement)
        at, why = level(self._plan, self._statement)
        self.how = (
            f"by $export of {at or 'everything'}" if at is not None else "by search" + f" ({why})" * bool(why)
        )
        for type_ in self._wanted.types:
            if self.says.absent(type_):
                self._note("type-absent" if type_ in NEEDED else "type-not-held", type_)
            elif lost := self._unclaimed(type_):
                self._note("type-unclaimed", f"{type_}: {', '.join(lost)}")
        if unclaimed := [one for one in self._held_types() if not since_supported(self._statement, one)]:
            self._note("last-updated-unclaimed", ", ".join(unclaimed))
        if self._plan.pull.how == "export" and not any("export" in name for name in self.says.operations):
            self._note("no-export")
        self.signs += probes.skew(self._looker.client.date, self._now())
        if self._has("no-date") and not self._plan.study.data_cut:
            self._note("no-data-cut")

    def whom(self) -> None:
        """Finds the cohort, or as much of it as a few pages show. Raises ServerUnfit, Declined, Spent."""
        self._looker.budget.ask()
        wanted, client = self._wanted.cohort, self._looker.client
        if wanted.patients or wanted.group:
            try:
                found = cohort.patients(client, wanted, self._wanted.page_size)
            except ConfigError as error:
                self._note("no-patients", str(error))
                return
            self.patients, problems = found.patients, found.problems
        else:
            self.patients, problems = self._asked_for()
        self.signs += [Sign("cohort-open", problem) for problem in problems]
        if not self.patients:
            self._note("no-patients")

    def behaves(self) -> None:
        """Probes the searches that `pull` sends. Raises ServerUnfit, Declined, Spent."""
        for type_ in self._held_types():
            params = self._window(type_, (NOBODY,)).params(self._wanted.page_size)[:-1]
            found = self._looker.count(type_, params)
            if found.status == 401:
                self._note("no-access", f"{type_}: 401")
            elif not found.is_answer and found.status not in (404, 410):
                self._refused.add(type_)
                self._note("type-refused", f"{type_}: {found.status or 'no Bundle'}")
            elif found.matches:
                came = self._looker.look(type_, (*params, ("_count", "1"))).resources
                self._note("owner-ignored" if came else "count-differs", f"{type_} of nobody")
        kind = next((one for one in ("Observation", *self._held_types()) if one in self._usable()), None)
        if kind is not None and not self._has("owner-ignored"):
            params = self._window(kind, self.patients[:PATIENTS]).params(self._wanted.page_size)[:-1]
            found_out = probes.behaviour(self._looker, kind, params, self._wanted.page_size)
            self.signs += found_out.signs
            if self._has("no-last-updated") and since_supported(self._statement, kind):
                self._note("last-updated-false", kind)
            self._sample = found_out.page.resources

    def holds(self) -> None:
        """Counts what the cohort has, by type and by the study's codes. Raises ServerUnfit, Spent."""
        counted = {}
        for type_ in self._usable() if self._counts() else ():
            params = self._window(type_, self._counted()).params(1)[:-1]
            counted[type_] = self._looker.count(type_, params).total
        held = counted.get("Patient")
        if held is not None and held < len(self._counted()):
            self._note("no-patients" if not held else "patients-missing", f"{held} of {len(self._counted())}")
        self.types = tuple(self._type(type_, counted.get(type_)) for type_ in self._wanted.types)
        if "Observation" in self._usable() and self._heeds_code() and self._counts():
            self.codes = tuple(self._coded())
            if not any(one.held for one in self.codes if one.type == "Observation"):
                self._note("no-study-codes")

    def reads(self) -> None:
        """Looks at a few of the study's values: whether they can be read, and whether days are sure."""
        sampled = [*self._sample, *self._coded_sample("Observation"), *self._coded_sample("Procedure")]
        unique = {(one.type, one.id): one for one in sampled}.values()
        readings = [self._mapping.read(one, base=self._looker.client.base_url) for one in unique]
        records = [record for reading in readings for record in reading.records]
        in_z = [record for record in records if "utc_date" in getattr(record, "flags", ())]
        if in_z:
            self._note("utc-times", f"{len(in_z)} of {len(records)} sampled values")
        reasons = Counter(aside.reason for reading in readings for aside in reading.set_aside)
        if reasons:
            said = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
            self._note("sample-aside", f"{len(records)} readable; {said}")

    @property
    def expected_requests(self) -> int | None:
        """About how many requests a pull takes: each window counted twice, and its pages."""
        held = [one.held for one in self.types if one.type in self._held_types()]
        if not held or None in held:
            return None
        windows_, part = -(-len(self.patients) // PATIENTS), len(self._counted())
        whole = [(one or 0) * len(self.patients) // part for one in held]
        return 2 + sum(3 * windows_ + one // self._wanted.page_size for one in whole)

    @property
    def counted_within(self) -> int:
        """Within how many patients was counted."""
        return len(self._counted())

    def _asked_for(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The patients that the first pages of the cohort's own searches name."""
        found: set[str] = set()
        problems: list[str] = []
        for type_, params in cohort.requests(self._wanted.cohort):
            asked = (*params, ("_count", str(self._wanted.page_size)))
            pages, following = self._looker.client.search(type_, asked), None
            try:
                for page in islice(pages, COHORT_PAGES):
                    named = [patient_of(one.body, self._looker.client.base_url) for one in page.resources]
                    found.update(id_ for id_ in named if id_)
                    following = page.next
                    if following is None or self._looker.budget.is_spent:
                        break
            except PageGone as error:
                problems.append(f"{error}: looked at the patients of the pages before only")
                continue
            if following is not None:
                problems.append(
                    f"more {type_} than {COHORT_PAGES} pages: looked at the patients of those only"
                )
        return tuple(sorted(found)), tuple(problems)

    def _unclaimed(self, type_: str) -> list[str]:
        said = self.says.types.get(type_)
        if said is None:
            return []
        owner = self._window(type_, (NOBODY,)).params(1)[0][0]
        lost = [owner] if said.parameters and owner not in said.parameters and owner != "_id" else []
        return lost if not said.interactions or "search-type" in said.interactions else [*lost, "search"]

    def _type(self, type_: str, held: int | None) -> TypeHeld:
        said = self.says.types.get(type_)
        names = said.parameters if said else frozenset[str]()
        owner = self._window(type_, (NOBODY,)).params(1)[0][0]
        return TypeHeld(
            type=type_,
            held=held,
            searches=said is not None and "search-type" in said.interactions,
            by_patient=owner in names,
            by_last_updated="_lastUpdated" in names,
            by_code="code" in names,
        )

    def _heeds_code(self) -> bool:
        params = Window(type="Observation", patients=self.patients[:1], codes=(NO_CODE,)).params(1)[:-1]
        found = probes.matching(self._looker, "Observation", params, counts=self._counts())
        if found.is_answer and not found.matches:
            return True
        self._note("code-ignored")
        if self._wanted.codes:
            self._note("codes-only")
        return False

    def _coded(self) -> Iterable[CodeHeld]:
        for (what, type_), tokens in self._tokens().items():
            if type_ in self._usable():
                params = Window(type=type_, patients=self._counted(), codes=tokens).params(1)[:-1]
                yield CodeHeld(what=what, type=type_, held=self._looker.count(type_, params).total or 0)

    def _tokens(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """What can be counted by code: (parameter, finding or infusion; type) -> `system|code`."""
        tables, found = self._mapping.tables, dict[tuple[str, str], list[str]]()
        places = (("codes", "paramcd", "Observation"), ("judgements", "finding", "Observation"))
        for name, column, type_ in (*places, ("findings", "finding", "Condition")):
            for row in tables[name].rows if name in tables else ():
                if row["relation"] != "refused":
                    what = row[column] or row[tables[name].column]
                    found.setdefault((what, type_), []).append(f"{row['system']}|{row['code']}")
        for type_, kind in self._mapping.kinds.items():
            for path, system, code in kind.transplant.codings() if kind.transplant else ():
                if path != "usedCode":
                    found.setdefault(("MSC infusion", type_), []).append(f"{system}|{code}")
        return {key: tuple(dict.fromkeys(tokens)) for key, tokens in found.items()}

    def _coded_sample(self, type_: str) -> Sequence[Resource]:
        if type_ not in self._usable():
            return ()
        codes = [token for (_, of), tokens in self._tokens().items() if of == type_ for token in tokens]
        heeded = () if self._has("code-ignored") else tuple(codes)
        window = Window(type=type_, patients=self.patients[:PATIENTS], codes=heeded)
        try:
            return self._looker.look(type_, window.params(SAMPLE)).resources
        except Spent:
            return ()

    def _held_types(self) -> list[str]:
        return [type_ for type_ in self._wanted.types if not self.says.absent(type_)]

    def _usable(self) -> list[str]:
        return [type_ for type_ in self._held_types() if type_ not in self._refused]

    def _counted(self) -> tuple[str, ...]:
        """The patients within whom is counted: fewer where only an address can name them."""
        return self.patients[: PATIENTS if self._has("no-post") or self._has("post-differs") else COUNTED]

    def _counts(self) -> bool:
        return not (self._has("no-count") or self._has("search-refused"))

    def _window(self, type_: str, patients: tuple[str, ...]) -> Window:
        return Window(type=type_, patients=patients, codes=self._wanted.codes.get(type_, ()))

    def _note(self, name: str, detail: str = "") -> None:
        self.signs.append(Sign(name, detail))

    def _has(self, name: str) -> bool:
        return any(sign.name == name for sign in self.signs)
