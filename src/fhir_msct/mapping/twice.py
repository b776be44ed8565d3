"""Keys that stand twice in one object: JSON readers take the last, and nobody knows which was meant.

`why_not` looks at every object of a text. It takes as long as all the rest of a reading, so a measurement
in which nothing is unusual is looked at by `is_twice`, and only in its value: the top of a resource,
whose it is and which version have been looked at when it was pulled.
"""

import json
from typing import Any

from fhir_msct.mapping.reading import Aside
from fhir_msct.records import Measurement

QUANTITY = b'"valueQuantity"'


class _Twice(Exception):
    """A key stands twice in one object."""


def why_not(body: bytes, where: str) -> Aside | None:
    """Why not to read a JSON text: a key stands twice somewhere in it. `where` is its FHIR path."""
    try:
        json.loads(body.decode(), object_pairs_hook=_once, parse_int=str, parse_float=str)
    except _Twice:
        return Aside("key-twice", where)
    except RecursionError:  # nearly as deep as the other reader goes
        return Aside("not-json", where)
    return None


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _Twice


def is_twice(body: bytes, record: Measurement) -> bool:
    """Whether a key stands twice in the value that a measurement was quickly read from, or near it.

    The body is JSON in which no key is written with an escape.
    """
    unusual = record.side is not None or record.when is None or record.when.end is not None
    return (unusual or _may_be_twice(body, record)) and why_not(body, "") is not None


def _may_be_twice(body: bytes, record: Measurement) -> bool:
    """Whether its value has other quotes than those of what was read of it; where wrong, said too often."""
    at = body.find(QUANTITY)
    end = body.find(b"}", at)
    texts = (record.unit, record.unit_text, record.unit_system, record.comparator)
    marks = 20 - 4 * texts.count(None)  # with those of the key itself, and of `value`
    if body.count(b'"', at, end) != marks or body.count(b"{", at, end) != 1:
        while body.startswith(b'"', end + 1):  # that brace stands in a text, as in the unit {score}
            end = body.find(b"}", end + 1)
        braces = 1 + body.count(b'"{', at, end)
        if body.count(b'"', at, end) != marks or body.count(b"{", at, end) != braces:
            return True
    return body.find(QUANTITY, end) >= 0 or body.find(b"\\", at, end) >= 0
