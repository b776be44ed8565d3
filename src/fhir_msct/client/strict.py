"""What JSON readers let pass in silence: a key that stands twice in one object, nesting without measure.

Both are looked for at the door, at the speed of bytes where a body is written as servers write it.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

DEEPEST = 64
"""Objects and lists inside each other, in one resource. FHIR's own stay far below."""

NAMING = ("meta", "subject", "patient", "individual")
"""Elements that say which version a resource is, and whose."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")
_NO_MARK = bytes(set(range(256)) - set(b'"{}[]'))


class KeyTwice(Exception):
    """A key stands twice in one object."""


def is_deep(body: bytes, limit: int = DEEPEST) -> bool:
    """Whether a JSON text is nested deeper than the limit."""
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    if b"\\" in body:
        body = _ESCAPED.sub(b"", body)
    marks = _STRING.sub(b"", body.translate(_ONE_BRACKET, _NO_MARK))
    for _ in range(limit):
        marks = marks.replace(b"[]", b"")  # one level, from the inside
        if not marks:
            return False
    return True


def is_ambiguous(body: bytes) -> bool:
    """Whether a key stands twice at the top of a resource, or in what says which version it is and whose.

    Further inside it is kept, and the reader of the mapping sets it aside.
    """
    members = _members(body)
    if _twice(body, members):
        return True
    named = (bytes(members[name]) for name in NAMING if name in members)
    return any(_twice(part, _members(part)) for part in named if part.startswith(b"{"))


def _twice(text: bytes, members: dict[str, Any]) -> bool:
    """Whether a key stands twice at the top of an object with these members, of each key the last.

    Where once each, with quotes, colons and commas, they are all that is there beside white space, none does.
    """
    values = b"".join(members.values())
    more = len(text) - (len("".join(members)) + len(values) + 4 * len(members) + 1)
    if not more or more == sum(text.count(space) - values.count(space) for space in b" \n\r\t"):
        return False
    pairs = json.loads(text.decode(), object_pairs_hook=tuple, parse_int=str, parse_float=str)
    return len(dict(pairs)) != len(pairs)


def check_frame(body: bytes, parts: Iterable[tuple[int, int]]) -> None:
    """Returns when no key stands twice in what a Bundle says around its resources, which are these parts.

    Raises KeyTwice, for one of two lists of entries would be lost; ValueError where it is no JSON.
    """
    around, at = [], 0
    for start, stop in parts:
        around.append(body[at:start])
        at = stop
    text = b"0".join([*around, body[at:]]).decode()
    json.loads(text, object_pairs_hook=_once, parse_int=str, parse_float=str)


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise KeyTwice
