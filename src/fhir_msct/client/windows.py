"""The unit of work: one type, some of the cohort's patients; and the proof that all of it came.

The server counts before and after; the distinct ids that came must be as many. A missing `next` link
proves nothing: servers stop paging without a word. Every resource is also held against what was asked,
because a server may ignore a parameter that it does not know.
"""

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.plan import Wanted
from fhir_msct.records import Resource

PATIENTS = 25
"""Patients of one window, to begin with."""

LARGEST = 1000
"""Resources of one window: more are asked for in halves, as long as there is more than one patient."""

TRIES = 3
"""How often a window is read before it counts as not provable."""

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
    codes: tuple[str, ...] = ()
    """`system|code`, where only these may be asked for."""

    def params(self, page_size: int) -> tuple[tuple[str, str], ...]:
        """The search's parameters."""
        name, before = _OWNER.get(self.type, ("patient", ""))
        asked = [(name, ",".join(before + id_ for id_ in self.patients))]
        if self.codes:
            asked.append((_CODE.get(self.type, ("code",))[0], ",".join(map(_escaped, self.codes))))
        return (*asked, ("_count", str(page_size)))

    def halves(self) -> "tuple[Window, ...]":
        """The same work in two windows; nothing where there is only one patient."""
        middle = len(self.patients) // 2
        parts = (self.patients[:middle], self.patients[middle:])
        return tuple(msgspec.structs.replace(self, patients=part) for part in parts) if middle else ()

    def __str__(self) -> str:
        ids = self.patients
        named = ids[0] if len(ids) == 1 else f"{len(ids)} patients ({ids[0]} to {ids[-1]})"
        return f"{self.type} of {named}"


class Outside(Struct, frozen=True):
    """A resource that came though it was not asked for: counted and hashed, not kept."""

    type: str
    sha256: str
    why: str
    """`type`, `cohort` or `codes`."""


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
    """Holds what came against what was asked."""

    def __init__(self, cohort: Iterable[str], base_url: str) -> None:
        self._cohort, self._base = frozenset(cohort), base_url

    def outside(self, window: Window, found: Resource) -> Outside | None:
        """What is wrong with a resource that came in this window; None where it belongs."""
        why = self._why(window, found)
        return Outside(found.type, sha256(found.body).hexdigest(), why) if why else None

    def _why(self, window: Window, found: Resource) -> str:
        if found.type != window.type:
            return "type"
        if found.type == "Patient":
            return "" if found.id in self._cohort else "cohort"
        owner = patient_of(found.body, self._base)
        if owner is not None and owner not in self._cohort:
            return "cohort"
        return "codes" if window.codes and not set(window.codes) & _tokens(found) else ""


class _Asked(Struct, rename="camel"):
    """The elements that were asked by. Anything may stand in these places."""

    subject: Any = None
    patient: Any = None
    individual: Any = None
    code: Any = None
    event: Any = None
    medication_codeable_concept: Any = None


_asked = msgspec.json.Decoder(_Asked)


def patient_of(body: bytes, base_url: str) -> str | None:
    """The id of the Patient that a resource says it is about; None where that cannot be told here.

    A reference by identifier, to a contained resource or to another server is for the mapping to judge.
    """
    tree = _elements(body)
    for value in (tree.subject, tree.patient, tree.individual):
        if found := reference_to(value, "Patient", base_url):
            return found
    return None


def reference_to(value: Any, type_: str, base_url: str) -> str | None:
    """The id in a reference to this type on this server, relative, absolute or versioned; else None."""
    named = value.get("reference") if isinstance(value, dict) else None
    if not isinstance(named, str):
        return None
    found = re.fullmatch(
        rf"{type_}/([A-Za-z0-9\-.]{{1,64}})(?:/_history/.*)?", named.removeprefix(f"{base_url}/")
    )
    return found[1] if found else None


def _elements(body: bytes) -> _Asked:
    """The elements that were asked by; none where a number in them is beyond every range."""
    try:
        return _asked.decode(body)
    except msgspec.ValidationError:
        return _Asked()


def _tokens(found: Resource) -> set[str]:
    tree = msgspec.to_builtins(_elements(found.body))
    concept = tree.get(_CODE.get(found.type, ("", "code"))[1])
    codings = concept.get("coding") if isinstance(concept, dict) else None
    pairs = [coding for coding in codings or [] if isinstance(coding, dict)]
    return {f"{coding.get('system', '')}|{coding.get('code', '')}" for coding in pairs}


def _escaped(token: str) -> str:
    """A token with the characters escaped that separate values (https://hl7.org/fhir/R4/search.html#escaping)."""
    return token.replace("\\", "\\\\").replace(",", "\\,").replace("$", "\\$")
