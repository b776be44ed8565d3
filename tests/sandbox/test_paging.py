"""Paging: opaque links at the base address, over a list of matches that does not move."""

from itertools import chain
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from fhir_msct.sandbox import Sandbox


@pytest.fixture
def many(server: Sandbox) -> Sandbox:
    server.load(b'{"resourceType":"Basic","id":"b%02d"}' % number for number in range(25))
    return server


def links(bundle: dict) -> dict[str, str]:
    return {link["relation"]: link["url"] for link in bundle["link"]}


def walk(http: httpx.Client, url: str) -> list[list[str]]:
    """The ids of each page."""
    pages = []
    while url:
        bundle = http.get(url).json()
        pages.append([entry["resource"]["id"] for entry in bundle.get("entry", [])])
        url = links(bundle).get("next", "")
    return pages


def test_every_match_comes_once_over_the_pages(many, http) -> None:
    pages = walk(http, "/Basic?_count=10")
    assert [len(page) for page in pages] == [10, 10, 5]
    assert list(chain(*pages)) == [f"b{number:02d}" for number in range(25)]


def test_the_default_page_holds_as_many_as_configured(many, http) -> None:
    assert [len(page) for page in walk(http, "/Basic")] == [20, 5]


def test_a_page_that_ends_with_the_last_match_has_no_next_link(many, http) -> None:
    assert [len(page) for page in walk(http, "/Basic?_count=25")] == [25]
    assert [len(page) for page in walk(http, "/Basic?_count=5")] == [5] * 5


def test_the_next_link_hangs_on_the_base_address_and_names_no_type(many, http) -> None:
    url = links(http.get("/Basic?_count=10").json())["next"]
    assert url.startswith(f"{many.url}?_getpages=")
    assert parse_qs(urlsplit(url).query)["_getpagesoffset"] == ["10"]


def test_links_name_the_server_as_the_client_called_it(many, http) -> None:
    port = urlsplit(many.url).port
    bundle = http.get("/Basic?_count=10", headers={"Host": f"localhost:{port}"}).json()
    assert links(bundle)["next"].startswith(f"http://localhost:{port}/fhir?")
    assert bundle["entry"][0]["fullUrl"] == f"http://localhost:{port}/fhir/Basic/b00"
    second = http.get(
        links(http.get("/Basic?_count=10").json())["next"], headers={"Host": "localhost"}
    ).json()
    assert second["entry"][0]["fullUrl"] == "http://localhost/fhir/Basic/b10"
    assert http.get("/Basic", headers={"Host": 'a"b'}).status_code == 400


def test_what_is_added_or_changed_meanwhile_moves_no_page_and_what_is_deleted_vanishes(many, http) -> None:
    bundle = http.get("/Basic?_count=10").json()
    http.delete("/Basic/b05")
    http.delete("/Basic/b15")
    http.put("/Basic/aa", json={"resourceType": "Basic", "id": "aa"})
    http.put("/Basic/b16", json={"resourceType": "Basic", "id": "b16", "language": "de"})
    rest = walk(http, links(bundle)["next"])
    expected = [f"b{number:02d}" for number in range(10, 25) if number != 15]
    assert list(chain(*rest)) == expected
    page = http.get(links(bundle)["next"]).json()
    assert page["entry"][5]["resource"]["language"] == "de"
    assert "total" not in page


def test_an_expired_search_is_gone(many, http) -> None:
    url = links(http.get("/Basic?_count=10").json())["next"]
    assert http.get(url).status_code == 200
    many.expire_pages()
    answer = http.get(url)
    assert answer.status_code == 410
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_a_link_no_search_ever_gave_is_gone_too(http) -> None:
    assert (
        http.get("?_getpages=00000000-0000-4000-8000-000000000000&_getpagesoffset=0&_count=1").status_code
        == 410
    )


def test_hand_made_offsets_are_served_and_beyond_the_end_is_nothing(many, http) -> None:
    url = links(http.get("/Basic?_count=10").json())["next"]
    beyond = http.get(url.replace("_getpagesoffset=10", "_getpagesoffset=99"))
    assert beyond.status_code == 200
    assert "entry" not in beyond.json()
    assert http.get(url.replace("_getpagesoffset=10", "_getpagesoffset=x")).status_code == 400


def test_a_post_search_is_paged_by_get(many, http) -> None:
    bundle = http.post("/Basic/_search", data={"_count": "10"}).json()
    assert [len(page) for page in walk(http, links(bundle)["next"])] == [10, 5]


def test_the_largest_page_can_be_capped() -> None:
    with (
        Sandbox(page_size=5, page_cap=10) as server,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        server.load(b'{"resourceType":"Basic","id":"b%02d"}' % number for number in range(25))
        assert [len(page) for page in walk(http, "/Basic?_count=1000")] == [10, 10, 5]
        assert [len(page) for page in walk(http, "/Basic")] == [5] * 5


def test_every_entry_has_its_address_and_says_that_it_matched(many, http) -> None:
    for entry in http.get("/Basic").json()["entry"]:
        assert entry["fullUrl"] == f"{many.url}/Basic/{entry['resource']['id']}"
        assert entry["search"] == {"mode": "match"}
