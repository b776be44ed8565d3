"""The unit of work: one type, some of the cohort's patients; and the proof that all of it came.

The server counts before and after; the distinct ids that came must be as many. A missing `next` link
proves nothing: servers stop paging without a word. Every resource is also held against what was asked,
because a server may ignore a parameter that it does not know.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.client.capability import objects
from fhir_msct.dates import instant
from fhir_msct.plan import Wanted
from fhir_msct.records import Resource

PATIENTS = 25
"""Patients of one window, to begin with."""

LARGEST = 5000
"""Resources of one window: more are asked for in parts, as long as there is more than one patient."""

LARGEST_OF_ONE = 10_000
"""Resources of one window of one patient: where a public HAPI server stops without a word."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Before any server had stamped anything in FHIR."""

SHORTEST = timedelta(seconds=2)
"""What is not parted by time any more."""

TRIES = 3
"""How often a window is read before it counts as not provable."""

REMEMBERED = 64
"""Windows of one type of which it is remembered of whom something came: enough to see if lists are heeded."""

_OWNER = {
    "Patient": ("_id", ""),
    "AdverseEvent": ("subject", "Patient/"),
    "ResearchSubject": ("individual", "Patient/"),
}
"""Search parameter that names the patient, where it is not `patient`, and what stands before the id.

https://hl7.org/fhir/R4/searchparameter-registry.html
"""

_CODE = {
    "MedicationAdministration": ("code", "medicationCodeableConcept"),
    "AdverseEvent": ("event", "event"),
}
"""Search parameter and element that hold the code, where they are not `code`."""


class Window(Struct, frozen=True, kw_only=True):
    """What is asked for in one search."""

    type: str
    patients: tuple[str, ...]
    """Their ids, or their full addresses."""
    codes: tuple[str, ...] = ()
    """`system|code`, where only these may be asked for."""
    lo: str = ""
    hi: str = ""
    """Half-open bounds of lastUpdated, full instants; empty: none."""

    def params(self, page_size: int) -> tuple[tuple[str, str], ...]:
        """The search's parameters."""
        name, before = owner_parameter(self.type)
        asked = [(name, ",".join(id_ if "/" in id_ else before + id_ for id_ in self.patients))]
        if self.codes:
            asked.append((_CODE.get(self.type, ("code",))[0], ",".join(map(_escaped, self.codes))))
        bounds = (("ge", self.lo), ("lt", self.hi))
        asked += [("_lastUpdated", prefix + bound) for prefix, bound in bounds if bound]
        return (*asked, ("_count", str(page_size)))

    def spans(self, stamp: str) -> bool:
        """Whether a lastUpdated lies within the bounds; also where it cannot be told."""
        if not self.lo and not self.hi:
            return True
        at, lo, hi = instant(stamp), instant(self.lo), instant(self.hi)
        return at is None or not ((lo is not None and at < lo) or (hi is not None and at >= hi))

    def halves(self, until: datetime | None = None) -> "tuple[Window, ...]":
        """The same work in two windows; nothing where it cannot be less.

        Patients are parted first; those of one patient by time where `until` (the server's clock) is
        given. What is later than any bound is always in the last part.
        """
        middle = len(self.patients) // 2
        if middle:
            parts = (self.patients[:middle], self.patients[middle:])
            return tuple(msgspec.structs.replace(self, patients=part) for part in parts)
        start, stop = instant(self.lo) or EARLIEST, instant(self.hi) or until
        if until is None or stop is None or stop - start < SHORTEST:
            return ()
        between = instant_text(start + (stop - start) / 2)
        return msgspec.structs.replace(self, hi=between), msgspec.structs.replace(self, lo=between)

    def parts(self, number: int) -> "tuple[Window, ...]":
        """The same work in so many windows, of as many patients each as can be; at most one a patient."""
        ids, number = self.patients, min(number, len(self.patients))
        bounds = [len(ids) * part // number for part in range(number + 1)]
        return tuple(msgspec.structs.replace(self, patients=ids[lo:hi]) for lo, hi in pairwise(bounds))

    def __str__(self) -> str:
        ids = self.patients
        named = ids[0] if len(ids) == 1 else f"{len(ids)} patients ({ids[0]} to {ids[-1]})"
        bounds = (f" from {self.lo}" if self.lo else "") + (f" to {self.hi}" if self.hi else "")
        return f"{self.type} of {named}{bounds}"


def owner_parameter(type_: str) -> tuple[str, str]:
    """The search parameter that names the patient, and what stands before the id."""
    return _OWNER.get(type_, ("patient", ""))


class Outside(Struct, frozen=True):
    """A resource that came though it was not asked for: counted and hashed, not kept."""

    type: str
    sha256: str
    why: str
    """`type`, `cohort` or `codes`."""


def instant_text(moment: datetime) -> str:
    """An instant as it is asked for: in Z, to the millisecond."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def since_supported(capability: dict[str, Any], type_: str) -> bool:
    """Whether the server says that a type can be searched by `_lastUpdated`; what it does not say it cannot.

    https://hl7.org/fhir/R4/capabilitystatement.html
    """
    for rest in objects(capability.get("rest")):
        own = [one for one in objects(rest.get("resource")) if one.get("type") == type_]
        for place in (rest, *own):
            if any(one.get("name") == "_lastUpdated" for one in objects(place.get("searchParam"))):
                return True
    return False


def history_supported(capability: dict[str, Any], type_: str) -> bool:
    """Whether the server says that it keeps the history of each resource of a type."""
    for rest in objects(capability.get("rest")):
        for one in objects(rest.get("resource")):
            codes = [what.get("code") for what in objects(one.get("interaction"))]
            if one.get("type") == type_ and "history-instance" in codes:
                return True
    return False


def windows(wanted: Wanted, patients: Iterable[str]) -> tuple[Window, ...]:
    """All the work of one pull: patients first, then each type in the order in which it is wanted."""
    ids = sorted(set(patients))
    parts = [tuple(ids[start : start + PATIENTS]) for start in range(0, len(ids), PATIENTS)]
    types = sorted(wanted.types, key=lambda type_: type_ != "Patient")
    return tuple(
        Window(type=type_, patients=part, codes=wanted.codes.get(type_, ()))
        for type_ in types
        for part in parts
    )


def verdict(before: int | None, after: int | None, distinct: int) -> str:
    """The empty text where the counts prove a window; else what does not fit."""
    if before is None or after is None:
        return "the server does not say how many there are"
    if before != after:
        return f"the server's count changed from {before} to {after} while reading"
    return "" if distinct == after else f"the server counts {after}, {distinct} different ones came"


class Gauge:
    """Holds what came against what was asked, and remembers of whom something came."""

    def __init__(
        self, cohort: Iterable[str], base_url: str, minds: Callable[[Window], bool] = lambda window: True
    ) -> None:
        """`minds` says whether the server minds for whom a window asks: what cannot be told here then can."""
        self._cohort, self._base, self._minds = frozenset(cohort), base_url, minds
        self._met: dict[str, dict[tuple[str, ...], set[str]]] = {}

    def outside(self, window: Window, found: Resource) -> Outside | None:
        """What is wrong with a resource that came in this window; None where it belongs.

        Whose it is is remembered where the window is of several patients.
        """
        why = self._why(window, found)
        return Outside(found.type, sha256(found.body).hexdigest(), why) if why else None

    def _why(self, window: Window, found: Resource) -> str:
        if found.type != window.type:
            return "type"
        if found.type == "Patient":
            return "" if found.id in self._cohort else "cohort"
        owner = patient_of(found.body, self._base)
        if owner not in self._cohort and (owner is not None or not self._minds(window)):
            return "cohort"
        if owner is not None and len(window.patients) > 1:
            self._remember(window, owner)
        return "codes" if window.codes and not set(window.codes) & _tokens(found) else ""

    def _remember(self, window: Window, owner: str) -> None:
        known = self._met.setdefault(window.type, {})
        if window.patients in known or len(known) < REMEMBERED:
            known.setdefault(window.patients, set()).add(owner)

    def met(self, type_: str) -> frozenset[str]:
        """The patients of whom a search for several brought something of a type, as far as is remembered."""
        return frozenset().union(*list(self._met.get(type_, {}).values()))

    def has_met_all(self, window: Window) -> bool:
        """Whether the search of this window is known to have brought something of each of its patients."""
        return self._met.get(window.type, {}).get(window.patients, frozenset()) >= {*window.patients}


class _Owner(Struct, gc=False):
    """The elements that name the patient. Anything may stand in these places."""

    subject: Any = None
    patient: Any = None
    individual: Any = None


class _Coded(Struct, rename="camel"):
    """The elements that were asked by. Anything may stand in these places."""

    code: Any = None
    event: Any = None
    medication_codeable_concept: Any = None


_owner, _coded = msgspec.json.Decoder(_Owner), msgspec.json.Decoder(_Coded)


def patient_of(body: bytes, base_url: str) -> str | None:
    """The id of the Patient that a resource says it is about; None where that cannot be told here.

    A reference by identifier, to a contained resource or to another server is for the mapping to judge.
    """
    try:
        tree = _owner.decode(body)
    except msgspec.DecodeError:  # a number in them is beyond every range; or a deletion, without a body
        return None
    for value in (tree.subject, tree.patient, tree.individual):
        if found := reference_to(value, "Patient", base_url):
            return found
    return None


def reference_to(value: Any, type_: str, base_url: str) -> str | None:
    """The id in a reference to this type on this server, relative, absolute or versioned; else None."""
    named = value.get("reference") if isinstance(value, dict) else None
    if not isinstance(named, str):
        return None
    kind, id_ = _taken_apart(named.removeprefix(f"{base_url}/"))
    return id_ if kind == type_ else None


@lru_cache(4096)
def _taken_apart(reference: str) -> tuple[str, str]:
    """Type and id of a relative reference, versioned or not; two empty texts of anything else."""
    found = _REFERENCE.fullmatch(reference)
    return (found[1], found[2]) if found else ("", "")


_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/.*)?")


def _tokens(found: Resource) -> set[str]:
    """The codes of a resource; none where a number in them is beyond every range."""
    try:
        tree = msgspec.to_builtins(_coded.decode(found.body))
    except msgspec.DecodeError:
        return set()
    concept = tree.get(_CODE.get(found.type, ("", "code"))[1])
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return {f"{coding.get('system', '')}|{coding.get('code', '')}" for coding in objects(codings)}


def _escaped(token: str) -> str:
    """A token with the characters escaped that separate values (https://hl7.org/fhir/R4/search.html#escaping)."""
    return token.replace("\\", "\\\\").replace(",", "\\,").replace("$", "\\$")
