"""One measured value in the study's unit, exactly; or why it is set aside."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from fhir_msct.exact import scaled
from fhir_msct.mapping.context import Context, Origin, about, absence, printable
from fhir_msct.mapping.reading import Aside
from fhir_msct.mapping.scope import Known
from fhir_msct.mapping.subjects import Identifier
from fhir_msct.mapping.units import Unit, Units
from fhir_msct.plan import Parameter
from fhir_msct.records import Measurement

QUANTITY = "Observation.valueQuantity"

_identifiers = msgspec.json.Decoder(list[Identifier]).decode


def measurement(found: Any, known: Known, at: Origin, context: Context) -> Measurement | Aside:
    """The record of one Observation, or of the component that holds its value."""
    shared = about(found, context, context.accept.accept_status, "effective")
    if isinstance(shared, Aside):
        return shared
    value: Decimal | None = found.value
    if value is None or (found.why and any(hole == "" for hole, _ in found.why)):
        return Aside(absence(found), QUANTITY)  # a masked or cancelled result may keep an old value
    if not (
        printable(value, found.value_text)
        and printable(found.low, found.low_text)
        and printable(found.high, found.high_text)
    ):
        return Aside("not-a-number", QUANTITY)
    unit = _unit(found, known, context.units)
    if isinstance(unit, Aside):
        return unit
    parameter = context.parameters.get(found.paramcd)
    limits = _limits(found, unit, context.units)
    flags = (*known.flags, *at.flags, *shared.flags, *unit.flags)
    if parameter is not None:
        flags += _flags(parameter, found, unit, limits)
    return Measurement(
        id=found.id,
        status=found.status,
        paramcd=found.paramcd,
        subject=found.subject,
        when=found.when,
        value=value,
        comparator=found.comparator,
        unit_text=found.unit_text,
        unit_system=found.unit_system,
        unit=found.unit,
        side=found.side,
        low=found.low,
        high=found.high,
        usubjid=shared.usubjid,
        adtc=shared.adtc,
        aendtc=shared.aendtc,
        adt=shared.day.calendar,
        param=parameter.param if parameter else "",
        aval=scaled(value, unit.factor),
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
        flags=flags if len(flags) < 2 else tuple(dict.fromkeys(flags)),
        factor=unit.factor,
        ornrlo=found.low_text or "",
        ornrhi=found.high_text or "",
        range_factor=limits,
        identifiers=() if found.o.f_identifier is None else _business(found.o.f_identifier),
    )


def _unit(found: Any, known: Known, units: Units) -> Unit | Aside:
    if not (found.unit or found.unit_text):
        bare = units.without(found.paramcd, known.row["system"], known.code)
        return bare or Aside("unit-missing", QUANTITY)
    unit = units.find(found.paramcd, found.unit_system, found.unit, found.unit_text)
    return unit or Aside("unit-unknown", QUANTITY, f"{found.paramcd} {found.unit or found.unit_text}")


def _limits(found: Any, unit: Unit, units: Units) -> Fraction | None:
    """The factor of the reference range; None where there is no range that can be used (rule D11)."""
    low, high = found.low, found.high
    if (low is None and high is None) or (low == 0 and high == 0):
        return None
    factors = []
    if low is not None:
        factors.append(_factor(found, unit, units, found._low_system, found._low_unit, found._low_text))
    if high is not None:
        factors.append(_factor(found, unit, units, found._high_system, found._high_unit, found._high_text))
    return factors[0] if factors[0] is factors[-1] or factors[0] == factors[-1] else None


def _factor(
    found: Any, unit: Unit, units: Units, system: str | None, code: str | None, text: str | None
) -> Fraction | None:
    """A limit without a unit is in the unit of its value."""
    if not (code or text) or (code == found.unit and system == found.unit_system and code and system):
        return unit.factor
    known = units.find(found.paramcd, system, code, text)
    return known.factor if known else None


def _limit(value: Decimal | None, factor: Fraction | None) -> Decimal | None:
    return None if value is None or factor is None else scaled(value, factor)


def _flags(parameter: Parameter, found: Any, unit: Unit, limits: Fraction | None) -> tuple[str, ...]:
    """What to know of a value of this parameter."""
    flags = []
    if parameter.enzyme and (limits is None or found.high is None):
        flags.append("no_uln")
    if unit.endless and found.value:
        flags.append("rounded")
    if parameter.low is not None and Fraction(found.value) * unit.factor < parameter.low:
        flags.append("outside_scale")
    if parameter.high is not None and Fraction(found.value) * unit.factor > parameter.high:
        flags.append("outside_scale")
    if parameter.sided and not found.side:
        flags.append("no_side")
    return tuple(flags)


def _business(raw: Any) -> tuple[str, ...]:
    try:
        found = _identifiers(raw)
    except msgspec.DecodeError:
        return ()
    return tuple(sorted(f"{one.system or ''}|{one.value}" for one in found if one.value))
