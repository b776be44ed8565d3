"""Where the sandbox means to differ from HAPI, and what it leaves out: nothing else may differ.

A difference that stands neither here nor among HAPI's own quirks is a defect of the sandbox.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from hapi.ground import FRESH, Ground, Tree, identified, place

ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}


@pytest.fixture
def both(sandbox: str, hapi: str) -> Iterator[tuple[Ground, Ground]]:
    """A test's own ground on the sandbox, and one on HAPI."""
    with Ground(sandbox) as ours, Ground(hapi) as theirs:
        yield ours, theirs


Both = tuple[Ground, Ground]


def test_the_sandbox_claims_no_search_that_hapi_does_not_know(both: Both) -> None:
    """Each parameter by the same name and of the same type."""
    ours, theirs = (parameters(ground) for ground in both)
    assert len(ours) > 500
    assert sorted(ours - theirs) == []


def parameters(ground: Ground) -> set[tuple[str, str, str]]:
    """Type, name and kind of every search parameter that is claimed."""
    (rest,) = ground.client.metadata()["rest"]
    return {
        (one["type"], parameter["name"], parameter["type"])
        for one in rest["resource"]
        for parameter in one["searchParam"]
    }


def test_a_delete_minds_an_if_match_on_the_sandbox_and_not_on_hapi(both: Both) -> None:
    """So it is worth sending, and never enough: who deletes reads first."""
    codes = []
    for ground in both:
        ground.put(ground.patient())
        ground.put(ground.patient(gender="male"))
        address = f"{ground.url}/{place(ground.patient())}"
        codes.append(ground.http.delete(address, headers={"If-Match": 'W/"1"'}).status_code)
    assert codes == [409, 200]


def test_a_delete_by_condition_is_done_by_hapi_alone(both: Both) -> None:
    codes = []
    for ground in both:
        ground.put({**identified(ground), "id": ground.id("p")})
        address = f"{ground.url}/Patient?identifier=urn:x%7C{ground.id('i')}"
        codes.append((ground.http.delete(address).status_code, ground.version(ground.patient())))
    assert codes == [(405, "1"), (200, None)]


@pytest.mark.parametrize(
    "asked", [{"_summary": "text"}, {"_include": "Observation:subject"}, {"code:text": "x"}]
)
def test_what_the_sandbox_cannot_search_it_refuses(both: Both, asked: dict[str, str]) -> None:
    codes = [ground.get("Observation", {**ground.tagged, **asked}).status_code for ground in both]
    assert codes == [400, 200]


def test_a_history_of_a_type_or_of_everything_is_told_by_hapi_alone(both: Both) -> None:
    for address in ("Patient/_history?_count=1", "_history?_count=1"):
        assert [ground.get(address).status_code for ground in both] == [404, 200]


def test_xml_is_spoken_by_hapi_alone(both: Both) -> None:
    assert [ground.get("Patient?_count=1", Accept="application/fhir+xml").status_code for ground in both] == [
        406,
        200,
    ]


def test_unchanged_since_then_is_said_by_hapi_alone(both: Both) -> None:
    said = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    for ground in both:
        ground.put(ground.patient())
    assert [ground.get(place(ground.patient()), **said).status_code for ground in both] == [200, 304]


def test_the_sandbox_wants_a_kick_off_to_say_what_it_accepts(both: Both) -> None:
    """As SMART's reference server does; HAPI does not mind."""
    codes = []
    for ground in both:
        headers = {"Prefer": "respond-async"}
        codes.append(
            ground.http.get(f"{ground.url}/Patient/$export?_type=Device", headers=headers).status_code
        )
    assert codes == [400, 202]


def test_a_reference_with_the_servers_own_address_is_found_by_that_alone_on_hapi(both: Both) -> None:
    """HAPI shows it as `Patient/id` and yet does not find it by that: no search for a patient brings it.

    Asked for in both ways at once it comes, from both: so `check` asks.
    """
    hits: list[list[int]] = []
    for ground in both:
        who = place(ground.patient())
        sent: Tree = {**ground.observation("o"), "subject": {"reference": f"{ground.url}/{who}"}}
        ground.put(ground.patient())
        ground.put(sent)
        asked: list[dict[str, str]] = [{"subject": who}, {"subject": f"{ground.url}/{who}"}]
        asked.append({"subject": f"{who},{ground.url}/{who}"})
        hits.append([total(ground, one) for one in asked])
    assert hits == [[1, 1, 1], [0, 1, 1]]


def total(ground: Ground, asked: dict[str, Any]) -> int:
    """How many Observations a fresh search finds."""
    return int(ground.get("Observation", asked, **FRESH).json()["total"])


def test_a_page_of_less_than_nothing_has_no_rows_on_hapi_and_is_refused_here(both: Both) -> None:
    codes = [ground.get("Patient", {**ground.tagged, "_count": "-1"}).status_code for ground in both]
    assert codes == [400, 200]
