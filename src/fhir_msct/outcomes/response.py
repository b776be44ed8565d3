"""Better, by how much, and normal again (rules D9, D13, D18, D20): met, not met, or open (None).

A comparator leaves a rule open unless every value that it allows says the same.
"""

from fractions import Fraction

from fhir_msct.errors import ConfigError
from fhir_msct.outcomes.comparators import Span, at_most, below, decided, span
from fhir_msct.outcomes.values import Value
from fhir_msct.plan import Parameter


def is_better(base: Value, value: Value, parameter: Parameter) -> bool | None:
    """D18, IMP_EVER: whether a value is better than the baseline at all, in the direction of D13."""
    before, after = _spans(base, value, parameter)
    if _higher_is_better(parameter):
        before, after = after, before
    return decided(yes=below(after, before), no=at_most(before, after))


def responds(base: Value, value: Value, parameter: Parameter, threshold: int) -> bool | None:
    """D18, RESP20: whether a value is at least `threshold` % of the baseline better; exactly counts."""
    before, after = _spans(base, value, parameter)
    if _higher_is_better(parameter):
        wanted = before.times(Fraction(100 + threshold, 100))
        return decided(yes=at_most(wanted, after), no=below(after, wanted))
    wanted = before.times(Fraction(100 - threshold, 100))
    return decided(yes=at_most(after, wanted), no=below(wanted, after))


def is_normal(value: Value, parameter: Parameter) -> bool | None:
    """D18, CKNORM: whether a value is at most its own upper limit of normal; None without a limit (D11)."""
    if value.uln is None:
        return None
    limit = Span(low=value.uln, high=value.uln)
    measured = span(value.aval, value.comparator, parameter)
    return decided(yes=at_most(measured, limit), no=below(limit, measured))


def _higher_is_better(parameter: Parameter) -> bool:
    if not parameter.direction:
        raise ConfigError(f"parameters.csv: {parameter.paramcd}: no direction is better, so nothing improves")
    return parameter.direction == "higher"


def _spans(base: Value, value: Value, parameter: Parameter) -> tuple[Span, Span]:
    return (
        span(base.aval, base.comparator, parameter),
        span(value.aval, value.comparator, parameter),
    )
