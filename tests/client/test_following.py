"""A search is followed as long as it brings anything: through rows that shift, and not round for ever."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client.test_pull_server import PEOPLE, Study
from fhir_msct.client.failures import Unusable
from fhir_msct.client.rest import Client
from fhir_msct.records import Resource
from lib.fake_fhir import BASE, FakeFhir, bundle, observation, reply
from lib.virtual_time import VirtualTime

ASKED = {"patient": "p1", "_count": "1"}


def body(id_: str, version: int = 1, **more: Any) -> bytes:
    return json.dumps(observation(id_, "p1", version=version, **more)).encode()


class Circle(FakeFhir):
    """Leads from page to page and round again, each time by an address that nobody has seen."""

    def __init__(self, *pages: Sequence[bytes], before: Sequence[Sequence[bytes]] = ()) -> None:
        super().__init__(PEOPLE)
        self.round = itertools.chain(before, itertools.cycle(pages))
        self.number = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        query = request.url.query.decode()
        if "_summary" in query or not ("Observation" in request.url.path or "cursor" in query):
            return super().answer(request)
        self.number += 1
        return reply(200, bundle(next(self.round), f"{BASE}/Observation?cursor={self.number}"))


def came(server: FakeFhir, asked: dict[str, str] = ASKED) -> list[Resource]:
    """What a search brings."""
    found = list[Resource]()
    with Client(server.base, transport=server.transport, patience=VirtualTime().patience()) as client:
        for page in client.search("Observation", asked):
            found += page.resources
    return found


def requests_until_it_is_seen(server: FakeFhir) -> int:
    with pytest.raises(Unusable, match="again and again") as caught:
        came(server)
    assert caught.value.reason == "next-repeats"
    return len(server.requests)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_one_page_under_ever_new_addresses_is_followed_three_times(size: int) -> None:
    assert requests_until_it_is_seen(Circle([body(f"o{n}") for n in range(size)])) == 1 + 3


@pytest.mark.parametrize("length", [2, 3, 7])
def test_a_circle_of_several_pages_is_followed_three_times_round(length: int) -> None:
    assert requests_until_it_is_seen(Circle(*([body(f"o{n}")] for n in range(length)))) == 3 * length + 1


def test_the_last_page_again_and_again_is_a_circle_too() -> None:
    before = [[body(f"o{n}") for n in range(start, start + 3)] for start in (0, 3, 6)]
    assert requests_until_it_is_seen(Circle(before[-1], before=before)) == 3 + 3


def test_empty_pages_between_hide_no_circle() -> None:
    assert requests_until_it_is_seen(Circle([body("o1")], [])) == 7


def test_what_is_no_resource_or_has_no_id_runs_in_a_circle_as_well() -> None:
    for one in (b"5", b'{"resourceType": "Observation"}', b'{"id": "no-type"}'):
        assert requests_until_it_is_seen(Circle([one])) == 4


def test_a_new_version_and_another_resource_without_an_id_are_new() -> None:
    versions = [[body("o1", version)] for version in range(1, 9)]
    nameless = [[f'{{"resourceType": "Observation", "n": {n}}}'.encode()] for n in range(9)]
    for before in (versions, nameless):
        assert requests_until_it_is_seen(Circle(before[-1], before=before)) == len(before) + 3


def test_ten_empty_pages_are_no_circle() -> None:
    class Empty(Circle):
        def answer(self, request: httpx.Request) -> httpx.Response:
            answer = super().answer(request)
            return reply(200, bundle([body("last")])) if self.number == 12 else answer

    assert [one.id for one in came(Empty([], before=[[body("first")]]))] == ["first", "last"]


class Shifting(FakeFhir):
    """A search whose pages are counted off from the newest each time, and somebody who writes meanwhile."""

    def __init__(self, held: int, bursts: dict[int, int]) -> None:
        super().__init__([observation(f"o{n:04}", "p1") for n in range(5000, 5000 + held)])
        self.bursts, self.newest = bursts, 5000

    def _page(self, search: int, offset: int) -> httpx.Response:
        for _ in range(self.bursts.pop(len(self.requests), 0)):
            self.newest -= 1
            self.hold(observation(f"o{self.newest:04}", "p1"))
        _, size = self._searches[search]
        self._searches[search] = ([one for _, one in sorted(self.held.items())], size)
        return super()._page(search, offset)


@given(
    size=st.integers(1, 3),
    held=st.integers(1, 20),
    bursts=st.dictionaries(st.integers(2, 20), st.integers(1, 12), max_size=2),
)
@example(size=1, held=20, bursts={6: 5, 9: 4})
@example(size=1, held=20, bursts={2: 1, 3: 1})
@example(size=3, held=20, bursts={4: 12})
def test_rows_that_shift_while_they_are_read_are_no_circle(
    size: int, held: int, bursts: dict[int, int]
) -> None:
    server = Shifting(held, dict(bursts))
    found = came(server, {"patient": "p1", "_count": str(size)})
    assert {f"o{n:04}" for n in range(5000, 5000 + held)} <= {str(one.id) for one in found}


def test_a_pull_from_a_server_that_leads_round_ends_and_says_so(tmp_path: Path) -> None:
    server = Circle([body("o1")])
    study = Study(tmp_path / "study")
    report = study.pull(server)
    assert not report.complete
    assert any("again and again" in line and "NOT PROVED" in line for line in study.said)
    assert "Observation/o1" in study.bodies()
    assert len(server.requests) < 100
    assert {f"Patient/{one['id']}" for one in PEOPLE} <= study.bodies().keys()
