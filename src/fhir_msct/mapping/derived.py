"""The fields of a record that are computed from its holes, and never edited.

Here a reading becomes a record, or is set aside for what it says: a status, a missing value, a unit.
"""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from fhir_msct.dates import calendar_date, is_date, is_utc
from fhir_msct.exact import scaled, terminates
from fhir_msct.mapping.reading import Aside
from fhir_msct.mapping.scope import Known
from fhir_msct.mapping.subjects import Identifier, Patients
from fhir_msct.mapping.units import Unit, Units
from fhir_msct.plan import Accept, Parameter
from fhir_msct.records import Finding, Measurement, Resource, Subject, Transplant, When

DEFAULT_STATUS = frozenset(Accept().accept_status)

DEFAULT_EVENT_STATUS = frozenset(Accept().accept_event_status)
LARGEST_EXPONENT = 1000

_identifiers = msgspec.json.Decoder(list[Identifier]).decode


class Context(Struct, frozen=True):
    """What records are computed with, besides the resource itself."""

    accept: Accept
    parameters: dict[str, Parameter]
    units: Units
    patients: Patients
    zone: ZoneInfo | None = None
    trusted: tuple[str, ...] = ()


class Origin(Struct, frozen=True):
    """The version of the resource that a record comes from."""

    source: str
    lastupdated: str
    flags: tuple[str, ...] = ()


def origin(resource: Resource) -> Origin:
    """Where a record comes from: `Type/id/_history/version`, as far as the server says."""
    source = f"{resource.type}/{resource.id}" if resource.id else resource.where
    if resource.version:
        source += f"/_history/{resource.version}"
    return Origin(source, resource.lastupdated or "", ("subsetted",) if resource.subsetted else ())


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


def measurement(found: Any, known: Known, at: Origin, context: Context) -> Measurement | Aside:
    """One measured value in the study's unit, exactly."""
    flags = list(known.flags) + list(at.flags)
    shared = _shared(found, context, context.accept.accept_status, "effective", flags)
    if isinstance(shared, Aside):
        return shared
    paramcd, quantity = found.paramcd, "Observation.valueQuantity"
    if found.value is None or any(hole == "" for hole, _ in found.why):
        return Aside(_absence(found), quantity)  # a masked or cancelled result may keep an old value
    if not all(map(_printable, (found.value, found.low, found.high))):
        return Aside("not-a-number", quantity)
    unit = _unit(found, known, context.units)
    if isinstance(unit, Aside):
        return unit
    parameter = context.parameters.get(paramcd)
    limits = _limits(found, unit, context.units)
    flags += unit.flags
    if parameter is not None and parameter.enzyme and (limits is None or found.high is None):
        flags.append("no_uln")
    if not terminates(Fraction(found.value) * unit.factor):
        flags.append("rounded")
    if parameter is not None:
        flags += _scale_flags(parameter, found, unit)
    return Measurement(
        **{name: getattr(found, name) for name in _MEASUREMENT_HOLES},
        **shared,
        param=parameter.param if parameter else "",
        aval=scaled(found.value, unit.factor),
        avalu=unit.study_unit,
        orres=found.value_text,
        orresu=found.unit or found.unit_text or "",
        orcode=known.code,
        orsystem=known.system,
        anrlo=_limit(found.low, limits),
        anrhi=_limit(found.high, limits),
        scale=parameter.scale if parameter else "",
        source=at.source,
        lastupdated=at.lastupdated,
        code_row=known.row.place,
        unit_row=unit.place,
        flags=tuple(dict.fromkeys(flags)),
        factor=unit.factor,
        ornrlo=found.low_text or "",
        ornrhi=found.high_text or "",
        range_factor=limits,
        identifiers=_business(found.o.f_identifier),
    )


_MEASUREMENT_HOLES = (
    *("id", "status", "paramcd", "subject", "when", "value", "comparator"),
    *("unit_text", "unit_system", "unit", "side", "low", "high"),
)


def _shared(
    found: Any, context: Context, accept: tuple[str, ...], element: str, flags: list[str]
) -> dict[str, Any] | Aside:
    """Status, subject and date: the same for everything that was measured or done."""
    kind = found.o.f_resourceType
    if found.status not in accept:
        return Aside(f"status-{_word(found.status)}", f"{kind}.status")
    usubjid = context.patients.usubjid(found.subject)
    if usubjid is None:
        return Aside("no-usubjid", f"{kind}.subject")
    if found.when is None:
        reason = next((f"absent-{why}" for hole, why in found.why if hole == "when"), "")
        return Aside("no-date", f"{kind}.{element}[x]", reason)
    if found.status not in DEFAULT_STATUS | DEFAULT_EVENT_STATUS:
        flags.append("status_accepted")
    if found.subject in context.patients.replaced:
        flags.append("replaced_by")
    if not is_date(str(found.when.value)):
        return Aside("date-kind", f"{kind}.{element}[x]")
    return {"usubjid": usubjid, **_dates(found.when, context.zone, flags)}


def _dates(when: When, zone: ZoneInfo | None, flags: list[str]) -> dict[str, Any]:
    text = str(when.value)
    day = calendar_date(text, zone)
    if day is None:
        flags.append("partial_date")
    if is_utc(text) and zone is None:
        flags.append("utc_date")
    return {"adtc": text, "aendtc": when.end or "", "adt": day}


def _word(status: object) -> str:
    """A status as part of a reason; what is no code of FHIR's form is not repeated."""
    text = str(status)
    return text if text.replace("-", "").isalpha() and len(text) <= 32 else "other"


def _printable(value: Decimal | None) -> bool:
    """A number with an exponent in the thousands is a defect or an attack, no measurement."""
    return value is None or abs(value.adjusted()) < LARGEST_EXPONENT


def _absence(found: Any) -> str:
    return next((f"absent-{why}" for hole, why in found.why if hole in ("", "value")), "no-value")


def _unit(found: Any, known: Known, units: Units) -> Unit | Aside:
    if not (found.unit or found.unit_text):
        bare = units.without(found.paramcd, known.row["system"], known.code)
        return bare or Aside("unit-missing", "Observation.valueQuantity")
    unit = units.find(found.paramcd, found.unit_system, found.unit, found.unit_text)
    detail = found.unit or found.unit_text
    return unit or Aside("unit-unknown", "Observation.valueQuantity", f"{found.paramcd} {detail}")


def _limits(found: Any, unit: Unit, units: Units) -> Fraction | None:
    """The factor of the reference range; None where there is no range that can be used (rule D11)."""
    if (found.low is None and found.high is None) or (found.low == 0 and found.high == 0):
        return None
    factors = {
        _limit_factor(found.paramcd, unit, units, getattr(found, f"_{name}_system"), *texts)
        for name, value, *texts in (
            ("low", found.low, found._low_unit, found._low_text),
            ("high", found.high, found._high_unit, found._high_text),
        )
        if value is not None
    }
    return factors.pop() if len(factors) == 1 else None


def _limit_factor(
    paramcd: str, unit: Unit, units: Units, system: str | None, code: str | None, text: str | None
) -> Fraction | None:
    """A limit without a unit is in the unit of its value."""
    if not (code or text):
        return unit.factor
    found = units.find(paramcd, system, code, text)
    return found.factor if found else None


def _limit(value: Decimal | None, factor: Fraction | None) -> Decimal | None:
    return None if value is None or factor is None else scaled(value, factor)


def _scale_flags(parameter: Parameter, found: Any, unit: Unit) -> list[str]:
    value, flags = Fraction(found.value) * unit.factor, []
    if parameter.low is not None and value < parameter.low:
        flags.append("outside_scale")
    if parameter.high is not None and value > parameter.high:
        flags.append("outside_scale")
    if parameter.sided and not found.side:
        flags.append("no_side")
    return flags


def _business(raw: Any) -> tuple[str, ...]:
    try:
        found = _identifiers(raw) if raw is not None else []
    except msgspec.DecodeError:
        return ()
    return tuple(sorted(f"{one.system or ''}|{one.value}" for one in found if one.value))


def transplant(found: Any, known: Known, at: Origin, context: Context) -> Transplant | Aside:
    """One resource that says cells were infused; courses are opened when all are there (rule D3)."""
    flags = list(known.flags) + list(at.flags)
    element = "performed" if found.o.f_resourceType == "Procedure" else "effective"
    shared = _shared(found, context, context.accept.accept_event_status, element, flags)
    if isinstance(shared, Aside):
        return shared
    if known.tier not in context.trusted:
        flags.append("review")
    return Transplant(
        **{n: getattr(found, n) for n in ("id", "status", "subject", "when", "cell_source", "dose", "doseu")},
        usubjid=shared["usubjid"],
        exstdtc=shared["adtc"],
        exendtc=shared["aendtc"],
        exstdt=shared["adt"],
        product=known.value,
        recognised_by=known.tier,
        source=at.source,
        lastupdated=at.lastupdated,
        flags=tuple(dict.fromkeys(flags)),
    )


def finding(found: Any, known: Known, at: Origin, context: Context) -> Finding | Aside:
    """A diagnosis or manifestation (Condition), or an investigator's judgement of one (Observation)."""
    flags = list(known.flags) + list(at.flags)
    if found.o.f_resourceType == "Observation":
        shared = _shared(found, context, context.accept.accept_status, "effective", flags)
        if not isinstance(shared, Aside) and found.state is None:
            given = found.o.f_valueCodeableConcept is not None
            return Aside("not-allowed" if given else _absence(found), "Observation.valueCodeableConcept")
    else:
        shared = _condition(found, context, flags)
    if isinstance(shared, Aside):
        return shared
    ended = str(found.abated.value) if getattr(found, "abated", None) else shared.pop("aendtc")
    shared["aendtc"] = ended
    names = ("id", "status", "subject", "when", "abated", "recorded", "state")
    holes: dict[str, Any] = {name: getattr(found, name, None) for name in names}
    return Finding(
        **holes,
        **shared,
        term=found.term,
        finding=known.row["finding"],
        aendt=calendar_date(ended, context.zone),
        source=at.source,
        lastupdated=at.lastupdated,
        flags=tuple(dict.fromkeys(flags)),
    )


def _condition(found: Any, context: Context, flags: list[str]) -> dict[str, Any] | Aside:
    """A Condition's subject and dates: its onset, else the day it was recorded."""
    if found.status is not None and found.status not in context.accept.accept_verification:
        return Aside(f"status-{_word(found.status)}", "Condition.verificationStatus")
    usubjid = context.patients.usubjid(found.subject)
    if usubjid is None:
        return Aside("no-usubjid", "Condition.subject")
    when = found.when
    if when is None and found.recorded:
        flags.append("recorded_date")
        when = When("dateTime", found.recorded)
    if when is not None and not is_date(str(when.value)):
        return Aside("date-kind", "Condition.onset[x]")
    dates = _dates(when, context.zone, flags) if when else {"adtc": "", "aendtc": "", "adt": None}
    return {"usubjid": usubjid, **dates}


BUILDERS: dict[str, Callable[..., Any]] = {
    "subject": subject,
    "measurement": measurement,
    "transplant": transplant,
    "finding": finding,
}
"""The record of each mapping file: of `finding-judgement.json`, the word before the first hyphen."""
