"""One measured value in the study's unit, exactly; or why it is set aside."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.exact import scaled
from fhir_msct.mapping.context import About, Context, Origin, about, absence, printable
from fhir_msct.mapping.reading import Aside
from fhir_msct.mapping.scope import REMEMBERED, Known
from fhir_msct.mapping.subjects import Identifier
from fhir_msct.mapping.units import Unit, Units
from fhir_msct.plan import Parameter
from fhir_msct.records import Measurement

QUANTITY = "Observation.valueQuantity"

_identifiers = msgspec.json.Decoder(list[Identifier]).decode


class Scale(Struct, frozen=True, gc=False):
    """How one parameter in one combination of units becomes the study's unit: shared by many results."""

    unit: Unit | Aside
    range_factor: Fraction | None = None
    """Study units in one unit of the reference range; None where its units are unknown, or two."""
    parameter: Parameter | None = None
    watched: bool = False
    """Whether each value has to be looked at: a scale with ends, one side of the body, an endless factor."""


def measurement(found: Any, known: Known, at: Origin, context: Context) -> Measurement | Aside:
    """The record of one Observation, or of the component that holds its value."""
    shared = about(found, context, context.accept.accept_status, "effective")
    if shared.__class__ is Aside:
        return shared
    value: Decimal | None = found.value
    if value is None or (found.why and any(hole == "" for hole, _ in found.why)):
        return Aside(absence(found), QUANTITY)  # a masked or cancelled result may keep an old value
    scale = _scale(found, known, context)
    unit = scale.unit
    if unit.__class__ is Aside:
        return unit
    low, high, limits = found.low, found.high, scale.range_factor
    if not (
        printable(value, found.value_text)
        and printable(low, found.low_text)
        and printable(high, found.high_text)
    ):
        return Aside("not-a-number", QUANTITY)
    if not low and not high:  # none, or low = high = 0, which means "none given" (rule D11)
        limits = None
    return _record(found, known, at, shared, scale, limits)  # type: ignore[arg-type]


def _record(
    found: Any, known: Known, at: Origin, shared: About, scale: Scale, limits: Fraction | None
) -> Measurement:
    """Every field by its place, in the order of the class: by name it would take three times as long."""
    unit: Unit = scale.unit  # type: ignore[assignment]
    factor, parameter, value = unit.factor, scale.parameter, found.value
    flags = (*known.flags, *at.flags, *shared.flags, *unit.flags)
    if scale.watched or limits is None or found.high is None:
        flags += _flags(scale, found, limits)
    return Measurement(
        found.id,
        found.status,
        found.paramcd,
        found.subject,
        found.when,
        value,
        found.comparator,
        found.unit_text,
        found.unit_system,
        found.unit,
        found.side,
        found.low,
        found.high,
        shared.usubjid,
        parameter.param if parameter else "",
        shared.adtc,
        shared.aendtc,
        shared.day.calendar,
        value if factor == 1 else scaled(value, factor),
        unit.study_unit,
        found.value_text,
        found.unit or found.unit_text or "",
        known.code,
        known.system,
        _limit(found.low, limits),
        _limit(found.high, limits),
        parameter.scale if parameter else "",
        at.source,
        at.lastupdated,
        known.row.place,
        unit.place,
        flags if len(flags) < 2 else tuple(dict.fromkeys(flags)),
        factor,
        found.low_text or "",
        found.high_text or "",
        limits,
        () if found.o.f_identifier is None else _business(found.o.f_identifier),
    )


def _scale(found: Any, known: Known, context: Context) -> Scale:
    key = (
        *(found.paramcd, known.code, found.unit_system, found.unit, found.unit_text),
        *(found._low_system, found._low_unit, found._low_text, found.low is None),
        *(found._high_system, found._high_unit, found._high_text, found.high is None),
    )
    scale = context.scales.get(key)
    if scale is None:
        scale = _new_scale(found, known, context)
        if len(context.scales) < REMEMBERED:
            context.scales[key] = scale
    return scale


def _new_scale(found: Any, known: Known, context: Context) -> Scale:
    unit = _unit(found, known, context.units)
    if isinstance(unit, Aside):
        return Scale(unit)
    parameter = context.parameters.get(found.paramcd)
    ends = parameter is not None and (parameter.low is not None or parameter.high is not None)
    watched = ends or unit.endless or (parameter is not None and parameter.sided)
    return Scale(unit, _range_factor(found, unit, context.units), parameter, watched)


def _unit(found: Any, known: Known, units: Units) -> Unit | Aside:
    if not (found.unit or found.unit_text):
        bare = units.without(found.paramcd, known.row["system"], known.code)
        return bare or Aside("unit-missing", QUANTITY)
    unit = units.find(found.paramcd, found.unit_system, found.unit, found.unit_text)
    return unit or Aside("unit-unknown", QUANTITY, f"{found.paramcd} {found.unit or found.unit_text}")


def _range_factor(found: Any, unit: Unit, units: Units) -> Fraction | None:
    """The factor of the reference range; None where its two limits are in units that differ."""
    limits = (
        (found.low, found._low_system, found._low_unit, found._low_text),
        (found.high, found._high_system, found._high_unit, found._high_text),
    )
    factors = {_factor(found.paramcd, unit, units, *texts) for value, *texts in limits if value is not None}
    return factors.pop() if len(factors) == 1 else None


def _factor(
    paramcd: str, unit: Unit, units: Units, system: str | None, code: str | None, text: str | None
) -> Fraction | None:
    """A limit without a unit is in the unit of its value."""
    if not (code or text):
        return unit.factor
    known = units.find(paramcd, system, code, text)
    return known.factor if known else None


def _limit(value: Decimal | None, factor: Fraction | None) -> Decimal | None:
    if value is None or factor is None:
        return None
    return value if factor == 1 else scaled(value, factor)


def _flags(scale: Scale, found: Any, limits: Fraction | None) -> tuple[str, ...]:
    """What to know of a value of this parameter."""
    parameter, unit, flags = scale.parameter, scale.unit, []
    if parameter is None or isinstance(unit, Aside):
        return ()
    if parameter.enzyme and (limits is None or found.high is None):
        flags.append("no_uln")
    if unit.endless and found.value:
        flags.append("rounded")
    exact = (
        Fraction(found.value) * unit.factor
        if parameter.low is not None or parameter.high is not None
        else None
    )
    if exact is not None and parameter.low is not None and exact < parameter.low:
        flags.append("outside_scale")
    if exact is not None and parameter.high is not None and exact > parameter.high:
        flags.append("outside_scale")
    if parameter.sided and not found.side:
        flags.append("no_side")
    return tuple(flags)


def _business(raw: Any) -> tuple[str, ...]:
    try:
        found = _identifiers(raw)
    except msgspec.DecodeError:
        return ()
    if len(found) == 1:
        return (f"{found[0].system or ''}|{found[0].value}",) if found[0].value else ()
    return tuple(sorted(f"{one.system or ''}|{one.value}" for one in found if one.value))
