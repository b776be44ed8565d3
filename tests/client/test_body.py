"""Bodies: a byte missing, damaged or too many is an error, never a shorter answer."""

import gzip
import zlib
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.client.body import Limits, gunzip, lines, read_body
from fhir_msct.client.failures import TooSlow, Unusable
from lib.fake_fhir import Chunks

seeded = settings(derandomize=True, deadline=None)

LIMITS = Limits()
TEXT = '{"text":"two\u2028lines, one \u0085 JSON string"}'.encode() * 40
ZIPPED = gzip.compress(TEXT, mtime=0)


def parts(whole: bytes, at: list[int]) -> list[bytes]:
    """The bytes in chunks that end at these places."""
    edges = [0, *sorted(place % (len(whole) + 1) for place in at), len(whole)]
    return [whole[start:stop] for start, stop in pairwise(edges)]


def answer(*chunks: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return httpx.Response(200, headers=named, stream=Chunks(*chunks))


@seeded
@given(st.lists(st.integers(0, 5000), max_size=8))
def test_gzip_is_read_whole_however_it_is_chunked(at: list[int]) -> None:
    assert b"".join(gunzip(parts(ZIPPED, at), LIMITS)) == TEXT


@seeded
@given(st.integers(0, len(ZIPPED) - 1))
def test_gzip_that_is_cut_anywhere_is_an_error(length: int) -> None:
    with pytest.raises(Unusable) as caught:
        list(gunzip([ZIPPED[:length]], LIMITS))
    assert caught.value.reason == "gzip-cut"


@seeded
@given(st.integers(0, 8 * len(ZIPPED) - 1))
def test_a_flipped_bit_never_changes_the_text_without_an_error(bit: int) -> None:
    damaged = bytearray(ZIPPED)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        assert b"".join(gunzip([bytes(damaged)], LIMITS)) == TEXT  # a bit of the header that says nothing
    except Unusable as error:
        assert error.reason in ("gzip-bad", "gzip-cut")


def test_a_second_member_belongs_to_the_body() -> None:
    assert b"".join(gunzip([ZIPPED + gzip.compress(b"more", mtime=0)], LIMITS)) == TEXT + b"more"


def test_zero_padding_after_the_last_member_is_none_of_it() -> None:
    assert b"".join(gunzip([ZIPPED, b"\0" * 700, b"\0"], LIMITS)) == TEXT


def test_anything_else_after_the_last_member_is_an_error() -> None:
    with pytest.raises(Unusable) as caught:
        list(gunzip([ZIPPED + b"rest"], LIMITS))
    assert caught.value.reason == "gzip-bad"


def test_a_gzip_bomb_is_noticed_before_it_is_in_memory() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = [packer.compress(b"0" * 1_000_000) for _ in range(60)] + [packer.flush()]
    came = 0
    with pytest.raises(Unusable) as caught:
        for chunk in gunzip([b"".join(bomb)], LIMITS):
            came += len(chunk)
    assert caught.value.reason == "expands-too-much"
    assert came < 20_000_000


@pytest.mark.parametrize("announced", [str(len(TEXT) + 1), str(len(TEXT) - 1), "", "many"])
def test_a_body_must_have_the_length_that_was_announced(announced: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_body(answer(TEXT, Content_Length=announced), LIMITS)
    assert caught.value.reason == "cut"


def test_a_gzip_body_cut_under_a_matching_content_length_is_an_error() -> None:
    half = ZIPPED[: len(ZIPPED) // 2]
    with pytest.raises(Unusable) as caught:
        read_body(answer(half, Content_Length=str(len(half)), Content_Encoding="gzip"), LIMITS)
    assert caught.value.reason == "gzip-cut"


def test_plain_and_zipped_bodies_are_the_same_bytes() -> None:
    assert read_body(answer(TEXT, Content_Length=str(len(TEXT))), LIMITS) == TEXT
    assert read_body(answer(ZIPPED, Content_Encoding="gzip"), LIMITS) == TEXT
    assert read_body(answer(TEXT[:9], TEXT[9:]), LIMITS) == TEXT


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip"])
def test_an_encoding_that_was_not_asked_for_is_refused(coding: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_body(answer(ZIPPED, Content_Encoding=coding), LIMITS)
    assert caught.value.reason == "encoding"


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(Unusable) as caught:
        read_body(answer(TEXT), Limits(body=len(TEXT) - 1))
    assert caught.value.reason == "too-big"


def test_a_body_that_drips_is_left_though_no_timeout_strikes() -> None:
    dripping = answer(*([b" "] * 1000))
    with pytest.raises(TooSlow):
        read_body(dripping, Limits(patience=0.0, pace=10**9))
    assert read_body(answer(TEXT), Limits(patience=60.0, pace=10**9)) == TEXT, "not before its time"


LINES = [
    b'{"a":1}',
    b"",
    '{"b":"\u2028 \u0085 \x0b"}'.encode(),
    b'{"c":3}\r',
    b'{"d":"' + b"x" * 90 + b'"}',
    b"{}",
]


@seeded
@given(st.lists(st.integers(0, 400), max_size=10), st.booleans())
def test_lines_end_at_line_feeds_and_nowhere_else(at: list[int], ended: bool) -> None:
    whole = b"\n".join(LINES) + (b"\n" if ended else b"")
    found = list(lines(parts(whole, at), limit=200))
    assert [line.body for line in found] == LINES
    assert [whole[line.offset : line.offset + line.length] for line in found] == LINES


@seeded
@given(st.lists(st.integers(0, 400), max_size=10))
def test_a_line_over_the_limit_costs_only_itself(at: list[int]) -> None:
    whole = b"\n".join(LINES)
    found = list(lines(parts(whole, at), limit=50))
    assert [line.body for line in found] == [None if len(one) > 50 else one for one in LINES]
    long = found[4]
    assert (long.offset, long.length) == (whole.index(LINES[4]), len(LINES[4]))
    assert len(long.sha256) == 64
