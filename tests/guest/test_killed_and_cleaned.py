"""A demo that dies anywhere is cleaned away whole, from what it wrote down before it sent anything."""

import httpx
import pytest

from guest.house import LOADED, Dying, House, Wire, dies_when_it_counts
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
    assert house.time.waits == ([] if arrives else pytest.approx([20.0], abs=5.0))
    house.require_as_before()


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
        proxy.strike(18, "unheard", nursery.kill)
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
