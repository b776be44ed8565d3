"""The fields of a record that are computed from its holes, and never edited.

Here a reading becomes a record, or is set aside for what it says: a status, a missing value, a unit.
"""

from collections.abc import Callable
from typing import Any

from fhir_msct.dates import day_of
from fhir_msct.mapping.context import About, Context, Origin, about, absence, date_flags, printable
from fhir_msct.mapping.measured import measurement
from fhir_msct.mapping.reading import Aside
from fhir_msct.mapping.scope import Known
from fhir_msct.records import Finding, Subject, Transplant, When


def subject(found: Any, known: Known | None, at: Origin, context: Context) -> Subject | Aside:
    """One patient. The subject's course of treatment is filled in when all records are there."""
    patient = found.id or ""
    usubjid = context.patients.usubjid(patient)
    if usubjid is None:
        return Aside("no-usubjid", "Patient.identifier")
    replaced = ("replaced_by",) if patient in context.patients.replaced else ()
    return Subject(
        id=found.id,
        sex=found.sex,
        birth=found.birth,
        death=found.death,
        usubjid=usubjid,
        dthdt=_death(found.death),
        source=at.source,
        flags=(*at.flags, *replaced),
    )


def _death(death: When | None) -> str:
    if death is None or death.value is False:
        return ""
    return "Y" if death.value is True else str(death.value)


def transplant(found: Any, known: Known, at: Origin, context: Context) -> Transplant | Aside:
    """One resource that says cells were infused; courses are opened when all are there (rule D3)."""
    element = "performed" if found.o.f_resourceType == "Procedure" else "effective"
    shared = about(
        *(found.o, found.status, found.subject, found.when, found.why, context),
        *(context.accept.accept_event_status, element),
    )
    if isinstance(shared, Aside):
        return shared
    if not printable(found.dose, found.dose_text):
        return Aside("not-a-number", f"{found.o.f_resourceType}: dose")
    review = () if known.tier in context.trusted else ("review",)
    return Transplant(
        id=found.id,
        status=found.status,
        subject=found.subject,
        when=found.when,
        cell_source=found.cell_source,
        dose=found.dose,
        doseu=found.doseu,
        usubjid=shared.usubjid,
        exstdtc=shared.adtc,
        exendtc=shared.aendtc,
        exstdt=shared.day.calendar,
        product=known.value,
        recognised_by=known.tier,
        source=at.source,
        lastupdated=at.lastupdated,
        flags=_flags(known, at, shared, review),
    )


def finding(found: Any, known: Known, at: Origin, context: Context) -> Finding | Aside:
    """A diagnosis or manifestation (Condition), or an investigator's judgement of one (Observation)."""
    if found.o.f_resourceType == "Condition":
        shared, abated = _condition(found, context), found.abated
    else:
        shared, abated = _judgement(found, context), None
    if isinstance(shared, Aside):
        return shared
    ended = str(abated.value) if abated else shared.aendtc
    return Finding(
        id=found.id,
        status=found.status,
        term=found.term,
        subject=found.subject,
        when=found.when,
        abated=abated,
        recorded=getattr(found, "recorded", None),
        state=found.state,
        usubjid=shared.usubjid,
        finding=known.row["finding"],
        adtc=shared.adtc,
        aendtc=ended,
        adt=shared.day.calendar,
        aendt=day_of(ended, context.zone).calendar,
        source=at.source,
        lastupdated=at.lastupdated,
        flags=_flags(known, at, shared),
    )


def _judgement(found: Any, context: Context) -> About | Aside:
    shared = about(
        *(found.o, found.status, found.subject, found.when, found.why, context),
        context.accept.accept_status,
    )
    if isinstance(shared, About) and found.state is None:
        given = found.o.f_valueCodeableConcept is not None
        return Aside("not-allowed" if given else absence(found.why), "Observation.valueCodeableConcept")
    return shared


def _condition(found: Any, context: Context) -> About | Aside:
    """A Condition's subject and dates: its onset, else the day it was recorded."""
    if found.status is not None and found.status not in context.accept.accept_verification:
        return Aside(f"status-{found.status}", "Condition.verificationStatus")
    usubjid = context.patients.usubjid(found.subject)
    if usubjid is None:
        return Aside("no-usubjid", "Condition.subject")
    when, flags = found.when, tuple[str, ...]()
    if when is None and found.recorded:
        when, flags = When("dateTime", found.recorded), ("recorded_date",)
    if when is None:
        return About(usubjid)
    day = day_of(when.value, context.zone)
    if not day.exists:
        return Aside("date-kind", "Condition.onset[x]")
    if found.abated is not None and not day_of(found.abated.value, context.zone).exists:
        return Aside("date-kind", "Condition.abatement[x]")
    return About(usubjid, when.value, when.end or "", day, (*flags, *date_flags(day, context.zone)))


def _flags(known: Known, at: Origin, shared: About, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known.flags, *at.flags, *shared.flags, *more)))


BUILDERS: dict[str, Callable[..., Any]] = {
    "subject": subject,
    "measurement": measurement,
    "transplant": transplant,
    "finding": finding,
}
"""The record of each mapping file: of `finding-judgement.json`, the word before the first hyphen."""
