"""Change against the subject's own baseline (rules D12, D14)."""

from fractions import Fraction

from msgspec import Struct

from fhir_msct.outcomes.values import Value

SCALE_DIFFERS = "scale_differs"


class Change(Struct, frozen=True, kw_only=True):
    """What a value changed from a baseline by, or why that says nothing."""

    chg: Fraction | None = None
    pchg: Fraction | None = None
    """Percent of the baseline; None also where the baseline is zero (D14)."""
    why_not: str = ""


def change(base: Value, value: Value) -> Change:
    """D14: aval - base and 100 chg / base, within one scale and one side of the body (D12).

    A side that nobody recorded is no contradiction; such values carry the flag `no_side`.
    """
    if len(base.sides | value.sides) > 1 or len(base.scales | value.scales) > 1:
        return Change(why_not=SCALE_DIFFERS)
    chg = value.aval - base.aval
    return Change(chg=chg, pchg=100 * chg / base.aval if base.aval else None)
