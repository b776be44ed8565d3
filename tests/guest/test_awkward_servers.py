"""Servers as they are: small pages, no totals, 429, numeric ids, stale caches; and those that are refused."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from fhir_msct import Study, data
from fhir_msct import plan as plans
from fhir_msct.archive.guest_book import FILE, GuestBook
from fhir_msct.client.failures import Declined
from fhir_msct.errors import Conflict, ServerFailed, ServerUnfit, UsageError
from fhir_msct.sandbox.faults import Faults
from fhir_msct.tasks import clearing
from fhir_msct.tasks import demo as plain_demo
from fhir_msct.tasks.demo import resources
from fhir_msct.tasks.push import push
from fhir_msct.tasks.trial_copy import originals
from guest.house import FEW, LOADED, RUN, Dying, House, Wire, dies_when_it_counts, is_tagged, says
from lib.virtual_time import VirtualTime
from push.wires import Killed

FHIR = {"Content-Type": "application/fhir+json"}


def chooses_ids(*, told: bool) -> Callable[[httpx.Request], httpx.Response | None]:
    """A server that gives every id itself, with or without saying so beforehand."""

    def before(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/fhir/metadata" and told:
            answer = httpx.get(request.url, headers={"Accept": "application/fhir+json"}, trust_env=False)
            body = answer.text.replace('"updateCreate":true', '"updateCreate":false')
            return says(200, body.encode())
        bundle = request.method == "POST" and request.url.path == "/fhir"
        entries = json.loads(request.content)["entry"] if bundle else ()
        urls = [one["request"]["url"] for one in entries if one["request"]["method"] == "PUT"]
        if any("?" not in url and not url.rpartition("/")[2].isdecimal() for url in urls):
            return says(422, b'{"resourceType":"OperationOutcome","issue":[{"code":"not-supported"}]}')
        return None

    return before


def test_where_the_server_gives_all_ids_the_book_has_them_and_all_of_it_goes_again(house: House) -> None:
    """The whole trial: loaded, pulled, computed, written back, found unchanged, taken away."""
    house.server.faults = Faults(no_update_create=True)
    told = house.demo(bodies=None)
    assert told.complete
    screen = " ".join(told.screen.split())
    assert f"168 resources written to {house.server.url}; read back equal; again: 0 written" in screen
    ours = house.ours()
    brought = len({one.key for one in originals(resources(data.fixtures() / "resources"))})
    written = Counter(place.partition("/")[0] for place in ours)
    assert len(ours) == brought + 168 + written["Provenance"]
    assert written["Provenance"] >= 2
    assert all(place.partition("/")[2].isdecimal() for place in ours)
    assert all(is_tagged(body) for body in ours.values())
    assert house.clean().deleted == len(ours)
    house.require_as_before()


def test_a_server_that_only_refuses_our_ids_gets_the_trial_without_them(house: House) -> None:
    refuses = chooses_ids(told=False)
    with pytest.raises(Killed):
        house.demo(Wire(lambda request: dies_when_it_counts(request) or refuses(request)))
    assert {place.partition("/")[2].isdecimal() for place in house.ours()} == {True}
    house.clean()
    house.require_as_before()


def killed_before_its_ids_are_heard(house: House, *, arrives: bool) -> None:
    """A demo on a server that chooses ids, killed at its second writing, whether or not that arrives."""
    dying = Dying(2, arrives=arrives, method="POST")
    dying.before = chooses_ids(told=True)
    with pytest.raises(Killed):
        house.demo(dying)


def test_ids_that_were_given_and_never_heard_are_found_by_tag_and_mark(house: House) -> None:
    killed_before_its_ids_are_heard(house, arrives=True)
    with GuestBook.open(house.folder) as book:
        assert {row.id for row in book.rows() if row.state == "SENT"} == {None}
    assert house.clean().deleted >= 100
    house.require_as_before()


def test_what_no_search_shows_yet_and_has_no_id_keeps_the_book_open_for_an_hour(house: House) -> None:
    killed_before_its_ids_are_heard(house, arrives=True)
    there = len(house.ours())

    def lags(request: httpx.Request) -> httpx.Response | None:
        empty = b'{"resourceType":"Bundle","type":"searchset","total":0}'
        return says(200, empty) if "_tag" in str(request.url) else None

    with pytest.raises(ServerFailed, match=r"ids never heard.* clean again later"):
        house.clean(Wire(lags))
    with GuestBook.open(house.folder) as book:
        (unheard, _), is_clean = book.unheard(), book.is_clean
    assert (unheard > 0, is_clean) == (True, False)
    assert 0 < len(house.ours()) < there
    assert house.clean().deleted == unheard
    house.require_as_before()


def test_what_was_sent_an_hour_ago_and_is_nowhere_never_arrived(house: House) -> None:
    killed_before_its_ids_are_heard(house, arrives=False)
    with pytest.raises(ServerFailed, match="ids never heard"):
        house.clean()
    house.require_as_before()
    with closing(sqlite3.connect(house.folder / FILE)) as db:
        db.execute("update written set sent = sent - 3600")
        db.commit()
    report = house.clean()
    assert report.unheard > 0
    assert f"{report.unheard} never arrived" in clearing.told(report)


def test_what_the_server_refused_to_take_under_its_own_ids_is_not_waited_for(house: House) -> None:
    gives_ids = chooses_ids(told=True)

    def before(request: httpx.Request) -> httpx.Response | None:
        posted = request.method == "POST" and b'"method":"POST"' in request.read()
        return says(422) if posted else gives_ids(request)

    with pytest.raises(Declined):
        house.demo(Wire(before))
    assert house.clean().deleted == 0
    house.require_as_before()


@pytest.mark.parametrize("batches", [True, False], ids=["in batches", "one by one"])
def test_where_nothing_may_be_deleted_that_is_the_message_and_not_that_others_refer_to_it(
    house: House, batches: bool
) -> None:
    def forbids(request: httpx.Request) -> httpx.Response | None:
        if request.method == "DELETE":
            return says(403)
        if request.url.path == "/fhir" and b'"type":"batch"' in request.read():
            entries = json.loads(request.content)["entry"]
            if not batches:
                return says(400)
            if entries[0]["request"]["method"] == "DELETE":
                refused = [{"response": {"status": "403 Forbidden"}} for _ in entries]
                bundle = {"resourceType": "Bundle", "type": "batch-response", "entry": refused}
                return says(200, json.dumps(bundle).encode())
        return None

    with pytest.raises(Killed):
        house.demo(Wire(dies_when_it_counts), bodies=FEW)
    there = house.ours()
    with pytest.raises(ServerFailed, match=rf"not let this client delete \(403\): {len(there)} ") as caught:
        house.clean(Wire(forbids))
    assert (type(caught.value), house.ours()) == (ServerFailed, there)
    house.clean()
    house.require_as_before()


def test_small_pages_no_totals_messages_among_results_and_429_are_normal(house: House) -> None:
    house.server.faults = Faults(
        drop_total=True,
        outcome_entry=True,
        where="^(?!.*_summary=count)",
        status_once={"POST /fhir$": (429, 429), "GET /fhir/Observation": (429,)},
    )
    assert house.demo().complete
    house.server.faults = Faults(drop_total=True, status_once={"POST /fhir$": (429,), "_tag": (503,)})
    house.clean()
    house.require_as_before()


def test_a_search_that_is_answered_from_a_cache_hides_nothing(house: House) -> None:
    kept: dict[str, bytes] = {}

    def cached(request: httpx.Request) -> httpx.Response | None:
        """As HAPI does: the hits of a search answer the next one like it, unless that says no-cache."""
        if request.method != "GET" or "?" not in str(request.url):
            return None
        if "no-cache" in request.headers.get("Cache-Control", ""):
            return None
        if str(request.url) not in kept:
            kept[str(request.url)] = httpx.get(request.url, trust_env=False).content
        return says(200, kept[str(request.url)])

    with pytest.raises(Killed):
        house.demo(Dying(LOADED, arrives=True))
    url = f"{house.server.url}/Patient?_tag=urn%3Afhir-msct%3Ademo-run%7C{RUN}&_count=100"
    assert httpx.get(url, trust_env=False).json()["total"] == 2
    house.clean(Wire(cached))
    house.require_as_before()


def test_a_server_that_ignores_the_tag_in_a_search_is_no_place_for_a_demo(house: House) -> None:
    house.server.faults = Faults(ignore=("_tag",))
    with pytest.raises(ServerUnfit, match="ignores _tag"):
        house.demo()
    assert house.server.versions == house.history
    assert not house.folder.exists()


@pytest.mark.parametrize("type_", ["Observation", "Provenance"])
def test_it_has_to_mind_the_tag_in_a_search_of_whatever_is_written(house: House, type_: str) -> None:
    house.server.faults = Faults(where=f"/{type_}", ignore=("_tag",))
    house.server.load([b'{"resourceType":"Provenance","id":"theirs-4"}'])
    before = house.server.versions
    with pytest.raises(ServerUnfit, match=f"ignores _tag in a search of {type_}"):
        house.demo()
    assert house.server.versions == before


@pytest.mark.parametrize("status", [400, 404, 422])
def test_an_id_that_the_server_takes_for_none_is_not_there(house: House, status: int) -> None:
    refuses = chooses_ids(told=False)

    def before(request: httpx.Request) -> httpx.Response | None:
        if b'"type":"batch"' in request.content:
            return says(400)
        if request.method == "GET" and RUN in request.url.path:
            return says(status)
        return dies_when_it_counts(request) or refuses(request)

    with pytest.raises(Killed):
        house.demo(Wire(before), bodies=FEW)
    assert {place.partition("/")[2].isdecimal() for place in house.ours()} == {True}
    house.clean()
    house.require_as_before()


def test_a_search_that_shows_one_resource_without_the_tag_stops_before_the_first_deletion(
    house: House,
) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(2, arrives=False))
    ours, versions = house.ours(), house.server.versions
    assert ours
    house.server.faults = Faults(ignore=("_tag",))
    wire = Wire()
    with pytest.raises(Conflict, match="cannot be trusted"):
        house.clean(wire)
    assert wire.entries("DELETE") == []
    assert (house.ours(), house.server.versions) == (ours, versions)
    house.server.faults = None
    house.clean()
    house.require_as_before()


def test_a_resource_under_an_id_of_ours_stops_it_before_anything_is_written(house: House) -> None:
    house.server.load([b'{"resourceType":"Patient","id":"%b-msct-p02"}' % RUN.encode()])
    before = house.server.versions
    with pytest.raises(Conflict, match=f"Patient/{RUN}-msct-p02"):
        house.demo()
    assert house.server.versions == before
    assert not house.folder.exists()


def test_a_server_without_batches_is_asked_one_by_one(house: House) -> None:
    def no_batches(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/fhir" and b'"type":"batch"' in request.read():
            return says(400)
        return None

    with pytest.raises(Killed):
        house.demo(Wire(dies_when_it_counts), bodies=FEW)
    wire = Wire(no_batches)
    ours = set(house.ours())
    assert house.clean(wire).deleted == len(ours)
    assert {one["url"] for one in wire.entries("DELETE")} >= ours
    house.require_as_before()


def test_what_carries_the_tag_and_is_not_the_runs_is_left_alone(house: House) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(2, arrives=False))
    tag = json.dumps({"tag": [{"system": "urn:fhir-msct:demo-run", "code": RUN}]}).encode()
    copied = b'{"resourceType":"Patient","id":"a-copy","meta":%b}' % tag
    house.server.load([copied])
    theirs = house.held()["Patient/a-copy"]
    with pytest.raises(Conflict, match="Patient/a-copy"):
        house.clean()
    assert house.ours() == {"Patient/a-copy": theirs}
    with GuestBook.open(house.folder) as book:
        assert not book.is_clean


def test_a_resource_of_the_run_that_lost_its_tag_is_left_alone(house: House) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(2, arrives=False))
    taken = {"resourceType": "Patient", "id": f"{RUN}-msct-p01", "active": False}
    httpx.put(
        f"{house.server.url}/Patient/{RUN}-msct-p01",
        json=taken,
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
    )
    with pytest.raises(Conflict, match=f"Patient/{RUN}-msct-p01"):
        house.clean()
    assert set(house.ours()) == {f"Patient/{RUN}-msct-p01"}


def test_a_change_between_the_reading_and_the_deletion_is_seen(house: House) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(2, arrives=False))
    changed: list[str] = []

    def changes(request: httpx.Request) -> httpx.Response | None:
        if b'"method":"DELETE"' in request.read() and not changed:
            place = json.loads(request.content)["entry"][0]["request"]["url"]
            tree = {**json.loads(house.ours()[place]), "language": "de"}
            tree["meta"] = {"tag": []}
            headers = {"Content-Type": "application/fhir+json"}
            httpx.put(f"{house.server.url}/{place}", json=tree, headers=headers, trust_env=False)
            changed.append(place)
        return None

    with pytest.raises(Conflict, match="could not be deleted"):
        house.clean(Wire(changes))
    assert list(house.ours()) == changed


def test_each_is_read_again_right_before_it_is_deleted_for_not_every_server_minds_if_match(
    house: House,
) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(LOADED, arrives=True))
    place = f"Patient/{RUN}-msct-p01"

    def changes(request: httpx.Request) -> httpx.Response | None:
        if b'"method":"DELETE"' not in request.read():
            return None
        if b'"Observation/' in request.content and json.loads(house.ours()[place])["meta"].get("tag"):
            untagged = {**json.loads(house.ours()[place]), "meta": {"tag": []}}
            httpx.put(f"{house.server.url}/{place}", json=untagged, headers=FHIR, trust_env=False)
        bundle = json.loads(request.content)
        for entry in bundle["entry"]:
            entry["request"].pop("ifMatch", None)
        answer = httpx.post(request.url, json=bundle, headers=FHIR, trust_env=False)
        return says(answer.status_code, answer.content)

    with pytest.raises(Conflict, match=f"could not be deleted .{place}"):
        house.clean(Wire(changes))
    assert list(house.ours()) == [place]


def test_what_is_no_id_of_the_run_is_neither_written_nor_deleted(house: House) -> None:
    house.demo()
    study = house.folder / "study.toml"
    text = study.read_text("utf-8")
    study.write_text(text.replace(f'id = "{RUN}"', 'id = "our-trial"'), "utf-8")
    Study(house.folder).records()
    Study(house.folder).outcomes()
    before = house.held()
    with pytest.raises(UsageError, match=rf"is no id of the run {RUN}.*nothing was sent"):
        push(house.folder, plans.load(house.folder), apply=True, transport=Wire(), say=house.said.append)
    assert house.held() == before
    theirs = "Observation/theirs-1"
    with closing(sqlite3.connect(house.folder / FILE)) as db:  # as a book may be that somebody has touched
        db.execute("insert into written values ('Observation', 'theirs-1', 'theirs-1', 'ANSWERED', 0)")
        db.commit()
    house.clean()
    assert theirs in house.held()
    house.require_as_before()


def test_a_folder_with_a_run_on_a_server_is_not_replaced(house: House) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(2, arrives=False))
    before = sorted(path.name for path in house.folder.iterdir())
    with pytest.raises(UsageError, match="--clean"):
        house.demo()
    with pytest.raises(UsageError, match="--clean"):
        plain_demo.demo(house.folder, say=house.said.append)
    assert sorted(path.name for path in house.folder.iterdir()) == before
    assert FILE in before


def test_off_this_machine_it_is_five_requests_a_second_and_somebody_has_to_mean_the_host(
    house: House,
) -> None:
    def elsewhere(request: httpx.Request) -> httpx.Response | None:
        here = httpx.URL(house.server.url)
        request.url = request.url.copy_with(scheme=here.scheme, host=here.host, port=here.port)
        return dies_when_it_counts(request)

    meant: list[str] = []
    house.confirm = meant.append  # type: ignore[method-assign]
    with pytest.raises(Killed):
        house.demo(Wire(elsewhere), bodies=FEW, url="https://fhir.example.org/fhir")
    assert meant == ["fhir.example.org"]
    cleaning = Wire(elsewhere)
    with pytest.raises(UsageError, match="leave --server out"):
        house.clean(cleaning, url="https://other.example.org/fhir")
    house.clean(cleaning)
    assert len(cleaning.sent) <= 5 * (house.time.now - VirtualTime().now) + 1
    assert meant == ["fhir.example.org", "fhir.example.org"]
    house.require_as_before()


def test_http_in_clear_goes_nowhere_but_to_this_machine(house: House) -> None:
    with pytest.raises(UsageError, match="https"):
        house.demo(url="http://fhir.example.org/fhir")
    assert not house.folder.exists()
