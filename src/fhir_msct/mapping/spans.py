"""Where every value stands in the bytes of a JSON text, so that one can be replaced and no other touched."""

import re
from typing import Any, NamedTuple

import msgspec

_TOKEN = re.compile(rb'[ \t\r\n]*("(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+)').match
_CHARACTER = re.compile(
    rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.|[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]+", re.DOTALL
)


class Span(NamedTuple):
    """The bytes of one value, and the values in it."""

    start: int
    stop: int
    kids: Any = None
    """{key: Span} of an object (the last of a doubled key, as every reader takes it), [Span], or None."""


def spans(body: bytes, at: int = 0) -> Span:
    """The span of the value that begins at or after `at`. The text must be JSON."""
    token = _next(body, at)
    if token[1] == b"{":
        return _object(body, token)
    if token[1] == b"[":
        return _array(body, token)
    return Span(token.start(1), token.end())


def characters(body: bytes, start: int, stop: int) -> list[re.Match[bytes]]:
    """The characters between two places of a string, escapes whole."""
    return list(_CHARACTER.finditer(body, start, stop))


def _next(body: bytes, at: int) -> re.Match[bytes]:
    token = _TOKEN(body, at)
    if token is None:
        raise ValueError(f"not JSON at byte {at}")
    return token


def _object(body: bytes, opening: re.Match[bytes]) -> Span:
    kids: dict[str, Span] = {}
    at = opening.end()
    while (token := _next(body, at))[1] != b"}":
        if token[1] == b",":
            token = _next(body, token.end())
        colon = _next(body, token.end())
        kid = spans(body, colon.end())
        kids[msgspec.json.decode(token[1], type=str)] = kid
        at = kid.stop
    return Span(opening.start(1), token.end(), kids)


def _array(body: bytes, opening: re.Match[bytes]) -> Span:
    kids: list[Span] = []
    at = opening.end()
    while (token := _next(body, at))[1] != b"]":
        kid = spans(body, token.end() if token[1] == b"," else at)
        kids.append(kid)
        at = kid.stop
    return Span(opening.start(1), token.end(), kids)
