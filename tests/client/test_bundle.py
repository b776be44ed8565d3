"""A Bundle is cut byte for byte; of a resource only its head is looked at."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.client.bundle import cut, etag_version, head, places, resource
from fhir_msct.client.failures import Unusable

seeded = settings(derandomize=True, deadline=None)

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"

leaves = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
spaces = st.text(" \n\t\r", max_size=3)


@seeded
@given(st.lists(st.dictionaries(st.text(max_size=4), trees, max_size=4), max_size=5), spaces, st.booleans())
def test_every_entry_keeps_its_own_bytes(resources: list[dict[str, Any]], space: str, ascii_: bool) -> None:
    texts = [json.dumps(one, ensure_ascii=ascii_, indent=1).encode() for one in resources]
    pad = space.encode()
    entries = (b"," + pad).join(b'{"resource":' + pad + one + pad + b"}" for one in texts)
    body = b'{"type":"collection","entry":[' + entries + b"]}"
    found = cut(body).entries
    assert [entry.body for entry in found] == texts
    offsets = list(places(body, found))
    assert [body[at:][: len(text)] for at, text in zip(offsets, texts, strict=True)] == texts
    assert offsets == sorted(set(offsets)), "the same bytes twice are two places"


def test_all_that_an_entry_says_is_read() -> None:
    entry = {
        "fullUrl": "urn:uuid:1",
        "resource": None,
        "search": {"mode": "include"},
        "request": {"method": "DELETE", "url": "Patient/1"},
        "response": {"etag": 'W/"4"', "lastModified": "2024-01-01T00:00:00Z"},
    }
    link = [{"relation": "next", "url": "?page=2"}, {"relation": "self"}, 5]
    body = {
        "type": "history",
        "total": 7,
        "link": link,
        "entry": [entry],
        "meta": {"tag": [{"code": "SUBSETTED"}]},
    }
    found = cut(json.dumps(body).encode())
    assert (found.type, found.total, found.links, found.subsetted) == (
        "history",
        7,
        {"next": "?page=2"},
        True,
    )
    (only,) = found.entries
    assert (only.body, only.full_url, only.mode) == (None, "urn:uuid:1", "include")
    assert (only.method, only.url, only.version, only.modified) == (
        *("DELETE", "Patient/1", "4"),
        "2024-01-01T00:00:00Z",
    )


@pytest.mark.parametrize("total", ["7", True, None, 7.5])
def test_a_total_that_is_no_whole_number_is_none(total: Any) -> None:
    assert cut(json.dumps({"type": "searchset", "total": total}).encode()).total is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"entry":[{"resource":{}}', "not-json"),
        (b'{"entry":{}}', "shape"),
        (b'{"entry":[null]}', "shape"),
        (b"[" * 5000 + b"]" * 5000, "shape"),
        (b'{"entry":[{"resource":' + b"[" * 5000 + b"]" * 5000 + b"}]}", "too-deep"),
    ],
)
def test_a_bundle_that_cannot_be_cut_is_called_so(body: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        cut(body)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-json"),
        (b'{"a":NaN}', "not-json"),
        (b'{"a":1', "not-json"),
        (b'{"a":"\\ud800"}', "not-json"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "too-deep"),
        (b"5", "not-an-object"),
        (b'"text"', "not-an-object"),
        (b"[{}]", "not-an-object"),
        (b'{"meta":{"a":1e400}}', "shape"),
    ],
)
def test_what_has_no_head_is_called_so(body: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        head(body)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "type_", ['""', "5", "null", '"lower"', '"Two Words"', '"X"', '["Patient"]', '"../Patient"']
)
def test_a_type_that_is_none_is_empty(type_: str) -> None:
    assert head(f'{{"resourceType":{type_}}}'.encode()).type == ""


@pytest.mark.parametrize(
    ("text", "id_", "version"),
    [
        ('{"id":"a","meta":{"versionId":"3"}}', "a", "3"),
        ('{"id":7,"meta":{"versionId":3}}', None, None),
        ('{"id":"","meta":"none"}', None, None),
        ('{"id":"a","meta":[]}', "a", None),
    ],
)
def test_a_head_of_another_shape_says_nothing(text: str, id_: str | None, version: str | None) -> None:
    found = resource(text.encode(), head(text.encode()))
    assert (found.id, found.version) == (id_, version)


@pytest.mark.parametrize(
    ("etag", "version"),
    [('W/"3"', "3"), ('"3"', "3"), ("3", "3"), ("", None), (None, None), ('W/"a b"', None)],
)
def test_an_etag_is_a_version(etag: str | None, version: str | None) -> None:
    assert etag_version(etag) == version


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not on this machine")
def test_real_bundles_are_cut_exactly() -> None:
    number = 0
    for path in sorted(SAMPLES.rglob("*.json")):
        body = path.read_bytes()
        tree = json.loads(body)
        if not isinstance(tree, dict) or tree.get("resourceType") != "Bundle":
            continue
        entries = cut(body).entries
        for entry, at, whole in zip(entries, places(body, entries), tree["entry"], strict=True):
            assert entry.body is not None
            assert body[at:].startswith(entry.body)
            assert json.loads(entry.body) == whole["resource"]
            number += 1
    assert number == 330
