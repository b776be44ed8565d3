"""The strict reader of bodies: a byte missing, damaged or too many is an error, never a shorter answer.

httpx 0.28 returns half a body without an error when gzip is cut, when its checksum is missing or when a
second gzip member follows; so bodies are read raw and decoded here. Lines end at 0x0A and nowhere else:
U+2028 and U+0085 are ordinary characters inside JSON strings.
"""

import time
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256

import httpx
from msgspec import Struct

from fhir_msct.client.failures import TooSlow, Unusable

KIB, MIB = 1024, 1024 * 1024
STEP = 256 * KIB
"""Bytes decoded at a time, so that a gzip bomb is noticed before it is in memory."""

ALREADY_SMALL = MIB
"""Below this, the expansion ratio of a body is nobody's concern."""


class Limits(Struct, frozen=True, kw_only=True):
    """What is too big to be meant: bytes of one body, bytes of one line, bytes out for each byte in.

    And what is too slow: fewer than `pace` bytes a second, once the body has taken `patience` seconds.
    """

    body: int = 256 * MIB
    line: int = 16 * MIB
    ratio: int = 200
    patience: float = 150.0
    pace: int = KIB


class Line(Struct, frozen=True):
    """One line of NDJSON without its end; `body` is None where the line is longer than the limit."""

    offset: int
    length: int
    body: bytes | None
    sha256: str = ""


def read_body(response: httpx.Response, limits: Limits) -> bytes:
    """The whole body, decoded.

    Raises Unusable where Content-Length, gzip's end or its checksum say that something is missing, where
    the encoding is not one that was asked for, and where a limit is passed.
    """
    whole = bytearray()
    for chunk in read_chunks(response, limits):
        whole += chunk
        if len(whole) > limits.body:
            raise Unusable("too-big", f"the answer is longer than {limits.body} bytes")
    return bytes(whole)


def read_chunks(response: httpx.Response, limits: Limits) -> Iterator[bytes]:
    """A body of any length, decoded, part by part.

    Raises Unusable for what is missing or damaged, TooSlow for what drips so that it would never end.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    chunks = _framed(_flowing(response.iter_raw(), limits), response.headers.get("content-length"))
    if coding in ("gzip", "x-gzip"):
        chunks = gunzip(chunks, limits)
    elif coding not in ("identity", ""):
        raise Unusable("encoding", "the answer is encoded in a way that was not asked for")
    yield from chunks


def _flowing(chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """The chunks as long as they keep coming: a timeout that each byte begins anew never strikes."""
    began, got = time.monotonic(), 0
    for chunk in chunks:
        got += len(chunk)
        yield chunk
        took = time.monotonic() - began
        if took > limits.patience and got < took * limits.pace:
            raise TooSlow("the answer comes too slowly to ever end: run this again later")


def _framed(chunks: Iterable[bytes], announced: str | None) -> Iterator[bytes]:
    """The chunks as they are; at their end, the announced length must have been reached exactly."""
    got = 0
    for chunk in chunks:
        got += len(chunk)
        yield chunk
    if announced is not None and announced.strip() != str(got):
        raise Unusable("cut", f"{got} bytes came, another number was announced")


def gunzip(chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """What a gzip stream holds, all of its members; zero padding after the last one is allowed.

    Raises Unusable (`gzip-cut`, `gzip-bad`, `expands-too-much`). RFC 1952.
    """
    member: zlib._Decompress | None = None
    members = taken = given = 0
    for chunk in chunks:
        taken += len(chunk)
        while chunk:
            if member is None:
                chunk = chunk.lstrip(b"\0") if members else chunk
                if not chunk:
                    break
                member, members = zlib.decompressobj(31), members + 1
            for out in _decoded(member, chunk):
                given += len(out)
                if given > ALREADY_SMALL and given > taken * limits.ratio:
                    raise Unusable("expands-too-much", f"gzip data grow more than {limits.ratio} times")
                yield out
            chunk, member = member.unused_data, None if member.eof else member
    if member is not None or not members:
        raise Unusable("gzip-cut", "gzip data end before their end mark and checksum")


def _decoded(member: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    """All that one member gives for these bytes, a bounded step at a time."""
    while True:
        try:
            out = member.decompress(data, STEP)
        except zlib.error:
            raise Unusable("gzip-bad", "gzip data are damaged, or their checksum is wrong") from None
        if out:
            yield out
        data = member.unconsumed_tail
        if member.eof or not data:
            return


def lines(chunks: Iterable[bytes], limit: int) -> Iterator[Line]:
    """The lines of NDJSON, blank ones too, with the byte offset of each; the last may lack its end."""
    offset, rest = 0, b""
    overlong: _Overlong | None = None
    for chunk in chunks:
        *ended, rest = (rest + chunk).split(b"\n")
        for part in ended:
            line = overlong.ended(part) if overlong else _line(offset, part, limit)
            offset, overlong = offset + line.length + 1, None
            yield line
        if len(rest) > limit or overlong:
            overlong = overlong or _Overlong(offset)
            overlong.add(rest)
            rest = b""
    if overlong:
        yield overlong.ended(rest)
    elif rest:
        yield _line(offset, rest, limit)


def _line(offset: int, body: bytes, limit: int) -> Line:
    if len(body) > limit:
        return _Overlong(offset).ended(body)
    return Line(offset, len(body), body)


class _Overlong:
    """A line that is too long to be kept: only its length and its hash are."""

    def __init__(self, offset: int) -> None:
        self.offset, self.length, self.hash = offset, 0, sha256()

    def add(self, part: bytes) -> None:
        self.length += len(part)
        self.hash.update(part)

    def ended(self, part: bytes) -> Line:
        self.add(part)
        return Line(self.offset, self.length, None, self.hash.hexdigest())
