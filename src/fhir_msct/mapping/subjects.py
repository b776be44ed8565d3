"""Whom a resource is about: the six shapes of a reference to a Patient, and one subject for one person.

Relative, absolute on our server, versioned, `urn:uuid` (by fullUrl), contained, identifier only.
https://hl7.org/fhir/R4/references.html
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fhir_msct.dates import calendar_date
from fhir_msct.errors import ConfigError
from fhir_msct.mapping import twice
from fhir_msct.records import Resource, When

_PLAIN = re.compile(r"[A-Za-z0-9.\-]{1,64}").fullmatch
_REFERENCE = re.compile(
    r"(?:(?P<base>https?://.*)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9.\-]{1,64})(?:/_history/[^/]+)?"
).fullmatch


def local_id(kind: str, text: str, base: str | None) -> str | None:
    """The id in a reference of this type, relative or on our own server, versioned or not; else None."""
    head, _, tail = text.rpartition("/")
    if head == kind and _PLAIN(tail):
        return tail
    found = _REFERENCE(text)
    if found and found["type"] == kind and found["base"] in (None, base):
        return found["id"]
    return None


def id_place(text: str) -> int:
    """Where the id begins in a reference that holds one."""
    found = _REFERENCE(text)
    return found.start("id") if found else 0


class Who(Struct, frozen=True):
    """What a reference range may depend on."""

    sex: str | None = None
    age: int | None = None


class Identifier(Struct, frozen=True):
    """A business identifier as far as it tells one from another."""

    system: str | None = None
    value: str | None = None


class _Link(Struct):
    other: dict[str, Any] | None = None
    type: str | None = None


class _Patient(Struct):
    id: str | None = None
    gender: str | None = None
    birthDate: str | None = None  # noqa: N815  FHIR's own name
    identifier: list[Identifier] | None = None
    link: list[_Link] | None = None


_patient = msgspec.json.Decoder(_Patient).decode
_identifier = msgspec.json.Decoder(Identifier).decode
_contained = msgspec.json.Decoder(list[_Patient]).decode


class Patients:
    """The patients of a study: resolves references, and says which subject a patient is."""

    def __init__(
        self, resources: Iterable[Resource] = (), *, base: str | None = None, system: str | None = None
    ) -> None:
        """`system`: the identifier system that gives `usubjid`; else it is the Patient's id.

        Raises ConfigError where two patients carry one identifier of that system.
        """
        self.base, self.system = base.rstrip("/") if base else None, system
        self._named: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        self._people: dict[str, _Patient] = {}
        self._by_url: dict[str, str] = {}
        self._by_identifier: dict[tuple[str | None, str | None], str | None] = {}
        for resource in resources:
            self._add(resource)
        if system is not None:
            self._check_unique(system)

    def _add(self, resource: Resource) -> None:
        try:
            person = _patient(resource.body)
        except (msgspec.DecodeError, RecursionError):
            return  # the reader sets it aside and says why
        if person.id is None or twice.why_not(resource.body, "Patient"):
            return
        self._people[person.id] = person
        if resource.full_url:
            self._by_url[resource.full_url] = person.id
        for identifier in person.identifier or ():
            key = (identifier.system, identifier.value)
            known = self._by_identifier.setdefault(key, person.id)
            if known != person.id:
                self._by_identifier[key] = None  # two people: it says nothing
            if self.system is not None and identifier.system == self.system and identifier.value:
                self._named[person.id] = identifier.value
        for link in person.link or ():
            other = str((link.other or {}).get("reference") or "")
            if link.type == "replaced-by" and (newer := local_id("Patient", other, self.base)):
                self.replaced[person.id] = newer

    def _check_unique(self, system: str) -> None:
        owners: dict[str, str] = {}
        for patient, usubjid in sorted(self._named.items()):
            other = owners.setdefault(usubjid, self.last(patient))
            if other != self.last(patient):
                raise ConfigError(
                    f"Patient/{other} and Patient/{patient} carry the same identifier of {system}: "
                    "merge them on the server, or choose another [records] identifier_system"
                )

    def last(self, patient: str) -> str:
        """The patient that replaced this one, at the end of the chain; itself if nothing did."""
        seen = {patient}
        while (newer := self.replaced.get(patient)) and newer not in seen:
            seen.add(newer)
            patient = newer
        return patient

    def usubjid(self, patient: str) -> str | None:
        """The subject a patient is; None where an identifier system is asked for and the patient has none."""
        if self.system is None:
            return self.last(patient) if self.replaced else patient
        return self._named.get(self.last(patient)) or self._named.get(patient)

    def who(self, patient: str | None, when: When | None) -> Who:
        """Sex and age in whole years on the day."""
        person = self._people.get(patient or "")
        if person is None:
            return Who()
        born, day = calendar_date(person.birthDate), calendar_date(str(when.value)) if when else None
        age = None
        if born and day:
            age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
        return Who(person.gender, age)

    def resolve(self, text: str | None, identifier: Raw, resource: Any) -> str | None:
        """The Patient id that a reference means; None where it cannot be resolved."""
        if text is None:
            return self._known(_safe(_identifier, identifier))
        id_ = text[8:]
        if text[:8] == "Patient/" and id_.isalnum() and id_.isascii() and len(id_) <= 64:
            return id_  # nearly all of them, without a pattern
        found = local_id("Patient", text, self.base) or self._by_url.get(text)
        if found is None and text.startswith("#"):
            found = self._within(text[1:], resource.f_contained)
        return found

    def _within(self, name: str, contained: Raw) -> str | None:
        for person in _safe(_contained, contained) or ():
            if person.id == name:
                return next((p for i in person.identifier or () if (p := self._known(i))), None)
        return None

    def _known(self, identifier: Any) -> str | None:
        if identifier is None or not identifier.value:
            return None
        return self._by_identifier.get((identifier.system, identifier.value))


def _safe(decode: Any, raw: Any) -> Any:
    """A shape error in what is only looked at is no reason of its own."""
    try:
        return decode(raw) if raw is not None else None
    except msgspec.DecodeError:
        return None
