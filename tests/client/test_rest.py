"""The client against a server that may answer anything."""

import gzip
import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fhir_msct.client.body import Limits
from fhir_msct.client.exchange import Exchange, Sent
from fhir_msct.client.failures import Declined, PageGone, Unusable
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.errors import MsctError, ServerUnfit, Unreachable
from lib.fake_fhir import (
    BASE,
    DATE,
    Answer,
    Chunks,
    FakeFhir,
    bundle,
    observation,
    page,
    patient,
    reply,
    status,
)
from lib.virtual_time import VirtualTime

PEOPLE = [patient("p1"), patient("p2")]
VALUES = [observation(f"o{number}", "p1", f"{number}.40") for number in range(7)]
CANARY = "canary-token"
ASKED = {"patient": "p1", "_count": "3"}


@pytest.fixture
def server() -> FakeFhir:
    return FakeFhir([*PEOPLE, *VALUES])


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def client(server: FakeFhir, time: VirtualTime) -> Client:
    return Client(server.base, transport=server.transport, patience=time.patience())


def ids(client: Client, asked: dict[str, str] = ASKED) -> list[str | None]:
    return [found.id for page in client.search("Observation", asked) for found in page.resources]


ALL = [f"o{number}" for number in range(7)]


# --- search ---------------------------------------------------------------------------------------------


def test_pages_are_followed_by_the_links_the_server_wrote(server: FakeFhir, client: Client) -> None:
    assert ids(client) == ALL
    assert server.asked == [
        "GET /Observation?patient=p1&_count=3",
        "GET ?_getpages=0&_getpagesoffset=3",
        "GET ?_getpages=0&_getpagesoffset=6",
    ]


def test_the_bytes_of_an_entry_are_the_servers_own(client: Client, server: FakeFhir) -> None:
    odd = b'{\n "resourceType" : "Observation", "id":"odd",\t"subject":{"reference":"Patient\\/p1"}, "v":-0}'
    server.hold(odd)
    found = [one for page in client.search("Observation", ASKED) for one in page.resources if one.id == "odd"]
    assert [one.body for one in found] == [odd]


def test_a_first_page_and_a_count_are_asked_fresh_and_strictly_and_never_without_store(
    server: FakeFhir, client: Client
) -> None:
    ids(client)
    assert client.count("Observation", ASKED) == 7
    first, following, _, count = server.requests
    for request in (first, count):
        assert request.headers["cache-control"] == "no-cache"
        assert request.headers["prefer"] == "handling=strict"
    assert "cache-control" not in following.headers
    assert all(request.headers["accept-encoding"] == "gzip" for request in server.requests)
    assert server.asked[-1] == "GET /Observation?patient=p1&_summary=count"


def test_a_bar_and_a_comma_are_encoded(server: FakeFhir, client: Client) -> None:
    client.count("Observation", {"code": "http://loinc.org|2157-6,http://loinc.org|13969-1"})
    assert "code=http%3A%2F%2Floinc.org%7C2157-6%2Chttp%3A%2F%2Floinc.org%7C13969-1" in server.asked[0]


def test_a_long_search_is_posted_with_every_parameter_in_the_body(server: FakeFhir, client: Client) -> None:
    many = ",".join(["p1", *(f"someone-with-a-long-id-{number}" for number in range(90))])
    assert ids(client, {"patient": many, "_count": "3"}) == ALL
    first = server.requests[0]
    assert (first.method, str(first.url)) == ("POST", f"{BASE}/Observation/_search")
    assert first.headers["content-type"] == "application/x-www-form-urlencoded"
    assert b"_count=3" in first.read()
    assert [request.method for request in server.requests[1:]] == ["GET", "GET"]


def test_an_address_that_a_proxy_finds_too_long_is_posted(server: FakeFhir, client: Client) -> None:
    server.bend("GET .*/Observation", status(414), times=99)
    assert ids(client) == ALL


def test_messages_are_no_data_and_includes_are_no_matches(server: FakeFhir, client: Client) -> None:
    entries = [
        {"resource": VALUES[0], "search": {"mode": "match"}},
        {"resource": VALUES[1]},
        {"resource": PEOPLE[0], "search": {"mode": "include"}},
        {"resource": {"resourceType": "OperationOutcome", "issue": [{"code": "not-found"}]}},
        {"resource": VALUES[2], "search": {"mode": "outcome"}},
        {"resource": {"id": "no-type"}},
        {"resource": 5},
        {"fullUrl": "urn:nothing"},
    ]
    whole = json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries, "total": 2})
    server.bend("Observation", lambda request: reply(200, whole))
    (only,) = client.search("Observation", ASKED)
    assert [one.id for one in only.resources] == ["o0", "o1"]
    assert [one.id for one in only.included] == ["p1"]
    assert only.messages == ("not-found", "outcome")
    assert [why for _, why in only.broken] == ["no-type", "not-an-object", "not-json"]
    assert only.total == 2


def test_a_page_of_subsets_marks_its_resources(server: FakeFhir, client: Client) -> None:
    tagged = {"resourceType": "Bundle", "type": "searchset", "meta": {"tag": [{"code": "SUBSETTED"}]}}
    whole = json.dumps(tagged | {"entry": [{"resource": VALUES[0]}]})
    server.bend("Observation", lambda request: reply(200, whole))
    (only,) = client.search("Observation", ASKED)
    assert [one.subsetted for one in only.resources] == [True]


def test_an_empty_page_with_a_next_link_is_not_the_end(server: FakeFhir, client: Client) -> None:
    following = f"{BASE}?_getpages=0&_getpagesoffset=3"
    server.bend("_getpagesoffset=3", lambda request: reply(200, bundle([], following + "&again=1")))
    assert ids(client) == ALL


def test_a_next_link_to_itself_is_an_error_and_what_came_is_kept(server: FakeFhir, client: Client) -> None:
    itself = f"{BASE}?_getpages=0&_getpagesoffset=3"
    server.bend(
        "_getpagesoffset=3", lambda request: reply(200, bundle([b'{"resourceType":"Patient"}'], itself))
    )
    pages = client.search("Observation", ASKED)
    next(pages), next(pages)
    with pytest.raises(Unusable) as caught:
        next(pages)
    assert caught.value.reason == "next-cycle"


def test_next_links_in_a_circle_are_an_error(server: FakeFhir, client: Client) -> None:
    one, other = f"{BASE}?page=1", f"{BASE}?page=2"
    server.bend("page=1", lambda request: reply(200, bundle([], other)), times=9)
    server.bend("page=2", lambda request: reply(200, bundle([], one)), times=9)
    server.bend("Observation", lambda request: reply(200, bundle([], one)))
    with pytest.raises(Unusable) as caught:
        list(client.search("Observation", ASKED))
    assert caught.value.reason == "next-cycle"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.test/fhir?page=2",
        "//evil.test/fhir?page=2",
        "http://127.0.0.1:9999/fhir?page=2",
        "http://127.0.0.1:8099/other?page=2",
        "http://127.0.0.1:8099@evil.test/fhir?page=2",
    ],
)
def test_a_next_link_to_another_origin_is_not_followed_and_no_token_leaves(
    server: FakeFhir, link: str
) -> None:
    server.bend("Observation", lambda request: reply(200, bundle([json.dumps(VALUES[0]).encode()], link)))
    client = Client(BASE, transport=server.transport, token=CANARY)
    pages = client.search("Observation", ASKED)
    assert [one.id for one in next(pages).resources] == ["o0"]
    with pytest.raises(Unusable) as caught:
        next(pages)
    assert caught.value.reason == "next-foreign"
    assert "canary" not in str(caught.value) and "page=2" not in str(caught.value)
    assert [request.url.host for request in server.requests] == ["127.0.0.1"]
    assert server.requests[0].headers["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("code", [404, 410])
def test_a_page_that_expired_is_told_apart_from_other_refusals(
    server: FakeFhir, client: Client, code: int
) -> None:
    server.bend("_getpagesoffset=3", status(code), times=9)
    with pytest.raises(PageGone):
        ids(client)
    server.bend("Observation", status(code), times=9)
    with pytest.raises(Declined) as caught:
        ids(client)
    assert not isinstance(caught.value, PageGone)


def _raise(error: type[httpx.TransportError]) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error("no such luck: Patient/canary", request=request)

    return answer


@pytest.mark.parametrize("answer", [status(500), status(504), _raise(httpx.ReadTimeout)])
def test_a_next_page_that_fails_each_time_is_as_good_as_gone(
    server: FakeFhir, client: Client, answer: Answer
) -> None:
    server.bend("_getpagesoffset=3", answer, times=2)
    assert ids(client) == ALL
    server.bend("_getpagesoffset=3", answer, times=99)
    asked = len(server.asked)
    with pytest.raises(PageGone):
        ids(client)
    assert len(server.asked) - asked == 1 + 3, "the first page, and three times the next"


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: reply(200, json.dumps(patient("p1"))),
        lambda request: reply(200, json.dumps({"resourceType": "OperationOutcome", "issue": []})),
        lambda request: reply(200, bundle([], kind="transaction-response")),
        lambda request: reply(200, json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": {}})),
    ],
)
def test_an_answer_that_is_no_searchset_is_refused(server: FakeFhir, client: Client, answer: Answer) -> None:
    server.bend("Observation", answer, times=9)
    with pytest.raises(Unusable) as caught:
        ids(client)
    assert caught.value.reason == "shape"


def test_a_count_without_a_total_is_unknown(server: FakeFhir, client: Client) -> None:
    server.no_total = True
    assert client.count("Observation", ASKED) is None


# --- faults ---------------------------------------------------------------------------------------------


def test_a_429_waits_as_long_as_the_server_asks(server: FakeFhir, client: Client, time: VirtualTime) -> None:
    server.bend("Observation", status(429, "throttled", Retry_After="17"))
    assert ids(client) == ALL
    assert time.waits == [17]


def test_a_429_with_a_date_is_read_by_the_servers_clock(
    server: FakeFhir, client: Client, time: VirtualTime
) -> None:
    server.bend("Observation", status(429, Retry_After=DATE.replace("08:00:00", "08:00:42")))
    assert ids(client) == ALL
    assert time.waits == [42]


def test_a_429_that_names_the_end_of_days_waits_five_minutes(
    server: FakeFhir, client: Client, time: VirtualTime
) -> None:
    server.bend("Observation", status(429, Retry_After="4102444800000"))
    assert ids(client) == ALL
    assert time.waits == [300]


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_says_later_is_asked_again(server: FakeFhir, client: Client, code: int) -> None:
    server.bend("Patient/p1", status(code), times=2)
    reply = client.exchange.send("GET", f"{BASE}/Patient/p1", route="Patient/[id]")
    assert (reply.status, len(server.requests)) == (200, 3)


@pytest.mark.parametrize("code", [408, 500, 502, 503, 504])
def test_a_fault_that_passes_is_waited_for(
    server: FakeFhir, client: Client, time: VirtualTime, code: int
) -> None:
    server.bend("_getpagesoffset=3", status(code), times=2)
    assert ids(client) == ALL
    assert time.waits == [0.5, 1.0]


def test_a_refusal_whose_issue_is_transient_is_waited_for(server: FakeFhir, client: Client) -> None:
    server.bend("Observation", status(400, "lock-error"))
    assert ids(client) == ALL


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 422, 501])
def test_a_refusal_that_stays_is_not_asked_again(server: FakeFhir, client: Client, code: int) -> None:
    server.bend("Observation", status(code), times=9)
    with pytest.raises(Declined) as caught:
        ids(client)
    assert caught.value.status == code
    assert len(server.requests) == 1


def test_an_outcome_whose_issues_are_no_list_says_nothing(server: FakeFhir, client: Client) -> None:
    server.bend("Observation", lambda request: reply(422, '{"resourceType":"OperationOutcome","issue":5}'))
    with pytest.raises(Declined) as caught:
        ids(client)
    assert caught.value.codes == ()


def test_a_fault_that_stays_ends_in_an_error(server: FakeFhir, client: Client, time: VirtualTime) -> None:
    server.bend("Observation", status(500), times=99)
    with pytest.raises(Declined) as caught:
        ids(client)
    assert caught.value.status == 500
    assert len(server.requests) == 6
    assert time.waits == [0.5, 1, 2, 4, 8]


def _cut(request: httpx.Request) -> httpx.Response:
    """Half of the honest answer, under its full Content-Length."""
    whole = bundle([json.dumps(VALUES[0]).encode()])
    headers = {"Content-Type": "application/fhir+json", "Content-Length": str(len(whole))}
    return httpx.Response(200, headers=headers, stream=Chunks(whole[: len(whole) // 2]))


def _cut_unframed(request: httpx.Request) -> httpx.Response:
    whole = bundle([json.dumps(VALUES[0]).encode()])
    headers = {"Content-Type": "application/fhir+json"}
    return httpx.Response(200, headers=headers, stream=Chunks(whole[: len(whole) // 2]))


def _cut_gzip(request: httpx.Request) -> httpx.Response:
    whole = gzip.compress(bundle([json.dumps(VALUES[0]).encode()]), mtime=0)
    return reply(200, whole[:-9], Content_Encoding="gzip")


def _not_utf8(request: httpx.Request) -> httpx.Response:
    return reply(200, bundle([b'{"resourceType":"Observation","id":"o0","valueString":"\xff"}']))


BROKEN = [
    *(_cut, _cut_unframed, _cut_gzip, _not_utf8, lambda request: reply(200)),
    *(_raise(kind) for kind in (httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError)),
]


@pytest.mark.parametrize("answer", BROKEN)
def test_an_answer_that_did_not_come_whole_is_asked_for_again(
    server: FakeFhir, client: Client, answer: Answer
) -> None:
    server.bend("Observation", answer)
    assert ids(client) == ALL


@pytest.mark.parametrize("answer", BROKEN)
def test_an_answer_that_never_comes_whole_is_an_error_and_never_half_a_page(
    server: FakeFhir, client: Client, answer: Answer
) -> None:
    server.bend("Observation", answer, times=99)
    with pytest.raises((Unusable, Unreachable)) as caught:
        next(client.search("Observation", ASKED))
    assert "canary" not in str(caught.value)
    assert len(server.requests) == 6


def test_gzip_is_understood(server: FakeFhir, client: Client) -> None:
    server.zip = True
    assert ids(client) == ALL


@pytest.mark.parametrize("answer", [page(), page(text="hello", kind="text/plain"), page(text="{}", kind="")])
def test_a_login_page_with_status_200_is_no_answer(server: FakeFhir, client: Client, answer: Answer) -> None:
    server.bend("Observation", answer, times=9)
    with pytest.raises(ServerUnfit):
        ids(client)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/fhir+json; charset=UTF-8", "Application/JSON"]
)
def test_fhir_may_come_as_plain_json(server: FakeFhir, client: Client, kind: str) -> None:
    server.bend("Observation", lambda request: reply(200, bundle([]), kind))
    assert ids(client) == []


# --- redirects ------------------------------------------------------------------------------------------

AWAY = [
    *("https://evil.test/fhir", "//evil.test/fhir", "https://127.0.0.1:8099/fhir", "http://127.0.0.1/fhir"),
    *("http://localhost:8099/fhir", "http://a@127.0.0.1:8099/fhir"),
    *("/login", "/fhirx/Observation", "/fhir/../login", "../../admin", "/fhir/%2e%2e/login", "ftp://x/y", ""),
    "http://127.0.0.1:99999/fhir",
]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", [f"{BASE}/Moved?a=b%7Cc", "/fhir/Moved?a=b%7Cc", "Moved?a=b%7Cc#here"])
def test_a_redirect_below_the_base_is_followed_with_the_token(
    server: FakeFhir, code: int, place: str
) -> None:
    server.bend("Observation", status(code, Location=place))
    server.bend("Moved", lambda request: reply(200, bundle([json.dumps(VALUES[0]).encode()])))
    client = Client(BASE, transport=server.transport, token=CANARY)
    assert ids(client) == ["o0"]
    assert [str(one.url) for one in server.requests][1:] == [f"{BASE}/Moved?a=b%7Cc"]
    assert {one.headers["authorization"] for one in server.requests} == {f"Bearer {CANARY}"}


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", AWAY)
def test_a_redirect_that_leads_anywhere_else_gets_nothing(server: FakeFhir, code: int, place: str) -> None:
    server.bend("Observation", status(code, Location=place))
    client = Client(BASE, transport=server.transport, token=CANARY)
    with pytest.raises(MsctError) as caught:
        ids(client)
    assert [str(one.url.copy_with(query=None)) for one in server.requests] == [f"{BASE}/Observation"]
    assert isinstance(caught.value, ServerUnfit)
    assert "write the final address as [server] url" in str(caught.value)


def test_a_redirect_that_is_refused_names_the_host_and_nothing_behind_it(server: FakeFhir) -> None:
    server.bend("Observation", status(302, Location="https://evil.test/login?code=canary"))
    client = Client(BASE, transport=server.transport, token=CANARY, section="push")
    with pytest.raises(ServerUnfit, match=r"https://evil\.test, .* as \[push\] url") as caught:
        ids(client)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("code", [300, 305, 306, 310])
def test_a_redirect_of_another_kind_is_refused(server: FakeFhir, code: int) -> None:
    server.bend("Observation", status(code, Location=f"{BASE}/Moved"))
    with pytest.raises(ServerUnfit, match="sends us on"):
        ids(Client(BASE, transport=server.transport))


def test_redirects_that_run_in_a_circle_end(server: FakeFhir, client: Client) -> None:
    server.bend("Observation", status(302, Location=f"{BASE}/Moved"), times=9)
    server.bend("Moved", status(302, Location=f"{BASE}/Observation?patient=p1&_count=3"), times=9)
    with pytest.raises(ServerUnfit, match="again and again"):
        ids(client)
    assert len(server.requests) == 2


def test_redirects_without_end_end(server: FakeFhir, client: Client) -> None:
    def further(request: httpx.Request) -> httpx.Response:
        return status(307, Location=f"{request.url.path}x")(request)

    server.bend("fhir", further, times=99)
    with pytest.raises(ServerUnfit, match="again and again"):
        ids(client)
    assert len(server.requests) == 4


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_what_is_written_or_posted_is_never_sent_on(server: FakeFhir, client: Client, code: int) -> None:
    server.bend("fhir", status(code, Location=f"{BASE}/Moved"), times=99)
    with pytest.raises(ServerUnfit, match=f"a PUT with {code}"):
        client.put("Patient", "p1", b"{}")
    with pytest.raises(ServerUnfit, match=f"a POST with {code}"):
        client.transaction(b"{}")
    with pytest.raises(ServerUnfit, match=f"a POST with {code}"):
        ids(client, {"patient": "p" * 4000})
    assert len(server.requests) == 3


# --- metadata -------------------------------------------------------------------------------------------


def test_metadata_is_the_capability_statement(client: Client) -> None:
    assert client.metadata()["software"]["name"] == "fake"
    assert client.date is not None and client.date.isoformat() == "2024-06-30T08:00:00+00:00"


@pytest.mark.parametrize(
    ("version", "name"),
    [("5.0.0", "R5"), ("3.0.2", "STU3"), ("1.0.2", "DSTU2"), ("4.3.0", "R4B"), ("7.0.0", "unknown")],
)
def test_another_release_is_refused_by_name(
    server: FakeFhir, client: Client, version: str, name: str
) -> None:
    server.metadata["fhirVersion"] = version
    with pytest.raises(ServerUnfit, match=f"{re.escape(version)} \\({name}\\)"):
        client.metadata()


@pytest.mark.parametrize("said", ["4.0.\x1b[31mred", "x", "4.0.1 <script>", 4, None, ["4.0.1"], "4" * 9000])
def test_a_release_that_is_none_is_refused_and_not_repeated(
    server: FakeFhir, client: Client, said: object
) -> None:
    server.metadata["fhirVersion"] = said
    with pytest.raises(ServerUnfit, match="names no FHIR release, and R4") as caught:
        client.metadata()
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "answer",
    [
        page(),
        page(404, "not here"),
        status(404),
        lambda request: reply(200, '{"hello": "world"}', "application/json"),
        lambda request: reply(200, "[1]", "application/json"),
        lambda request: reply(200, json.dumps(patient("p1"))),
        status(301, Location="https://fhir.example.org/r4"),
    ],
)
def test_what_is_no_fhir_server_is_called_so(server: FakeFhir, client: Client, answer: Answer) -> None:
    server.bend("metadata", answer, times=99)
    with pytest.raises(ServerUnfit):
        client.metadata()


@pytest.mark.parametrize("code", [401, 403, 500])
def test_a_server_that_lets_nobody_in_is_not_called_unfit(
    server: FakeFhir, client: Client, code: int
) -> None:
    server.bend("metadata", status(code), times=99)
    with pytest.raises(Declined, match=str(code)):
        client.metadata()


@pytest.mark.parametrize("code", [401, 403])
def test_credentials_are_a_matter_of_settings_until_they_were_taken_once(server: FakeFhir, code: int) -> None:
    client = Client(BASE, transport=server.transport, token=CANARY)
    client.metadata()  # which many servers show to everybody
    server.bend("Observation", status(code))
    with pytest.raises(Declined, match=r"see \[server\] token_file in study\.toml") as caught:
        ids(client)
    assert caught.value.exit_code == 3
    assert ids(client) == ALL
    server.bend("Observation", status(code))
    with pytest.raises(Declined, match=str(code)) as caught:
        ids(client)
    assert caught.value.exit_code == 5


# --- read and write -------------------------------------------------------------------------------------


def test_read_gives_the_resource_as_it_is(client: Client, server: FakeFhir) -> None:
    found = client.read("Observation", "o3")
    assert found is not None
    assert (found.type, found.id, found.version) == ("Observation", "o3", "1")
    assert found.lastupdated == "2024-01-01T00:00:00.000Z"
    assert found.body == server.held["Observation", "o3"]


@pytest.mark.parametrize("code", [404, 410])
def test_read_of_what_is_not_there_is_none(server: FakeFhir, client: Client, code: int) -> None:
    server.bend("Observation/o3", status(code))
    assert client.read("Observation", "o3") is None


def test_read_of_another_type_is_refused(server: FakeFhir, client: Client) -> None:
    server.bend("Observation/o3", lambda request: reply(200, json.dumps(patient("o3"))))
    with pytest.raises(Unusable):
        client.read("Observation", "o3")


def test_put_says_the_new_version(server: FakeFhir, client: Client) -> None:
    answer = client.put("Observation", "n1", b'{"resourceType":"Observation","id":"n1"}', if_match="3")
    assert (answer.status, answer.version) == (201, "1")
    assert server.requests[0].headers["if-match"] == 'W/"3"'
    assert server.requests[0].headers["content-type"] == "application/fhir+json"
    assert server.held["Observation", "n1"] == b'{"resourceType":"Observation","id":"n1"}'


@pytest.mark.parametrize(
    ("etag", "body", "version"),
    [
        ('"7"', "", "7"),
        ('W/"a-b.c"', "", "a-b.c"),
        ("", json.dumps(observation("n1", "p1", version=4)), "4"),
        ("", "", None),
        ("", '{"resourceType":"Observation"}', None),
    ],
)
def test_a_version_is_read_wherever_the_server_says_it(
    server: FakeFhir, client: Client, etag: str, body: str, version: str | None
) -> None:
    server.bend("PUT", lambda request: reply(201, body, ETag=etag))
    assert client.put("Observation", "n1", b"{}").version == version


@pytest.mark.parametrize("code", [409, 412])
def test_a_stale_version_is_an_answer(server: FakeFhir, client: Client, code: int) -> None:
    server.bend("PUT", status(code, "conflict"))
    assert client.put("Observation", "n1", b"{}", if_match="1").status == code


@pytest.mark.parametrize("code", [400, 401, 403, 422, 500, 503])
def test_a_refused_write_is_an_error_and_is_not_repeated(server: FakeFhir, client: Client, code: int) -> None:
    server.bend("PUT|POST|DELETE", status(code), times=9)
    for write in _writes(client):
        with pytest.raises(Declined):
            write()
    assert len(server.requests) == 3


def test_a_write_without_an_answer_is_not_repeated(server: FakeFhir, client: Client) -> None:
    server.bend("PUT|POST|DELETE", _raise(httpx.ReadTimeout), times=9)
    for write in _writes(client):
        with pytest.raises(Unreachable):
            write()
    assert len(server.requests) == 3


def _writes(client: Client) -> list[Callable[[], Any]]:
    return [
        lambda: client.put("Observation", "n1", b"{}"),
        lambda: client.transaction(b"{}"),
        lambda: client.delete("Observation", "n1"),
    ]


def test_a_write_that_was_throttled_is_repeated(server: FakeFhir, client: Client, time: VirtualTime) -> None:
    server.bend("PUT", status(429, Retry_After="3"), times=2)
    assert client.put("Observation", "n1", b'{"resourceType":"Observation","id":"n1"}').status == 201
    assert time.waits == [3, 3]


def test_delete_of_what_is_gone_is_an_answer(server: FakeFhir, client: Client) -> None:
    assert client.delete("Observation", "o1").status == 204
    server.bend("DELETE", status(410))
    assert client.delete("Observation", "o1").status == 410


def test_a_transaction_gives_the_servers_bundle(server: FakeFhir, client: Client) -> None:
    server.bend("POST", lambda request: reply(200, bundle([], kind="transaction-response")))
    assert client.transaction(b"{}") == bundle([], kind="transaction-response")
    assert server.asked == ["POST "]


# --- a light guest --------------------------------------------------------------------------------------


def test_a_server_elsewhere_gets_five_requests_a_second(time: VirtualTime) -> None:
    server = FakeFhir(VALUES, base="https://fhir.example.org/r4")
    client = Client(server.base, transport=server.transport, patience=time.patience())
    for _ in range(11):
        client.count("Observation", ASKED)
    assert time.now == pytest.approx(1000 + 2.0)


def test_this_machine_is_not_spared(client: Client, time: VirtualTime) -> None:
    ids(client)
    assert time.waits == []


def test_the_user_agent_is_said(server: FakeFhir) -> None:
    Client(BASE, transport=server.transport, user_agent="fhir-msct/1 (study x)").metadata()
    assert server.requests[0].headers["user-agent"] == "fhir-msct/1 (study x)"


def test_the_request_log_holds_routes_and_no_address(server: FakeFhir) -> None:
    log: list[Sent] = []
    client = Client(BASE, transport=server.transport, on_sent=log.append)
    client.read("Patient", "p1")
    ids(client)
    assert [(one.method, one.route, one.status) for one in log] == [
        ("GET", "Patient/[id]", 200),
        ("GET", "Observation?", 200),
        ("GET", "Observation? next page", 200),
        ("GET", "Observation? next page", 200),
    ]
    assert all(one.bytes > 0 for one in log)


@pytest.mark.parametrize("told", ["abc-1:2.3_4", "", "Jane Doe", "x" * 65, "<b>"])
def test_the_request_log_holds_the_id_that_the_server_gave_a_request_or_ours(
    server: FakeFhir, told: str
) -> None:
    log: list[Sent] = []
    server.bend("Patient", status(404, X_Request_Id=told))
    Client(BASE, transport=server.transport, on_sent=log.append).read("Patient", "p1")
    own = server.requests[0].headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", own)
    assert [one.id for one in log] == [told if told == "abc-1:2.3_4" else own]


def test_nothing_is_sent_to_an_address_that_is_not_ours(server: FakeFhir) -> None:
    exchange = Exchange(
        Origin(BASE),
        transport=server.transport,
        token=CANARY,
        user_agent="x",
        patience=VirtualTime().patience(),
        limits=Limits(),
        on_sent=None,
    )
    for url in ("https://evil.test/fhir", "http://127.0.0.1:8099/other", "http://127.0.0.1:8100/fhir", ""):
        with exchange, pytest.raises(MsctError):
            exchange.send("GET", url, route="x")
    assert server.requests == []


def test_a_search_goes_on_from_a_link_that_was_kept(server: FakeFhir, client: Client) -> None:
    first = next(client.search("Observation", ASKED))
    rest = [
        one.id for page in client.search("Observation", ASKED, start=first.next) for one in page.resources
    ]
    assert rest == ALL[3:]
    with pytest.raises(Unusable):
        next(client.search("Observation", ASKED, start="https://evil.test/fhir?page=2"))
