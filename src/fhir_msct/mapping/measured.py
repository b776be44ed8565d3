"""One measured value in the study's unit, exactly; or why it is set aside."""

from decimal import Decimal
from typing import Any

import msgspec

from fhir_msct.exact import scaled
from fhir_msct.mapping.context import Context, Origin, about, absence, printable
from fhir_msct.mapping.frames import QUANTITY, Frame, flags, frame_of
from fhir_msct.mapping.reading import Aside
from fhir_msct.mapping.scope import Known
from fhir_msct.mapping.subjects import Identifier
from fhir_msct.records import Measurement

_identifiers = msgspec.json.Decoder(list[Identifier]).decode

HANDED = ("id", "status", "subject", "when", "value", "value_text", "comparator", "side")
"""The holes that another result has otherwise, in the order in which `result` takes them."""


def measurement(found: Any, known: Known, at: Origin, context: Context) -> Measurement | Aside:
    """The record of one Observation, or of the component that holds its value."""
    handed = [getattr(found, name) for name in HANDED]
    return result(frame_of(found, known, context), at, context, found.o, found.why, *handed)


def result(
    frame: Frame | Aside,
    at: Origin,
    context: Context,
    o: Any,
    why: Any,
    id_: str | None,
    status: str,
    subject: str,
    when: Any,
    value: Decimal | None,
    value_text: str,
    comparator: str | None,
    side: str | None,
) -> Measurement | Aside:
    """The record of one value in its frame."""
    shared = about(o, status, subject, when, why, context, context.accept.accept_status)
    if isinstance(shared, Aside):
        return shared
    if value is None or (why and any(hole == "" for hole, _ in why)):
        return Aside(absence(why), QUANTITY)  # a masked or cancelled result may keep an old value
    if isinstance(frame, Aside):
        return frame
    if not printable(value, value_text):
        return Aside("not-a-number", QUANTITY)
    f, known = frame.all_but_value, frame.known
    said = f.flags
    if frame.watched or at.flags or shared.flags:
        more = (*known.flags, *at.flags, *shared.flags, *frame.unit.flags, *flags(frame, value, side))
        said = tuple(dict.fromkeys(more))
    # Every field by its place, in the order of the class: by name it would take three times as long.
    return Measurement(
        id_,
        status,
        f.paramcd,
        subject,
        when,
        value,
        comparator,
        f.unit_text,
        f.unit_system,
        f.unit,
        side,
        f.low,
        f.high,
        shared.usubjid,
        f.param,
        shared.adtc,
        shared.aendtc,
        shared.day.calendar,
        value if frame.same else scaled(value, frame.unit.factor),
        f.avalu,
        value_text,
        f.orresu,
        f.orcode,
        f.orsystem,
        f.anrlo,
        f.anrhi,
        f.scale,
        at.source,
        at.lastupdated,
        f.code_row,
        f.unit_row,
        said,
        f.factor,
        f.ornrlo,
        f.ornrhi,
        f.range_factor,
        () if o.f_identifier is None else _business(o.f_identifier),
    )


def _business(given: Any) -> tuple[str, ...]:
    """From the bytes of the identifiers, whose shape is no reason to set a result aside, or as they are."""
    try:
        found = given if given.__class__ is tuple else _identifiers(given)
    except msgspec.DecodeError:
        return ()
    if len(found) == 1:
        return (f"{found[0].system or ''}|{found[0].value}",) if found[0].value else ()
    return tuple(sorted(f"{one.system or ''}|{one.value}" for one in found if one.value))
