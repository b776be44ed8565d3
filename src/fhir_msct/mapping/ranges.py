"""Which reference range applies: untyped or `normal`, and fitting the patient's sex and age (rule D11)."""

from typing import Any

import msgspec

from fhir_msct.mapping.subjects import Who


def normal(ranges: Any, who: Any = None) -> int | None:
    """The index of the one range that applies; None where several fit, or none does."""
    if (
        len(ranges) == 1
        and ranges[0].f_type is None
        and ranges[0].f_appliesTo is None
        and ranges[0].f_age is None
    ):
        return 0
    kinds = [_codes(r.f_type) for r in ranges]
    fitting = [n for n, kind in enumerate(kinds) if kind and "normal" in kind]
    fitting = fitting or [n for n, kind in enumerate(kinds) if kind is None]
    if any(ranges[n].f_appliesTo is not None or ranges[n].f_age is not None for n in fitting):
        person = who() if who is not None else Who()
        fitting = [n for n in fitting if _fits(ranges[n], person)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(item: Any, person: Who) -> bool:
    return _fits_sex(item.f_appliesTo, person.sex) and _fits_age(item.f_age, person.age)


def _fits_sex(raw: Any, sex: str | None) -> bool:
    """A range for a group that is not one of the two sexes says nothing that we could check: no fit."""
    if raw is None:
        return True
    groups = [set(_codes_of(concept)) for concept in _tree(raw) or ()]
    return sex is not None and bool(groups) and all(sex in group for group in groups)


def _fits_age(raw: Any, age: int | None) -> bool:
    """Ages in years; any other unit says nothing that we could check: no fit."""
    if raw is None:
        return True
    tree = _tree(raw) or {}
    limits = [tree.get("low"), tree.get("high")]
    if age is None or any(limit and limit.get("code", limit.get("unit")) != "a" for limit in limits):
        return False
    low, high = (limit.get("value") if limit else None for limit in limits)
    return (low is None or age >= low) and (high is None or age <= high)


def _codes(raw: Any) -> list[str] | None:
    """The codes of a concept; None where there is no concept."""
    return None if raw is None else _codes_of(_tree(raw))


def _codes_of(concept: Any) -> list[str]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return [coding["code"] for coding in codings or () if isinstance(coding, dict) and "code" in coding]


def _tree(raw: Any) -> Any:
    return msgspec.json.decode(raw)
