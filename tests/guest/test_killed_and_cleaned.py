"""A demo that dies anywhere is cleaned away whole, from what it wrote down before it sent anything."""

import json

import httpx
import pytest

from fhir_msct.archive.guest_book import GuestBook, Row
from fhir_msct.tasks.as_guest import marked
from guest.house import LOADED, Dying, House, Wire, dies_when_it_counts, says
from kill.nursery import Nursery
from kill.wire import Wire as Proxy
from push.wires import Killed


@pytest.mark.parametrize("arrives", [False, True], ids=["before it arrives", "before it is answered"])
@pytest.mark.parametrize("at", [1, 2, LOADED], ids=lambda at: f"transaction {at}")
def test_killed_while_loading(house: House, at: int, arrives: bool) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(at, arrives=arrives))
    assert bool(house.ours()) == (arrives or at > 1)
    there = len(house.ours())
    assert house.clean().deleted == there
    assert house.time.waits == pytest.approx([90.0], abs=5.0)
    house.require_as_before()


def test_a_gateway_that_gives_up_leaves_a_write_in_doubt_also_where_the_next_try_is_answered(
    house: House,
) -> None:
    """What a 502 hides may still be carried out: cleaning waits until it is over."""
    given_up: list[bytes] = []

    def gateway(request: httpx.Request) -> httpx.Response | None:
        if b'"type":"transaction"' in request.read() and not given_up:
            given_up.append(request.content)
            return says(502)
        return dies_when_it_counts(request)

    with pytest.raises(Killed):
        house.demo(Wire(gateway))
    states = {row.mark: row.state for row in rows(house)}
    first = {entry["resource"]["id"] for entry in json.loads(given_up[0])["entry"]}
    assert {mark for mark, state in states.items() if state == "SENT"} == first
    assert "ANSWERED" in states.values()
    house.clean()
    assert house.time.waits == pytest.approx([90.0], abs=5.0)
    house.require_as_before()


def test_a_batch_that_reads_settles_no_write(house: House) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(2, arrives=False))
    sent = [row for row in rows(house) if row.state == "SENT"]
    batch = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "GET", "url": "Patient/x"}}],
    }
    with GuestBook.open(house.folder) as book, httpx.Client(transport=marked(book, Wire())) as client:
        assert client.post(house.server.url, json=batch).status_code == 200
    assert sent and [row for row in rows(house) if row.state == "SENT"] == sent


def rows(house: House) -> list[Row]:
    """What the guest book says."""
    with GuestBook.open(house.folder) as book:
        return book.rows()


@pytest.mark.parametrize(
    ("at", "arrives"), [(LOADED + 1, True), (LOADED + 2, False), (LOADED + 2, True)],
    ids=["device unanswered", "results not arrived", "results unanswered"],
)  # fmt: skip
def test_killed_while_writing_back(house: House, at: int, arrives: bool) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(at, arrives=arrives))
    assert any(place.startswith(("Device", "Provenance")) for place in house.ours())
    house.clean()
    house.require_as_before()


def test_killed_while_pulling(house: House) -> None:
    with pytest.raises(Killed):
        house.demo(Wire(dies_when_it_counts))
    assert len(house.ours()) > 100
    house.clean()
    house.require_as_before()


@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize("at", [1, 3])
def test_killed_while_cleaning(house: House, at: int, arrives: bool) -> None:
    with pytest.raises(Killed):
        house.demo(Dying(LOADED, arrives=True))
    with pytest.raises(Killed):
        house.clean(Dying(at, arrives=arrives, method="DELETE"))
    assert house.ours()
    house.clean()
    house.require_as_before()


def test_an_answer_that_never_comes_is_asked_for_again(house: House) -> None:
    broken: list[int] = []

    def breaks(request: httpx.Request) -> httpx.Response | None:
        if b'"method":"DELETE"' in request.content and len(broken) < 2:
            broken.append(1)
            raise httpx.ReadError("reset")
        return None

    with pytest.raises(Killed):
        house.demo(Dying(LOADED, arrives=True))
    house.clean(Wire(breaks))
    assert broken == [1, 1]
    house.require_as_before()


def test_real_processes_that_are_killed_are_cleaned_by_a_real_command(house: House) -> None:
    folder = house.folder
    with Proxy(house.server.url) as proxy, Nursery() as nursery:
        begin = ("demo", folder, "--server", proxy.url)
        proxy.strike(27, "unheard", nursery.kill)
        assert nursery.run(*begin, folder=folder).killed
        assert len(house.ours()) > 100
        proxy.forget()
        refused = nursery.run(*begin, folder=folder)
        assert (refused.code, "--clean" in refused.said) == (3, True), refused
        for at, moment in ((14, "unheard"), (17, "half")):
            proxy.strike(at, moment, nursery.kill)
            assert nursery.run("demo", folder, "--clean", folder=folder).killed
        proxy.forget()
        ended = nursery.run("demo", folder, "--clean", folder=folder)
        assert ended.code == 0, ended
        assert "gone (404 or 410)" in ended.said
    house.require_as_before()
