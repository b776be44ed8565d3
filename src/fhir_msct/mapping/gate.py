"""The gate: what every resource must pass before it is sent, and the validated model for those who want one.

fhir.resources has no R4 and rewrites numbers, so a model only judges a copy of the bytes and is thrown
away. What its R4B models let through (statuses nobody defined, a value beside a reason for its absence,
a number sent as text, a reference to the wrong type) is refused by our own page of rules.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhir_msct import data
from fhir_msct.dates import instant
from fhir_msct.errors import InputError
from fhir_msct.mapping import rows

if TYPE_CHECKING:
    from pydantic import ValidationError

LARGEST = 1_000_000
"""Bytes; a derived result is a few thousand. Servers refuse what is much larger."""

UCUM = "http://unitsofmeasure.org"
OUR_TAGS = "urn:fhir-msct:tags"

STATUSES = {
    "Observation": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "Device": "active inactive entered-in-error unknown",
    "ResearchStudy": (
        "active administratively-completed approved closed-to-accrual "
        "closed-to-accrual-and-intervention completed disapproved in-review "
        "temporarily-closed-to-accrual temporarily-closed-to-accrual-and-intervention withdrawn"
    ),
    "Provenance": "",
}
"""The types that are ever sent, and their statuses: https://hl7.org/fhir/R4/valuesets.html"""

COMPARATORS = ("<", "<=", ">=", ">")
ENTITY_ROLES = ("derivation", "revision", "quotation", "source", "removal")

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_REFERENCE = re.compile(
    r"(?:https?://[^\s]+/)?([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_VALUE = re.compile(r"_?value[A-Z]\w*")
_FULL_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


def check(body: bytes, own: Path | None = None) -> list[str]:
    """What is wrong with a resource, each problem with its FHIR path; empty when it may be sent.

    `own` is a study's own mappings folder, whose units count as known. No problem ever names a value.
    """
    if len(body) > LARGEST:
        return [f"larger than {LARGEST} bytes"]
    try:
        tree = json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return ["not JSON, or a member stands twice"]
    kind = tree.get("resourceType") if isinstance(tree, dict) else None
    if kind not in STATUSES:
        return ["resourceType: not a type that is ever sent"]
    problems = [f"{kind}.{path}: {why}" if path else f"{kind}: {why}" for path, why in _own_rules(tree, own)]
    shape, typed = _modelled(kind, body)
    return problems + shape + [f"{kind}.{path}: {why}" for path, why in _targets(typed)]


def model(body: bytes) -> Any:
    """The validated fhir.resources R4B model of a resource; its numbers may have lost digits.

    Raises InputError with the paths that are wrong.
    """
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    kind = ""
    try:
        kind = str(json.loads(body).get("resourceType"))
        return get_fhir_model_class(kind).model_validate_json(body)
    except ValidationError as error:
        raise InputError(f"not a valid {kind}: " + "; ".join(_complaints(kind, error))) from None
    except (ValueError, AttributeError):
        raise InputError("not JSON, or not a resource that R4B has") from None


def _modelled(kind: str, body: bytes) -> tuple[list[str], Any]:
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    try:
        return [], get_fhir_model_class(kind).model_validate_json(body)
    except ValidationError as error:
        return _complaints(kind, error), None


def _complaints(kind: str, error: "ValidationError") -> list[str]:
    """Path and kind of each complaint; the models' own words may quote a value."""
    found = error.errors(include_input=False, include_context=False, include_url=False)
    return [f"{kind}.{'.'.join(map(str, one['loc']))}: {one['type']}" for one in found]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _no_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


# --- our own page of rules ---------------------------------------------------------------------------

Problem = tuple[str, str]


def _own_rules(tree: dict[str, Any], own: Path | None) -> Iterator[Problem]:
    yield from _identity(tree)
    for path, part in _parts(tree, ""):
        for rule in RULES:
            yield from ((f"{path}.{at}".strip("."), why) for at, why in rule(part))
        if part.get("system") == UCUM and "code" in part and part["code"] not in _units(own):
            yield f"{path}.code", "not a UCUM code that our tables name"
    if tree["resourceType"] == "Observation":
        yield from _observation(tree)


def _identity(tree: dict[str, Any]) -> Iterator[Problem]:
    """Id, status, our tag: what makes a resource ours to write, and to write again."""
    own = tree.get("id")
    if not (isinstance(own, str) and _ID.fullmatch(own) and re.search("[A-Za-z]", own)):
        yield "id", "wants 1 to 64 of A-Z a-z 0-9 - . and at least one letter"
    listed = STATUSES[tree["resourceType"]].split()
    if listed and tree.get("status") not in listed:
        yield "status", "not a status of this type"
    meta = tree.get("meta")
    tags = meta.get("tag", ()) if isinstance(meta, dict) else ()
    if not any(isinstance(t, dict) and t.get("system") == OUR_TAGS for t in tags):
        yield "meta.tag", "does not carry our tag, so it could never be written again"
    if "contained" in tree:
        yield "contained", "not sent: everything we write is a resource of its own"
    if "<script" in str(tree.get("text", "")).lower():
        yield "text", "a script in the narrative"


def _parts(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object of a resource with its path."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from _parts(inner, f"{path}.{key}".strip("."))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _parts(inner, f"{path}[{n}]")


def _empty(part: dict[str, Any]) -> Iterator[Problem]:
    """ele-1: https://hl7.org/fhir/R4/element.html"""
    if not part:
        yield "", "an empty object"
    for key, value in part.items():
        if value in ("", [], None):
            yield key, "empty"


def _quantity(part: dict[str, Any]) -> Iterator[Problem]:
    """qty-3, the comparator, and numbers that are numbers."""
    for key, value in part.items():
        if not isinstance(value, dict) or not _is_quantity(key):
            continue
        number = value.get("value")
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            yield f"{key}.value", "a number sent as something else"
        if "comparator" in value and value["comparator"] not in COMPARATORS:
            yield f"{key}.comparator", "not a comparator"
        if "code" in value and "system" not in value:
            yield f"{key}.system", "a unit code without its system (qty-3)"


def _is_quantity(key: str) -> bool:
    return key.endswith("Quantity") or key in ("low", "high", "dose")


def _value_or_reason(part: dict[str, Any]) -> Iterator[Problem]:
    """obs-6, of the Observation and of each component; one value only."""
    values = [key for key in part if key.startswith(("value", "_value")) and _VALUE.fullmatch(key)]
    if values and "dataAbsentReason" in part:
        yield values[0], "a value beside a reason for its absence (obs-6)"
    if len({key.lstrip("_") for key in values}) > 1:
        yield values[1], "a second value"


def _extension(part: dict[str, Any]) -> Iterator[Problem]:
    """ext-1: https://hl7.org/fhir/R4/extensibility.html"""
    if "url" in part and "extension" in part and any(key.startswith("value") for key in part):
        yield "", "an extension with a value and extensions of its own (ext-1)"
    if "modifierExtension" in part:
        yield "modifierExtension", "nothing we write changes the meaning of its parts"


def _period(part: dict[str, Any]) -> Iterator[Problem]:
    """per-1: start before end, as far as both were written."""
    start, end = part.get("start"), part.get("end")
    if isinstance(start, str) and isinstance(end, str) and not _in_order(start, end):
        yield "end", "before its start (per-1)"


def _in_order(start: str, end: str) -> bool:
    first, second = instant(start), instant(end)
    if first and second:
        return first <= second
    parts = [_FULL_DATE.match(text) for text in (start, end)]
    known = [part[0] if part else "" for part in parts]
    shared = min(len(known[0]), len(known[1]))
    return known[0][:shared] <= known[1][:shared]


def _role(part: dict[str, Any]) -> Iterator[Problem]:
    """Provenance.entity.role, which the models do not bind."""
    if "what" in part and part.get("role") not in ENTITY_ROLES:
        yield "role", "not a role of an entity"


RULES: tuple[Callable[[dict[str, Any]], Iterator[Problem]], ...] = (
    _empty,
    _quantity,
    _value_or_reason,
    _extension,
    _period,
    _role,
)


def _observation(tree: dict[str, Any]) -> Iterator[Problem]:
    """obs-7, and: a derived result is never coded as what it is derived from."""
    own = _codings(tree.get("code"))
    components = [part for part in tree.get("component", ()) if isinstance(part, dict)]
    if any(key.startswith("value") for key in tree):
        for n, part in enumerate(components):
            if own & _codings(part.get("code")):
                yield f"component[{n}].code", "the code of the Observation, which has a value (obs-7)"
    tags = [tag.get("code") for tag in (tree.get("meta") or {}).get("tag", ()) if isinstance(tag, dict)]
    if "derived" in tags and own & _measured():
        yield "code", "a derived result under the code of a measurement"


def _codings(concept: Any) -> set[tuple[Any, Any]]:
    listed = concept.get("coding", ()) if isinstance(concept, dict) else ()
    return {(one.get("system"), one.get("code")) for one in listed if isinstance(one, dict)}


def _targets(typed: Any, path: str = "") -> Iterator[Problem]:
    """References whose shape or target type R4 does not allow; the models know which types are allowed."""
    for name, allowed in _fields(typed.__class__).items():
        value = typed.__dict__.get(name)
        for n, one in enumerate(value if isinstance(value, list) else [value]):
            if not (inner := _fields(one.__class__)):
                continue
            at = f"{path}.{name}[{n}]".strip(".") if isinstance(value, list) else f"{path}.{name}".strip(".")
            if "reference" in inner:
                yield from _reference(one, at, allowed)
            yield from _targets(one, at)


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """The fields of a model, each with the types that a reference in it may lead to; else none."""
    extras = {
        name: field.json_schema_extra or {} for name, field in getattr(kind, "model_fields", {}).items()
    }
    return {name: extra.get("enum_reference_types", ()) for name, extra in extras.items()}


def _reference(reference: Any, path: str, allowed: Any) -> Iterator[Problem]:
    kind = reference.type
    if reference.reference is not None:
        found = _REFERENCE.fullmatch(reference.reference)
        if not found:
            yield path, "not a reference to a resource"
            return
        kind = found[1]
    elif reference.identifier is None:
        yield path, "a reference to nothing"
    if kind and allowed and "Resource" not in allowed and kind not in allowed:
        yield path, f"R4 does not allow a {kind} here"


@cache
def _units(own: Path | None) -> frozenset[str]:
    listed = rows.read(data.mappings(), "units.csv", own)
    return frozenset(
        [row["unit"] for row in listed if row["system"] == UCUM] + [row["study_unit"] for row in listed]
    )


@cache
def _measured() -> frozenset[tuple[str, str]]:
    return frozenset((row["system"], row["code"]) for row in rows.read(data.mappings(), "codes.csv"))
