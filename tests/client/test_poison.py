"""Poison at the door: whatever a resource holds, it is kept byte for byte or named with hash and reason."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.client import bundle as bundles
from fhir_msct.client import strict
from fhir_msct.client.damage import Damage
from fhir_msct.client.failures import Unusable
from fhir_msct.client.folder import read_folder, read_lines
from fhir_msct.client.rest import Client
from fhir_msct.records import Resource
from lib.fake_fhir import FakeFhir, bundle, observation, reply
from lib.virtual_time import VirtualTime

seeded = settings(derandomize=True, deadline=None)

GOOD = json.dumps(observation("good", "p1")).encode()
PLAIN = json.dumps(observation("o1", "p1", note=[{"text": "x"}])).encode()


def deep(levels: int) -> bytes:
    """A resource with so many levels of objects and lists; braces in its texts are none."""
    inner = b"[" * (levels - 1) + b'"{[{[\\"{[[["' + b"]" * (levels - 1)
    return PLAIN[:-1] + b', "x": ' + inner + b', "y": [' + b'{"a": [1]}, ' * 99 + b"[]]}"


def twice(key: str, before: str = "null") -> bytes:
    """A resource in which the first such key is preceded by another one."""
    quoted = f'"{key}": '.encode()
    assert quoted in PLAIN
    return PLAIN.replace(quoted, quoted + before.encode() + b", " + quoted, 1)


def with_text(text: bytes) -> bytes:
    return PLAIN.replace(b'"x"', b'"' + text + b'"')


KEPT = {
    "5,000 digits": PLAIN[:-1] + b', "x": ' + b"9" * 5000 + b"}",
    "a number beyond every range": PLAIN[:-1] + b', "x": 1e400}',
    "an escaped NUL": with_text(b"a\\u0000b"),
    "a line separator": with_text("a\u2028b\u2029\u0085".encode()),
    "a pair of surrogates": with_text(b"\\ud83d\\ude00"),
    "a key twice far inside": twice("text"),
    "63 levels": deep(63),
    "64 levels": deep(64),
}
REFUSED = {
    "an id twice": (twice("id", '"o2"'), "key-twice"),
    "a type twice": (twice("resourceType", '"Patient"'), "key-twice"),
    "a meta twice": (twice("meta", "{}"), "key-twice"),
    "a version twice": (twice("versionId", '"7"'), "key-twice"),
    "a subject twice": (twice("subject"), "key-twice"),
    "a reference to a patient twice": (twice("reference", '"Patient/p2"'), "key-twice"),
    "an id twice, once escaped": (twice("id").replace(b'"id"', b'"\\u0069d"', 1), "key-twice"),
    "65 levels": (deep(65), "too-deep"),
    "300 levels": (deep(300), "too-deep"),
}
NO_JSON = {
    "NaN": (PLAIN[:-1] + b', "x": NaN}', "not-json"),
    "half a pair of surrogates": (with_text(b"\\ud83d"), "not-json"),
    "a NUL": (with_text(b"a\0b"), "not-json"),
    "a number beyond every range in its meta": (PLAIN.replace(b'"1"', b"1e400", 1), "shape"),
    "5,000 digits in its meta": (PLAIN.replace(b'"1"', b"9" * 5000, 1), "shape"),
}
Road = Callable[[bytes, Path], tuple[list[bytes], list[tuple[str, str]]]]


def of(found: Any) -> tuple[list[bytes], list[tuple[str, str]]]:
    items = list(found)
    kept = [one.body for one in items if isinstance(one, Resource)]
    return kept, [(one.sha256, one.reason) for one in items if isinstance(one, Damage)]


def a_line(body: bytes, at: Path) -> tuple[list[bytes], list[tuple[str, str]]]:
    """A line of an exported file, and the same in a folder."""
    (at / "a.ndjson").write_bytes(GOOD + b"\n" + body + b"\n" + GOOD)
    found = list(read_lines("a.ndjson", at / "a.ndjson"))
    assert found == list(read_folder(at))
    assert all(one.offset == len(GOOD) + 1 for one in found if isinstance(one, Damage))
    return of(found)


def an_entry(body: bytes, at: Path) -> tuple[list[bytes], list[tuple[str, str]]]:
    """An entry of a Bundle on disk."""
    (at / "a.json").write_bytes(bundle([GOOD, body, GOOD], kind="collection"))
    return of(read_folder(at))


def a_page(body: bytes, at: Path) -> tuple[list[bytes], list[tuple[str, str]]]:
    """An entry of a page of a search."""
    server = FakeFhir()
    server.bend("Observation", lambda request: reply(200, bundle([GOOD, body, GOOD])), times=99)
    client = Client(server.base, transport=server.transport, patience=VirtualTime().patience())
    (page,) = client.search("Observation", {"patient": "p1"})
    return [one.body for one in page.resources], list(page.broken)


ROADS: list[Road] = [a_line, an_entry, a_page]


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("what", KEPT)
def test_what_is_only_odd_is_kept_byte_for_byte(what: str, road: Road, tmp_path: Path) -> None:
    assert road(KEPT[what], tmp_path) == ([GOOD, KEPT[what], GOOD], [])


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_kept_is_named_and_costs_only_itself(what: str, road: Road, tmp_path: Path) -> None:
    body, reason = REFUSED[what]
    assert road(body, tmp_path) == ([GOOD, GOOD], [(sha256(body).hexdigest(), reason)])


@pytest.mark.parametrize("what", NO_JSON)
def test_a_line_that_is_no_json_costs_only_itself(what: str, tmp_path: Path) -> None:
    body, reason = NO_JSON[what]
    assert a_line(body, tmp_path) == ([GOOD, GOOD], [(sha256(body).hexdigest(), reason)])


@pytest.mark.parametrize("what", NO_JSON)
def test_an_entry_that_is_no_json_is_never_kept_and_never_silent(what: str, tmp_path: Path) -> None:
    kept, named = an_entry(NO_JSON[what][0], tmp_path)
    assert NO_JSON[what][0] not in kept
    assert len(named) == 1
    try:
        assert a_page(NO_JSON[what][0], tmp_path) == (kept, named)
    except Unusable as error:  # where the whole page is no JSON
        assert (kept, error.reason) == ([], "cut")


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":%b}],"entry":[{"resource":%b}]}',
        b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":%b,"resource":%b}]}',
        b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":%b},{"resource":%b}],"type":""}',
    ],
)
@pytest.mark.parametrize("first", [GOOD, PLAIN])
def test_a_bundle_that_says_something_twice_is_none(body: bytes, first: bytes, tmp_path: Path) -> None:
    whole = body % (first, GOOD)
    with pytest.raises(Unusable) as caught:
        bundles.cut(whole)
    assert caught.value.reason == "key-twice"
    (tmp_path / "a.json").write_bytes(whole)
    assert of(read_folder(tmp_path)) == ([], [(sha256(whole).hexdigest(), "key-twice")])


names = st.sampled_from(["id", "meta", "subject", "é", 'a"b', "text", "{"])
leaves = st.none() | st.integers() | st.sampled_from(["", "{", "}]", 'a"', "\\", "\\\\", '\\"{', "\u2028"])
trees: Any = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(names, inner), max_size=4).map(tuple),
    max_leaves=20,
)
styles = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


def written(tree: Any, style: tuple[str, str], ascii_: bool) -> str:
    """JSON of a tree whose objects are tuples of pairs, so that a key can stand twice."""
    comma, colon = style
    if isinstance(tree, tuple):
        named = (json.dumps(k, ensure_ascii=ascii_) + colon + written(v, style, ascii_) for k, v in tree)
        return "{" + comma.join(named) + "}"
    if isinstance(tree, list):
        return "[" + comma.join(written(one, style, ascii_) for one in tree) + "]"
    return json.dumps(tree, ensure_ascii=ascii_)


def depth(tree: Any) -> int:
    if not isinstance(tree, tuple | list):
        return 0
    inside = [one[1] for one in tree] if isinstance(tree, tuple) else tree
    return 1 + max(map(depth, inside), default=0)


def doubled(tree: Any) -> bool:
    return isinstance(tree, tuple) and len({key for key, _ in tree}) < len(tree)


@seeded
@given(trees, styles, st.booleans(), st.integers(1, 6))
def test_depth_is_that_of_the_tree_however_it_is_written(
    tree: Any, style: tuple[str, str], ascii_: bool, limit: int
) -> None:
    assert strict.is_deep(written(tree, style, ascii_).encode(), limit) == (depth(tree) > limit)


@seeded
@given(st.lists(st.tuples(names, trees), max_size=5).map(tuple), styles, st.booleans())
def test_a_key_twice_is_found_however_it_is_written(tree: Any, style: tuple[str, str], ascii_: bool) -> None:
    found = doubled(tree) or any(doubled(part) for key, part in tree if key in ("meta", "subject"))
    assert strict.is_ambiguous(written(tree, style, ascii_).encode()) == found
