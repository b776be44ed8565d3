"""The sandbox gives back the bytes it was given: only version and time are written, into `meta`."""

import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.errors import InputError
from fhir_msct.sandbox import Sandbox

STAMP = {"versionId": '"1"', "lastUpdated": '"2024-06-01T12:00:00.000+00:00"'}
WHOLE = ",".join(f'"{name}":{value}' for name, value in STAMP.items())
MARKS = {"versionId": "\ue000", "lastUpdated": "\ue001", "inside": "\ue002", "after": "\ue003"}
"""Characters that generated text never holds: where the server writes."""

spaces = st.sampled_from(["", "", " ", "\n  ", "\t", "\r\n"])
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=12)
quoted = st.builds(lambda text, plain: json.dumps(text, ensure_ascii=not plain), texts, st.booleans())
escaped = st.sampled_from(
    [r'"a\/b"', r'"\u00e9"', r'"\ud83d\ude00"', r'"\u2028\ud800"', r'"\"meta\":{}"', '"}"']
)
scalars = st.sampled_from(["true", "false", "null"]) | numbers | quoted | escaped


@st.composite
def rendered(draw: st.DrawFn, members: list[tuple[str, str]], start: str = "") -> str:
    """A JSON object of these members, with any white space JSON allows."""
    before, after, colon, value = (draw(spaces) for _ in range(4))
    inside = f"{before},{after}".join(f"{key}{colon}:{value}{text}" for key, text in members)
    return "{" + start + after + inside + before + "}"


def lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda items, gap: f"[{gap}{f',{gap}'.join(items)}]", st.lists(values, max_size=3), spaces
    )


def members(values: st.SearchStrategy[str], taken: set[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    names = texts.filter(lambda name: name not in taken)
    return st.dictionaries(names.map(json.dumps), values, max_size=3).map(lambda found: list(found.items()))


values = st.recursive(
    scalars, lambda inner: lists(inner) | members(inner, set()).flatmap(rendered), max_leaves=8
)


@st.composite
def resources(draw: st.DrawFn) -> tuple[str, str]:
    """The text of a resource, and the text that must come back."""
    parts = draw(members(values, {"resourceType", "id", "meta"}))
    present = draw(st.sets(st.sampled_from(list(STAMP)))) if draw(st.booleans()) else None
    inside = [] if present is None else draw(members(values, set(STAMP)))
    if present is not None:
        inside += [(f'"{name}"', MARKS[name]) for name in present]
        parts.append(('"meta"', draw(rendered(draw(st.permutations(inside)), MARKS["inside"]))))
    law = '"law"' + (MARKS["after"] if present is None else "")
    parts += [('"resourceType"', '"Basic"'), ('"id"', law)]
    template = draw(spaces) + draw(rendered(draw(st.permutations(parts)))) + draw(spaces)
    missing = ",".join(f'"{name}":{STAMP[name]}' for name in STAMP if present and name not in present)
    if present == set():
        missing = WHOLE
    came = {
        **{MARKS[name]: value for name, value in STAMP.items()},
        MARKS["inside"]: missing + ("," if missing and inside else ""),
        MARKS["after"]: f',"meta":{{{WHOLE}}}',
    }
    sent = {mark: '"9"' if name in STAMP else "" for name, mark in MARKS.items()}
    return template.translate(str.maketrans(sent)), template.translate(str.maketrans(came))


@settings(max_examples=100, deadline=None)
@given(resources())
def test_a_resource_comes_back_as_it_was_sent_with_only_version_and_time_in_its_meta(
    sandbox_of_all: Sandbox, http_of_all: httpx.Client, clock_of_all, pair: tuple[str, str]
) -> None:
    sandbox_of_all.clear()
    clock_of_all.__init__()
    sent, expected = pair
    assert http_of_all.put("/Basic/law", content=sent.encode()).status_code == 201
    assert http_of_all.get("/Basic/law").content == expected.encode()
    page = http_of_all.get("/Basic?_id=law").content
    assert b'"resource":' + expected.encode() + b',"search"' in page


def test_decimals_escapes_unknown_extensions_and_key_order_are_kept(http: httpx.Client) -> None:
    text = (
        '{"id":"o1","resourceType":"Observation","valueQuantity":{"value":5.40,"unit":"\\u00b5kat\\/L"},'
        ' "component":[{"valueQuantity":{"value":1.0e-2}},{"valueQuantity":{"value":-0.0}}],'
        '"extension":[{"url":"urn:unknown","valueDecimal":100.00}],"_status":{"id":"x"}}'
    )
    http.put("/Observation/o1", content=text)
    expected = text.replace('"o1",', f'"o1","meta":{{{WHOLE}}},')
    assert http.get("/Observation/o1").text == expected


def test_a_loaded_resource_with_version_and_time_keeps_every_byte(
    server: Sandbox, http: httpx.Client
) -> None:
    meta = b'"meta":{"lastUpdated":"2019-01-02T03:04:05+10:00", "versionId":"7"}'
    body = b'{ "resourceType":"Patient",%b,"id":"p" }' % meta
    assert server.load([body]) == 1
    answer = http.get("/Patient/p")
    assert answer.content == body
    assert answer.headers["ETag"] == 'W/"7"'
    assert server.dump("Patient") == [body]


def test_the_same_id_loaded_again_is_the_next_version(server: Sandbox, http: httpx.Client) -> None:
    old = b'{"resourceType":"Patient","id":"p","meta":{"versionId":"3","lastUpdated":"2019-01-01T00:00:00Z"}}'
    new = b'{"resourceType":"Patient","id":"p","gender":"female"}'
    assert server.load([old, new]) == 2
    assert http.get("/Patient/p/_history/3").content == old
    assert http.get("/Patient/p").json()["meta"]["versionId"] == "4"
    entries = http.get("/Patient/p/_history").json()["entry"]
    assert [entry["response"]["etag"] for entry in entries] == ['W/"4"', 'W/"3"']


def test_loading_the_same_again_adds_nothing(server: Sandbox) -> None:
    bodies = [
        b'{"resourceType":"Patient","id":"p","meta":{"versionId":"3","lastUpdated":"2019-01-01T00:00:00Z"}}',
        b'{"resourceType":"Patient","id":"q"}',
    ]
    assert server.load(bodies) == 2
    assert server.load(bodies) == 0
    assert server.versions == 2


def test_a_resource_loaded_without_an_id_is_given_one(server: Sandbox, http: httpx.Client) -> None:
    server.load([b'{"resourceType":"Patient","gender":"male"}'])
    assert http.get("/Patient/1").json()["gender"] == "male"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"resourceType":"Patient","id":"p"} x',
        b'{"id":"p"}',
        b'{"resourceType":"Measurement","id":"p"}',
        b'{"resourceType":"Patient","id":"a_b"}',
        b'{"resourceType":"Patient","id":"p","x":NaN}',
        b'{"resourceType":"Patient","id":"p","x":"\xff"}',
        b'{"resourceType":"Patient","id":"p","meta":[]}',
        b'{"resourceType":"Patient","id":"p","meta":{"versionId":"1\\n2"}}',
        b'{"resourceType":"Patient","id":"p","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_resource_is_not_loaded_and_nothing_before_it_either(server: Sandbox, body: bytes) -> None:
    with pytest.raises(InputError, match="resource 2 "):
        server.load([b'{"resourceType":"Patient","id":"first"}', body])
    assert server.dump("Patient") == []


def test_one_version_with_two_contents_is_refused(server: Sandbox) -> None:
    stamp = b'"meta":{"versionId":"1","lastUpdated":"2019-01-01T00:00:00Z"}'
    with pytest.raises(InputError, match="Patient/p/_history/1"):
        server.load(
            [b'{"resourceType":"Patient","id":"p",%b%b}' % (stamp, more) for more in (b"", b',"x":1')]
        )


def test_a_summary_by_elements_is_cut_from_the_same_bytes_and_tagged(
    server: Sandbox, http: httpx.Client
) -> None:
    server.load(
        [b'{"resourceType":"Patient","id":"p","name":[{"text":"x"}],"gender" : "male","birthDate":"1970"}']
    )
    entry = http.get("/Patient?_elements=id,gender").json()["entry"][0]["resource"]
    assert set(entry) == {"resourceType", "id", "meta", "gender"}
    assert entry["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert entry["meta"]["versionId"] == "1"


def test_a_summary_keeps_the_tags_that_were_there(server: Sandbox, http: httpx.Client) -> None:
    server.load([b'{"resourceType":"Patient","id":"p","meta":{"tag":[{"code":"mine"}]}}'])
    entry = http.get("/Patient?_elements=id").json()["entry"][0]["resource"]
    assert [tag["code"] for tag in entry["meta"]["tag"]] == ["SUBSETTED", "mine"]
