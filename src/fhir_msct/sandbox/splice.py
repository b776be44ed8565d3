"""Edits of JSON text that leave every other byte alone: version and time into `meta`, an id, a reference.

    {"resourceType":"Patient","id":"p1","x": 5.40}
    {"resourceType":"Patient","id":"p1","meta":{"versionId":"1","lastUpdated":"..."},"x": 5.40}

Numbers are read as their own digits, so 5.40 and 5.4 are two values, as they are to FHIR.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

SUBSETTED = (
    '{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED",'
    '"display":"Resource encoded in summary mode"}'
)
_SPACE = re.compile(r"[ \t\n\r]*")
_REFERENCE = re.compile(r'("reference"[ \t\n\r]*:[ \t\n\r]*")([^"\\]+)"')


class Member(NamedTuple):
    """One member of a JSON object: where its key begins, where its value begins and ends, the value."""

    key: int
    start: int
    end: int
    value: Any


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


# A number becomes a tuple of its digits: nothing else in a JSON tree is a tuple, so it equals no text.
_DECODER = json.JSONDecoder(
    parse_float=lambda text: (text,), parse_int=lambda text: (text,), parse_constant=_constant
)


def parse(text: str) -> dict[str, Any]:
    """The tree of one JSON object, numbers as `(digits,)`; raises ValueError for anything else."""
    try:
        tree, end = _DECODER.raw_decode(text, _space(text, 0))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _space(text, end) != len(text):
        raise ValueError(f"something follows the JSON at character {end}")
    if not isinstance(tree, dict):
        raise ValueError("not a JSON object")
    return tree


def members(text: str, at: int = 0) -> dict[str, Member]:
    """The members of the object at a place in valid JSON; of a repeated key the last, as parsers do."""
    found: dict[str, Member] = {}
    at = _space(text, _space(text, at) + 1)
    while text[at] != "}":
        key, colon = _DECODER.raw_decode(text, at)
        start = _space(text, _space(text, colon) + 1)
        value, end = _DECODER.raw_decode(text, start)
        found[key] = Member(at, start, end, value)
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)
    return found


def stamped(text: str, *, version: str, last_updated: str) -> str:
    """The resource with these two in its `meta`; every other character as it was."""
    wanted = {"versionId": json.dumps(version), "lastUpdated": json.dumps(last_updated)}
    top = members(text)
    if "meta" not in top:
        after = (top.get("id") or top["resourceType"]).end
        return text[:after] + ',"meta":{' + _joined(wanted) + "}" + text[after:]
    start = top["meta"].start
    inside = members(text, start)
    edits = [(inside[key].start, inside[key].end, new) for key, new in wanted.items() if key in inside]
    missing = {key: new for key, new in wanted.items() if key not in inside}
    if missing:
        edits.append((start + 1, start + 1, _joined(missing) + ("," if inside else "")))
    return _edited(text, edits)


def identified(text: str, id: str) -> str:  # noqa: A002  (FHIR's word)
    """The resource with this id, put right after its type where it had none."""
    top = members(text)
    if "id" in top:
        return _edited(text, [(top["id"].start, top["id"].end, json.dumps(id))])
    after = top["resourceType"].end
    return text[:after] + ',"id":' + json.dumps(id) + text[after:]


def relinked(text: str, places: Mapping[str, str]) -> str:
    """The resource with each `reference` that is a key of `places` replaced by its value.

    Inside a JSON string a quote is always escaped, so the pattern cannot match in one.
    """
    return _REFERENCE.sub(lambda found: found[1] + places.get(found[2], found[2]) + '"', text)


def references(text: str) -> set[str]:
    """Every literal `reference` of a resource."""
    return {found[2] for found in _REFERENCE.finditer(text)}


def subset(text: str, elements: Iterable[str]) -> str:
    """Only these elements, type, id and meta, tagged SUBSETTED (`_elements`)."""
    keep = {"resourceType", "id", "meta", *elements}
    parts = [text[m.key : m.end] for key, m in members(text).items() if key in keep]
    cut = "{" + ",".join(parts) + "}"
    meta = members(cut)["meta"]
    tags = members(cut, meta.start).get("tag")
    if tags is None:
        return cut[: meta.start + 1] + f'"tag":[{SUBSETTED}],' + cut[meta.start + 1 :]
    return cut[: tags.start + 1] + SUBSETTED + ("," if tags.value else "") + cut[tags.start + 1 :]


def content(tree: dict[str, Any]) -> dict[str, Any]:
    """What a resource says, without the two things the server writes into it: equal means unchanged."""
    rest = {key: value for key, value in tree.items() if key != "meta"}
    own = {k: v for k, v in tree.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    return {**rest, "meta": own} if own else rest


def _space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing at least


def _joined(wanted: Mapping[str, str]) -> str:
    return ",".join(f'"{key}":{value}' for key, value in wanted.items())


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
