"""What a measured value stands in: all that is the same for one code, unit and reference range.

A laboratory sends thousands of results and a handful of frames, so each frame is worked out once.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from msgspec import Struct

from fhir_msct.exact import scaled
from fhir_msct.mapping.context import Context, printable
from fhir_msct.mapping.reading import KEPT, Aside
from fhir_msct.mapping.scope import Known
from fhir_msct.mapping.units import Unit, Units
from fhir_msct.plan import Parameter
from fhir_msct.records import Measurement

QUANTITY = "Observation.valueQuantity"

FRAMED = (
    *("paramcd", "unit_system", "unit", "unit_text"),
    *("low_text", "_low_system", "_low_unit", "_low_text"),
    *("high_text", "_high_system", "_high_unit", "_high_text"),
)
"""The holes that tell one frame from another, together with what the code of the resource says."""


class Frame(Struct, frozen=True, gc=False):
    """A Measurement as far as its frame goes, and how a value gets into it."""

    all_but_value: Measurement
    known: Known
    unit: Unit
    parameter: Parameter | None
    same: bool
    """Whether a value as received is in the study's unit already."""
    watched: bool
    """Whether each value has to be looked at: a scale with ends, one side of the body, an endless factor."""


def remember(key: tuple[Any, ...], found: Any, known: Known, context: Context) -> Frame | Aside:
    """The frame of a reading, kept for the next one with the same `FRAMED`."""
    frame = frame_of(found, known, context)
    if len(context.frames) < KEPT:
        context.frames[key] = frame
    return frame


def frame_of(found: Any, known: Known, context: Context) -> Frame | Aside:
    """The frame of a reading, or why there is none: its unit is not known for this parameter."""
    unit = _unit(found, known, context.units)
    if isinstance(unit, Aside):
        return unit
    low, high = found.low, found.high
    if not (printable(low, found.low_text) and printable(high, found.high_text)):
        return Aside("not-a-number", QUANTITY)
    # Neither, or low = high = 0, which means "none given" (rule D11).
    limits = _range_factor(found, unit, context.units) if low or high else None
    parameter = context.parameters.get(found.paramcd)
    unwatched = (*known.flags, *unit.flags)
    if parameter is not None and parameter.enzyme and (limits is None or high is None):
        unwatched = (*unwatched, "no_uln")
    result = Measurement(
        paramcd=found.paramcd,
        unit_text=found.unit_text,
        unit_system=found.unit_system,
        unit=found.unit,
        low=low,
        high=high,
        param=parameter.param if parameter else "",
        avalu=unit.study_unit,
        orresu=found.unit or found.unit_text or "",
        orcode=known.code,
        orsystem=known.system,
        anrlo=_limit(low, limits),
        anrhi=_limit(high, limits),
        scale=parameter.scale if parameter else "",
        code_row=known.row.place,
        unit_row=unit.place,
        flags=tuple(dict.fromkeys(unwatched)),
        factor=unit.factor,
        ornrlo=found.low_text or "",
        ornrhi=found.high_text or "",
        range_factor=limits,
    )
    watched = parameter is not None and (_ends(parameter) or unit.endless or parameter.sided)
    return Frame(result, known, unit, parameter, unit.factor == 1, watched)


def flags(frame: Frame, value: Decimal, side: str | None) -> Iterator[str]:
    """What to know of one value in its frame, besides what its code and its unit say."""
    parameter, unit = frame.parameter, frame.unit
    if parameter is None:
        return
    if "no_uln" in frame.all_but_value.flags:
        yield "no_uln"
    if unit.endless and value:
        yield "rounded"
    if _ends(parameter):
        exact = Fraction(value) * unit.factor
        if parameter.low is not None and exact < parameter.low:
            yield "outside_scale"
        if parameter.high is not None and exact > parameter.high:
            yield "outside_scale"
    if parameter.sided and not side:
        yield "no_side"


def _ends(parameter: Parameter) -> bool:
    return parameter.low is not None or parameter.high is not None


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
