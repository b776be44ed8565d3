"""Whom to pull: the ids of the cohort's patients, from the four ways in which a study may name them.

The Group, ResearchSubject and Condition resources that name patients are read here and not kept.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.client.capability import objects
from fhir_msct.client.failures import PageGone, Unusable
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.client.windows import TRIES, patient_of, reference_to, verdict
from fhir_msct.errors import ConfigError
from fhir_msct.plan import Cohort
from fhir_msct.records import Resource

_WAYS = ("patients", "group", "research_study", "diagnosis")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


class Found(Struct, frozen=True, kw_only=True):
    """The cohort, and what stands in the way of calling it whole."""

    patients: tuple[str, ...]
    problems: tuple[str, ...] = ()


def checked(cohort: Cohort, origin: Origin) -> None:
    """Returns for a cohort that may be asked for.

    Raises ConfigError: not exactly one way to name it, an id that is none, or no legal basis for a
    server that is not this machine.
    """
    ways = [way for way in _WAYS if getattr(cohort, way)]
    if len(ways) != 1:
        said = " and ".join(ways) or "nothing"
        raise ConfigError(f"study.toml: [cohort] wants exactly one of {', '.join(_WAYS)}; it says {said}")
    named = [*cohort.patients, cohort.group or "", cohort.research_study or ""]
    for id_ in filter(None, named):
        if not _ID.fullmatch(_bare(id_)):
            raise ConfigError(f"study.toml: [cohort] {ways[0]}: {id_!r} is not a FHIR id")
    basis = (cohort.basis or "").strip()
    unnumbered = basis.casefold().startswith("waiver") and not any(letter.isdigit() for letter in basis)
    if not origin.is_loopback and (not basis or unnumbered):
        raise ConfigError(
            f"study.toml: [cohort] basis: say on what basis patients' data are pulled from {origin} "
            '("consent", or "waiver" and its number)'
        )


def requests(cohort: Cohort) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """What is asked to find the cohort: type and parameters; the type alone for a single read."""
    if cohort.group:
        return ((f"Group/{_bare(cohort.group)}", ()),)
    if cohort.research_study:
        return (("ResearchSubject", (("study", f"ResearchStudy/{_bare(cohort.research_study)}"),)),)
    return tuple(("Condition", (("code", token),)) for token in cohort.diagnosis)


def patients_named(cohort: Cohort) -> tuple[str, ...]:
    """The patients whom the study lists itself, sorted."""
    return tuple(sorted({_bare(id_) for id_ in cohort.patients}))


def patients(client: Client, cohort: Cohort, page_size: int) -> Found:
    """The ids of the cohort's patients, sorted; asks the server where the study does not list them."""
    if cohort.patients:
        return Found(patients=patients_named(cohort))
    if cohort.group:
        return _members(client, _bare(cohort.group))
    found: set[str] = set()
    problems: list[str] = []
    for type_, params in requests(cohort):
        resources, why = gathered(client, type_, (*params, ("_count", str(page_size))))
        asked = [one for one in resources if _is_asked_for(one, params[0], client.base_url)]
        valid = [one for one in asked if not _is_withdrawn(one)]
        named = [patient_of(resource.body, client.base_url) for resource in valid]
        found.update(id_ for id_ in named if id_)
        if why:
            problems.append(f"the cohort cannot be proved whole: {type_}: {why}")
        if unasked := len(resources) - len(asked):
            problems.append(
                f"{unasked} {type_} came that do not have the {params[0][0]} asked for, and were left out: "
                "the server does not mind it, so name the cohort's patients or their Group instead"
            )
        if None in named:
            problems.append(f"{named.count(None)} {type_} of the cohort do not name a Patient of this server")
    return _nonempty(found, problems)


def gathered(client: Client, type_: str, params: Iterable[tuple[str, str]]) -> tuple[list[Resource], str]:
    """Everything that a search finds, each id once, and why the counts do not prove it (or nothing)."""
    params, by_id, why = tuple(params), dict[str | None, Resource](), ""
    for _ in range(TRIES):
        try:
            before = client.count(type_, params)
            this = [found for page in client.search(type_, params) for found in page.resources]
            why = verdict(before, client.count(type_, params), len({found.id for found in this}))
        except (Unusable, PageGone) as error:
            why = str(error)
            continue
        by_id |= {found.id: found for found in this if found.type == type_}
        if not why:
            break
    return list(by_id.values()), why


def _members(client: Client, group: str) -> Found:
    """The active members of a Group (https://hl7.org/fhir/R4/group.html)."""
    found = client.read("Group", group)
    if found is None:
        raise ConfigError(f"study.toml: [cohort] group: the server has no Group/{group}")
    try:
        tree: Any = msgspec.json.decode(found.body)
    except (msgspec.DecodeError, RecursionError):
        raise Unusable(
            "shape", f"Group/{group} cannot be read: a number in it is beyond every range"
        ) from None
    members = objects(tree.get("member"))
    active = [member.get("entity") for member in members if member.get("inactive") is not True]
    named = [reference_to(entity, "Patient", client.base_url) for entity in active]
    lost = named.count(None)
    problems = [f"{lost} members of Group/{group} are not Patients of this server"] if lost else []
    if found.subsetted:
        problems.append(f"Group/{group} came without all of its elements")
    return _nonempty({id_ for id_ in named if id_}, problems)


def _is_asked_for(found: Resource, asked: tuple[str, str], base_url: str) -> bool:
    """Whether a resource has the `study` or the `code` that was asked for: a server may ignore either."""
    tree, (name, value) = _tree(found), asked
    if name == "study":
        return f"ResearchStudy/{reference_to(tree.get('study'), 'ResearchStudy', base_url)}" == value
    concept = tree.get("code")
    codings = objects(concept.get("coding") if isinstance(concept, dict) else None)
    system, bar, code = value.rpartition("|")
    return any(
        (not code or one.get("code") == code) and (not bar or (one.get("system") or "") == system)
        for one in codings
    )


def _is_withdrawn(found: Resource) -> bool:
    """Whether a Condition was entered in error (http://hl7.org/fhir/R4/condition.html: con-5)."""
    said = _tree(found).get("verificationStatus")
    codings = objects(said.get("coding") if isinstance(said, dict) else None)
    return any(one.get("code") == "entered-in-error" for one in codings)


def _tree(found: Resource) -> dict[str, Any]:
    try:
        tree: Any = msgspec.json.decode(found.body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _nonempty(found: set[str], problems: list[str]) -> Found:
    if not found:
        problems = [*problems, "the cohort has no patients: check [cohort] in study.toml"]
    return Found(patients=tuple(sorted(found)), problems=tuple(problems))


def _bare(id_: str) -> str:
    """An id also where it was written as a reference: `Patient/p1`."""
    return re.sub(r"^(Patient|Group|ResearchStudy)/", "", id_.strip())
