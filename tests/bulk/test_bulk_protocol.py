"""Kick-off, polls, manifests and files: what a client must survive, and what it must never do."""

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.client.bulk import Bulk, Waiting
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.manifest import Listed, Manifest, levels, read_manifest
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.errors import Unreachable
from lib.fake_fhir import BASE, Chunks, reply, status
from lib.virtual_time import VirtualTime

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "bulk-export" / "transcripts.json"
LINES = b'{"resourceType":"Patient","id":"a"}\n{"resourceType":"Patient","id":"b","x":"\xe2\x80\xa8"}\n'
Answer = Callable[[httpx.Request], httpx.Response]


class Wire:
    """A server that is one function; every request is remembered."""

    def __init__(self, answer: Answer, *, base: str = BASE, origins: tuple[str, ...] = ()) -> None:
        self.requests, self.time = list[httpx.Request](), VirtualTime()

        def noted(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return answer(request)

        transport = httpx.MockTransport(noted)
        self.client = Client(base, transport=transport, token="canary", patience=self.time.patience())  # noqa: S106
        self.bulk = Bulk(self.client, origins)

    def tokens(self) -> list[tuple[str, str | None]]:
        return [(one.url.host, one.headers.get("authorization")) for one in self.requests]


def taken_on(request: httpx.Request, place: str = f"{BASE}/job/1") -> httpx.Response:
    return reply(202, "", "", Content_Location=place)


def manifest(**more: Any) -> str:
    return json.dumps({"transactionTime": "2024-06-30T08:00:00Z", "output": [], "error": [], **more})


# --- kick-off ---------------------------------------------------------------------------------------------


def test_types_are_one_comma_list_and_filters_are_repeated() -> None:
    wire = Wire(taken_on)
    found = wire.bulk.kick_off("Group/g", ["Patient", "Observation"], filters=["Observation?code=s|a,b"])
    assert found.status_url == f"{BASE}/job/1"
    sent = wire.requests[0]
    assert sent.url.query == b"_type=Patient,Observation&_typeFilter=Observation%3Fcode%3Ds%7Ca,b"
    assert (sent.headers["accept"], sent.headers["prefer"]) == ("application/fhir+json", "respond-async")
    assert sent.url.path == "/fhir/Group/g/$export"


def test_where_get_is_refused_it_is_posted_and_types_are_repeated_only_at_last() -> None:
    def stu4(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return status(405, "not-supported")(request)
        listed = json.loads(request.read())["parameter"]
        return status(400)(request) if "," in listed[0]["valueString"] else taken_on(request)

    wire = Wire(stu4)
    wire.bulk.kick_off("", ["Patient", "Observation"], since="2024-01-01T00:00:00.000Z")
    assert [one.method for one in wire.requests] == ["GET", "POST", "POST"]
    assert json.loads(wire.requests[-1].content)["parameter"] == [
        {"name": "_type", "valueString": "Patient"},
        {"name": "_type", "valueString": "Observation"},
        {"name": "_since", "valueInstant": "2024-01-01T00:00:00.000Z"},
    ]


@pytest.mark.parametrize("code", [413, 414, 431])
def test_a_kick_off_that_is_too_long_for_an_address_is_posted(code: int) -> None:
    wire = Wire(lambda request: status(code)(request) if request.method == "GET" else taken_on(request))
    filters = [f"Observation?code=http://loinc.org|{number}" for number in range(200)]
    wire.bulk.kick_off("Group/g", ["Observation"], filters=filters)
    get, post = wire.requests
    assert (post.method, post.url.query, post.headers["content-type"]) == ("POST", b"", get.headers["accept"])
    listed = json.loads(post.content)["parameter"]
    assert [one["valueString"] for one in listed] == ["Observation", *filters]


@pytest.mark.parametrize(("dialects", "sent"), [(False, ["GET"] * 2), (True, ["GET", "POST", "POST"])])
def test_a_401_to_a_kick_off_is_asked_once_more_and_is_the_answer(dialects: bool, sent: list[str]) -> None:
    def shut(request: httpx.Request) -> httpx.Response:
        return status(405 if dialects and request.method == "GET" else 401, "login")(request)

    wire = Wire(shut)
    with pytest.raises(Declined) as caught:
        wire.bulk.kick_off("", ["Patient"])
    assert (caught.value.status, [one.method for one in wire.requests]) == (401, sent)


def test_a_kick_off_whose_answer_is_lost_is_not_sent_again() -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    wire = Wire(lost)
    with pytest.raises(Unreachable):
        wire.bulk.kick_off("", ["Patient"])
    assert len(wire.requests) == 1


def test_a_job_that_is_to_be_polled_elsewhere_is_left() -> None:
    wire = Wire(lambda request: taken_on(request, "https://evil.test/job/1"))
    with pytest.raises(Unusable, match=r"evil\.test"):
        wire.bulk.kick_off("", ["Patient"])
    with pytest.raises(Unusable):
        wire.bulk.poll("https://evil.test/job/1")
    assert wire.bulk.cancel("https://evil.test/job/1") == 0
    assert {host for host, _ in wire.tokens()} == {"127.0.0.1"}


# --- polls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (lambda r: reply(202, "", "", Retry_After="7", X_Progress="10%"), 7.0),
        (lambda r: reply(202, "", ""), None),
        (lambda r: reply(202, "still at it", "text/plain", Retry_After="soon"), None),
        (lambda r: reply(202, "", "", Retry_After="18000"), 300.0),
        (lambda r: reply(429, "<b>Too Many Requests</b>", "text/html", Retry_After="1719734410"), 10.0),
        (lambda r: reply(429, "", "text/html", Retry_After="1719734410000"), 10.0),
        (status(500, "transient"), None),
        (status(503), None),
    ],
)
def test_a_job_that_is_not_done_is_waited_for(answer: Answer, wait: float | None) -> None:
    found = Wire(answer).bulk.poll(f"{BASE}/job/1")
    assert isinstance(found, Waiting)
    assert found.wait == wait


@pytest.mark.parametrize("answer", [status(500, "exception"), status(404), status(410), status(403)])
def test_a_job_that_failed_is_declined(answer: Answer) -> None:
    with pytest.raises(Declined):
        Wire(answer).bulk.poll(f"{BASE}/job/1")


@pytest.mark.parametrize(
    "body", ["<html></html>", "{", "[]", "{}", '{"output":{}}', '{"output":[{"type":"X"}]}']
)
def test_what_is_no_manifest_is_refused(body: str) -> None:
    with pytest.raises(Unusable):
        Wire(lambda request: reply(200, body, "application/json;charset=ISO-8859-1")).bulk.poll(
            f"{BASE}/job/1"
        )


def test_both_dialects_are_one_manifest() -> None:
    outcome = {"type": "OperationOutcome", "url": f"{BASE}/e"}
    old = manifest(error=[outcome], requiresAccessToken=False, unknown={"a": 1})
    new = manifest(outcome=[outcome], error=None, extension=[], requiresAccessToken=False)
    one, other = (read_manifest(text.encode(), Origin(BASE)) for text in (old, new))
    assert one.files == other.files == (Listed(kind="error", type="OperationOutcome", url=f"{BASE}/e"),)
    assert not one.requires_token
    assert read_manifest(manifest().encode(), Origin(BASE)).requires_token, (
        "unless it says no, it may want one"
    )


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["output", "url", "type", "count", "link", "relation", "error"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_manifest_or_refused(tree: Any) -> None:
    try:
        found = read_manifest(json.dumps(tree).encode(), Origin(BASE))
    except Unusable:
        return
    assert isinstance(found, Manifest)


def test_levels_are_what_the_server_says() -> None:
    export = {"name": "export", "definition": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"}
    assert levels(
        {"rest": [{"operation": [export], "resource": [{"type": "Group", "operation": [export]}]}]}
    ) == {
        "system",
        "Group",
    }
    assert levels({}) == levels({"rest": [{"operation": [{"name": "everything"}]}]}) == frozenset()


# --- files ------------------------------------------------------------------------------------------------


def fetched(
    tmp_path: Path,
    answer: Answer,
    url: str = f"{BASE}/f/1",
    *,
    token: bool = True,
    origins: tuple[str, ...] = (),
) -> tuple[bytes, Wire]:
    wire, path = Wire(answer, origins=origins), tmp_path / "file"
    file = Listed(kind="output", type="Patient", url=url, count=2)
    wire.bulk.download(file, path, requires_token=token)
    return path.read_bytes(), wire


def lines(request: httpx.Request) -> httpx.Response:
    return reply(200, LINES, "application/fhir+ndjson")


def wrapped(request: httpx.Request) -> httpx.Response:
    tree = {"resourceType": "Binary", "contentType": "application/fhir+ndjson"}
    return reply(200, json.dumps(tree | {"data": base64.b64encode(LINES).decode()}, indent=1))


@pytest.mark.parametrize(
    "answer",
    [
        lines,
        wrapped,
        lambda r: reply(200, gzip.compress(LINES), "application/fhir+ndjson", Content_Encoding="gzip"),
        lambda r: reply(
            200,
            gzip.compress(LINES[:36]) + gzip.compress(LINES[36:]),
            "application/octet-stream",
            Content_Encoding="gzip",
        ),
    ],
)
def test_a_file_is_its_lines_whatever_it_is_wrapped_in(tmp_path: Path, answer: Answer) -> None:
    body, wire = fetched(tmp_path, answer)
    assert body == LINES
    assert wire.requests[0].headers["accept"] == "application/fhir+ndjson"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            lambda r: reply(200, "<Binary xmlns='http://hl7.org/fhir'/>", "application/fhir+ndjson"),
            "file-type",
        ),
        (lambda r: reply(200, "<html>log in</html>", "text/html"), "file-type"),
        (lambda r: reply(200, LINES[:50], Content_Length=str(len(LINES))), "cut"),
        (lambda r: reply(200, gzip.compress(LINES)[:-4], Content_Encoding="gzip"), "gzip-cut"),
        (lambda r: reply(200, b'{"resourceType":"Binary","data":"%%%"}'), "file-type"),
    ],
)
def test_a_file_that_is_not_whole_or_no_ndjson_is_refused(
    tmp_path: Path, answer: Answer, reason: str
) -> None:
    with pytest.raises(Unusable) as caught:
        fetched(tmp_path, answer)
    assert caught.value.reason == reason


def test_a_file_of_which_nothing_says_where_it_ends_is_refused(tmp_path: Path) -> None:
    unframed = Wire(lambda r: httpx.Response(200, stream=Chunks(LINES)))
    with pytest.raises(Unusable, match="where it ends"):
        unframed.bulk.download(
            Listed(kind="output", type="P", url=f"{BASE}/f"), tmp_path / "f", requires_token=True
        )


@pytest.mark.parametrize("code", [404, 410, 403])
def test_an_expired_file_is_declined(tmp_path: Path, code: int) -> None:
    with pytest.raises(Declined):
        fetched(tmp_path, status(code))


def test_no_token_is_sent_where_the_manifest_wants_none(tmp_path: Path) -> None:
    assert fetched(tmp_path, lines, token=False)[1].tokens() == [("127.0.0.1", None)]
    away = fetched(tmp_path, lines, "https://files.test/f/1?signature=x", token=False)[1]
    assert away.tokens() == [("files.test", None)]


def test_a_token_goes_to_its_own_origin_and_to_listed_ones_only(tmp_path: Path) -> None:
    assert fetched(tmp_path, lines)[1].tokens() == [("127.0.0.1", "Bearer canary")]
    listed = fetched(tmp_path, lines, "https://files.test/f", origins=("https://files.test",))[1]
    assert listed.tokens() == [("files.test", "Bearer canary")]


FOREIGN = [
    *("https://evil.test/f", "https://127.0.0.1:8099/fhir/f", "http://127.0.0.1:8098/fhir/f"),
    *(
        "http://a@127.0.0.1:8099/f",
        "http://127.0.0.1.evil.test:8099/f",
        "http://[::1]:8099/f",
        "//evil.test/f",
    ),
]


@pytest.mark.parametrize("url", FOREIGN)
def test_no_other_address_ever_sees_the_token(tmp_path: Path, url: str) -> None:
    wire = Wire(lines, origins=("https://files.test",))
    file = Listed(kind="output", type="Patient", url=url, count=2)
    with pytest.raises(Unusable, match="file_origins"):
        wire.bulk.download(file, tmp_path / "f", requires_token=True)
    assert wire.requests == []


def test_a_hospital_s_server_cannot_send_us_to_this_machine(tmp_path: Path) -> None:
    wire = Wire(lines, base="https://fhir.example.org/r4")
    file = Listed(kind="output", type="Patient", url="http://127.0.0.1:9/f")
    with pytest.raises(Unusable, match="inside our network"):
        wire.bulk.download(file, tmp_path / "f", requires_token=False)
    assert wire.requests == []


FILE = f"{BASE}/f/1"


def sent_on(place: str) -> Answer:
    """Leads from FILE to another place, where the lines are."""
    return lambda request: reply(302, "", "", Location=place) if str(request.url) == FILE else lines(request)


@pytest.mark.parametrize("token", [True, False])
def test_a_file_may_be_sent_on_within_its_own_origin(tmp_path: Path, token: bool) -> None:
    wire = fetched(tmp_path, sent_on("/elsewhere/f"), FILE, token=token)[1]
    assert wire.tokens() == [("127.0.0.1", "Bearer canary" if token else None)] * 2


def test_a_file_that_wants_no_token_may_be_sent_on_elsewhere_without_one(tmp_path: Path) -> None:
    wire = fetched(tmp_path, sent_on("https://files.test/f?signature=x"), FILE, token=False)[1]
    assert wire.tokens() == [("127.0.0.1", None), ("files.test", None)]


@pytest.mark.parametrize("place", [f"{BASE}/done/1", "/elsewhere/1", "https://evil.test/done", "/job/1"])
def test_a_poll_may_be_sent_on_within_its_own_origin_only(place: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        away = request.url.path == "/job/1"
        return reply(303, "", "", Location=place) if away else reply(200, manifest(), "application/json")

    wire = Wire(answer)
    job = f"{BASE.removesuffix('/fhir')}/job/1"
    if "evil" in place or place == "/job/1":
        with pytest.raises(Unusable, match="sends us on"):
            wire.bulk.poll(job)
        assert [url.host for url in (one.url for one in wire.requests)] == ["127.0.0.1"]
    else:
        assert isinstance(wire.bulk.poll(job), Manifest)
        assert wire.tokens() == [("127.0.0.1", "Bearer canary")] * 2


@pytest.mark.parametrize(("token", "place"), [(True, "https://evil.test/f"), (False, "http://evil.test/f")])
def test_a_file_that_is_sent_on_where_it_may_not_be_asked_for_is_not_fetched(
    tmp_path: Path, token: bool, place: str
) -> None:
    wire = Wire(sent_on(place))
    file = Listed(kind="output", type="Patient", url=FILE, count=2)
    with pytest.raises(Unusable, match=r"sends us on to https?://evil\.test"):
        wire.bulk.download(file, tmp_path / "f", requires_token=token)
    assert len(wire.requests) == 1


@pytest.mark.parametrize("code", [202, 404])
def test_deleting_a_job_that_is_gone_is_no_failure(code: int) -> None:
    assert Wire(status(code, "not-found")).bulk.cancel(f"{BASE}/job/1") == code


# --- a real server, recorded ------------------------------------------------------------------------------


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the recorded transcripts are not here")
def test_what_a_reference_server_said_is_understood() -> None:
    recorded = [one for one in json.loads(SAMPLE.read_text())["exchanges"] if "request" in one]
    seen = set()
    for one in recorded:
        kind = one["headers"].get("Content-Type", "")
        rest = {
            k: v for k, v in one["headers"].items() if k.lower() not in ("content-type", "content-length")
        }

        def answer(
            request: httpx.Request, one: Any = one, kind: str = kind, rest: Any = rest
        ) -> httpx.Response:
            return reply(one["status"], one["body"], kind, **rest)

        path = one["request"]["path"].partition("?")[0]
        if one["request"]["method"] != "GET" or one.get("body_truncated"):
            continue
        if path.endswith("$export"):
            wire = Wire(answer, base="http://localhost:9443/x/fhir")
            if one["status"] == 202:
                assert "/bulkstatus/" in wire.bulk.kick_off("Patient", ["Patient"]).status_url
            else:
                with pytest.raises(Declined):
                    wire.bulk.kick_off("Patient", ["Patient"])
            seen.add(("kick-off", one["status"]))
        elif "/bulkstatus/" in path:
            wire = Wire(answer, base="http://localhost:9443/x/fhir")
            try:
                found = wire.bulk.poll("http://localhost:9443/fhir/bulkstatus/1")
            except Declined:
                assert one["status"] == 404 or "transient" not in one["body"]
            else:
                assert isinstance(found, Manifest) == (one["status"] == 200)
            seen.add(("poll", one["status"]))
    assert {("kick-off", 202), ("kick-off", 400), ("poll", 200), ("poll", 202), ("poll", 429)} <= seen


# --- a server that wants to be left alone -----------------------------------------------------------------


@pytest.mark.parametrize("code", [429, 503])
def test_who_is_told_to_wait_waits_with_whatever_is_sent_next(code: int) -> None:
    """A poll, a file or a search: the server means all of us."""
    none = '{"resourceType":"Bundle","type":"searchset","total":0}'
    wire = Wire(
        lambda one: reply(code, "", "", Retry_After="40") if "job" in str(one.url) else reply(200, none)
    )
    begun = wire.time.now
    assert wire.bulk.poll(f"{BASE}/job/1") == Waiting(progress="", wait=40.0)
    assert wire.client.count("Patient", {}) == 0
    assert wire.time.now - begun == 40.0
