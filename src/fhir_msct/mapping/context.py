"""What a record needs besides its resource: the study's choices, its patients, and where it came from."""

from decimal import Decimal
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from fhir_msct.dates import Day, day_of
from fhir_msct.mapping.reading import Aside
from fhir_msct.mapping.subjects import Patients
from fhir_msct.mapping.units import Units
from fhir_msct.plan import Accept, Parameter
from fhir_msct.records import Resource, When

MOST_DIGITS = 1000
USUAL_STATUS = frozenset((*Accept().accept_status, *Accept().accept_event_status))


class Context(Struct, frozen=True):
    """What records are computed with, besides the resource itself."""

    accept: Accept
    parameters: dict[str, Parameter]
    units: Units
    patients: Patients
    zone: ZoneInfo | None = None
    trusted: tuple[str, ...] = ()
    frames: dict[tuple[Any, ...], Any] = {}
    """What was found out of each combination of code, unit and reference range: see `frames`."""


class Origin(Struct, frozen=True, gc=False):
    """The version of the resource that a record comes from."""

    source: str
    lastupdated: str
    flags: tuple[str, ...] = ()


def origin(resource: Resource, kind: str, id_: str | None, meta: Any) -> Origin:
    """Where a record comes from: `Type/id/_history/version`, as far as the server or its own bytes say."""
    version, lastupdated = resource.version, resource.lastupdated
    if meta is not None:
        version, lastupdated = version or meta.f_version, lastupdated or meta.f_lastupdated
    name = resource.id or id_
    if name is None:
        name = f"#{sha256(resource.body).hexdigest()}"
    source = f"{kind}/{name}/_history/{version}" if version else f"{kind}/{name}"
    return Origin(source, lastupdated or "", ("subsetted",) if resource.subsetted else ())


class About(Struct, frozen=True, gc=False):
    """Whom and when: the same for everything that was measured or done."""

    usubjid: str
    adtc: str = ""
    aendtc: str = ""
    day: Day = Day()
    flags: tuple[str, ...] = ()


def about(
    o: Any,
    status: str,
    subject: str,
    when: When | None,
    why: Any,
    context: Context,
    accept: tuple[str, ...],
    element: str = "effective",
) -> About | Aside:
    """Status, subject and date of a reading of the resource `o`, or why it is set aside."""
    if status not in accept:
        return Aside(f"status-{_word(status)}", f"{o.f_resourceType}.status")
    usubjid = context.patients.usubjid(subject)
    if usubjid is None:
        return Aside("no-usubjid", f"{o.f_resourceType}.subject")
    if when is None:
        reason = next((f"absent-{word}" for hole, word in why if hole == "when"), "")
        return Aside("no-date", f"{o.f_resourceType}.{element}[x]", reason)
    day = day_of(when.value, context.zone)
    if not day.exists:
        return Aside("date-kind", f"{o.f_resourceType}.{element}[x]")
    flags = date_flags(day, context.zone)
    if status not in USUAL_STATUS:
        flags = (*flags, "status_accepted")
    if subject in context.patients.replaced:
        flags = (*flags, "replaced_by")
    return About(usubjid, when.value, when.end or "", day, flags)


def date_flags(day: Day, zone: ZoneInfo | None) -> tuple[str, ...]:
    """What to know of a date: it is partial, or it is an instant in Z and the study has no time zone."""
    if day.calendar is None:
        return ("partial_date",)
    return ("utc_date",) if day.utc and zone is None else ()


def absence(why: Any) -> str:
    """The reason code of a value that is not there."""
    return next((f"absent-{word}" for hole, word in why if hole in ("", "value")), "no-value")


def printable(value: Decimal | None, text: str | None) -> bool:
    """Whether a number can be written out: a thousand digits are a defect or an attack, no measurement."""
    return value is None or (len(text or "") < MOST_DIGITS and -MOST_DIGITS < value.adjusted() < MOST_DIGITS)


def _word(status: object) -> str:
    """A status as part of a reason; what is no code of FHIR's form is not repeated."""
    text = str(status)
    return text if text.replace("-", "").isalpha() and len(text) <= 32 else "other"
