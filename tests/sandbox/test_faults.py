"""Each fault does what it is called, only where and as often as it is told, and is off by default."""

import json

import httpx
import pytest

from fhir_msct.sandbox import Faults, Sandbox


@pytest.fixture
def many(server: Sandbox) -> Sandbox:
    server.load(b'{"resourceType":"Basic","id":"b%02d","x":1.10}' % number for number in range(25))
    return server


def page(http: httpx.Client, url: str = "/Basic?_count=10") -> dict:
    return http.get(url).json()


def link(bundle: dict, relation: str) -> str | None:
    return next((link["url"] for link in bundle["link"] if link["relation"] == relation), None)


def test_a_server_without_faults_has_none(many) -> None:
    assert many.faults == Faults()


def test_a_status_comes_once_each_in_turn_then_the_true_answer(many, http) -> None:
    many.faults = Faults(status_once={"GET /fhir/Basic": (503, 429, 500)}, retry_after="2")
    answers = [http.get("/Basic") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 429, 500, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["2", "2", None, None]
    assert answers[0].json()["resourceType"] == "OperationOutcome"
    assert "Date" in answers[0].headers


def test_a_fault_strikes_only_where_it_is_told_and_as_often(many, http) -> None:
    many.faults = Faults(html_login=True, where="_count=5", times=2)
    assert "json" in http.get("/Basic").headers["Content-Type"]
    kinds = [http.get("/Basic?_count=5").headers["Content-Type"].partition(";")[0] for _ in range(3)]
    assert kinds == ["text/html", "text/html", "application/fhir+json"]


def test_chance_is_seeded(many, http) -> None:
    def run(seed: int) -> list[bool]:
        many.faults = Faults(html_login=True, chance=0.5, seed=seed)
        return ["html" in http.get("/Basic?_count=1").headers["Content-Type"] for _ in range(20)]

    assert run(1) == run(1) != run(2)
    assert 0 < sum(run(1)) < 20


def test_a_delay_outlasts_an_impatient_client(many, http) -> None:
    many.faults = Faults(delay=0.3, times=1)
    with pytest.raises(httpx.ReadTimeout):
        http.get("/Basic", timeout=0.05)
    assert http.get("/Basic").status_code == 200


def test_a_quietly_cut_body_raises_nothing_and_is_no_json(many, http) -> None:
    many.faults = Faults(cut_body="quiet")
    for encoding in ("identity", "gzip"):
        answer = http.get("/Basic", headers={"Accept-Encoding": encoding})
        assert answer.status_code == 200
        with pytest.raises(ValueError):
            json.loads(answer.content)


def test_a_loudly_cut_body_breaks_the_connection(many, http) -> None:
    many.faults = Faults(cut_body="loud", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/Basic")
    assert http.get("/Basic").status_code == 200


def test_a_lost_answer_hides_a_write_that_was_done(many, http) -> None:
    many.faults = Faults(lose_answer=True, where="PUT", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        http.put("/Basic/new", json={"resourceType": "Basic", "id": "new"})
    assert http.get("/Basic/new").status_code == 200


def test_a_search_is_gone_after_so_many_pages(many, http) -> None:
    many.faults = Faults(page_gone_after=2)
    second = page(http, link(page(http), "next"))
    assert len(second["entry"]) == 10
    for _ in range(2):
        assert http.get(link(second, "next")).status_code == 410
    assert http.get(link(page(http), "next")).status_code == 200


def test_only_some_searches_can_be_gone_and_those_stay_gone(many, http) -> None:
    many.faults = Faults(page_gone_after=1, times=1)
    first, second = link(page(http), "next"), link(page(http), "next")
    assert [http.get(url).status_code for url in (first, second, first)] == [410, 200, 410]


def test_the_total_can_be_missing_or_wrong(many, http) -> None:
    many.faults = Faults(drop_total=True)
    assert "total" not in page(http)
    many.faults = Faults(wrong_total=0)
    assert page(http)["total"] == 0


def test_the_next_link_can_be_missing_point_to_itself_or_abroad(many, http) -> None:
    many.faults = Faults(drop_next=True)
    assert link(page(http), "next") is None
    many.faults = Faults(next_to_self=True)
    second = page(http, link(page(http), "next"))
    assert link(second, "next") == link(second, "self")
    many.faults = Faults(next_host="elsewhere:81")
    assert link(page(http), "next").startswith("http://elsewhere:81/fhir?_getpages=")


def test_entries_can_be_repeated_missing_bare_or_joined_by_an_outcome(many, http) -> None:
    true = [entry["resource"]["id"] for entry in page(http)["entry"]]
    many.faults = Faults(repeat_entries=True)
    assert [entry["resource"]["id"] for entry in page(http)["entry"]] == [*true, true[0]]
    many.faults = Faults(drop_entries=3)
    assert [entry["resource"]["id"] for entry in page(http)["entry"]] == true[:-3]
    many.faults = Faults(bare_entries=True)
    assert {tuple(entry) for entry in page(http)["entry"]} == {("resource",)}
    many.faults = Faults(outcome_entry=True)
    *_, last = page(http)["entry"]
    assert (last["resource"]["resourceType"], last["search"]["mode"]) == ("OperationOutcome", "outcome")


def test_a_parameter_can_be_ignored_as_if_unknown(many, http) -> None:
    many.faults = Faults(ignore=("_id",))
    bundle = page(http, "/Basic?_id=b01&_count=5&_total=accurate")
    assert bundle["total"] == 25
    assert "_id" not in link(bundle, "self")


def test_a_bent_page_keeps_the_bytes_of_its_resources(many, http) -> None:
    many.faults = Faults(drop_total=True)
    assert http.get("/Basic").text.count('"x":1.10') == 20


def test_faults_leave_reads_and_writes_alone_unless_told(many, http) -> None:
    many.faults = Faults(drop_total=True, drop_entries=5, repeat_entries=True)
    assert http.get("/Basic/b01").json()["id"] == "b01"
    assert http.put("/Basic/c", json={"resourceType": "Basic", "id": "c"}).status_code == 201


def test_clearing_the_server_switches_faults_off(many, http) -> None:
    many.faults = Faults(html_login=True)
    many.clear()
    assert many.faults == Faults()
    assert page(http)["total"] == 0
