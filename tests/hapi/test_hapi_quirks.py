"""What HAPI does with searches that the standard does not tell, and that we lose nothing by it."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_msct import plan as plans
from fhir_msct.archive.store import Archive
from fhir_msct.client.rest import Client
from fhir_msct.tasks.pull import PullReport, pull
from hapi.ground import FRESH, Ground, exact, place
from hapi.running import Hapi
from push.wires import Wire


class After(Wire):
    """Passes everything on; after the first page of Observations something happens at the server, once."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens: Callable[[], None] | None = happens

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        is_page = "/Observation" in request.url.path and "_summary" not in request.url.params
        if self._happens is None or not is_page:
            return super().handle_request(request)
        happens, self._happens = self._happens, None
        request.headers["Accept-Encoding"] = "identity"
        response = super().handle_request(request)
        body = response.read()
        response.close()
        happens()
        headers = [(k, v) for k, v in response.headers.raw if k.lower() != b"transfer-encoding"]
        return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(body))


def pulled(ground: Ground, folder: Path, transport: httpx.BaseTransport | None = None) -> PullReport:
    """A pull of this test's patient, ten to a page."""
    (folder / "study.toml").write_text(
        f'[server]\nurl = "{ground.url}"\n[cohort]\npatients = ["{ground.id("p")}"]\n', "utf-8"
    )
    plan = plans.load(folder)
    wanted = plans.Wanted(types=("Patient", "Observation"), cohort=plan.cohort, page_size=10)
    return pull(folder, plan, wanted, transport=transport, say=lambda line: None)


def archived(folder: Path) -> dict[str, tuple[str | None, Any]]:
    """Version and value of each Observation in an archive."""
    with Archive.open(folder) as archive:
        found = list(archive.current("Observation"))
    return {one.id or "": (one.version, exact(one.body)["valueQuantity"]["value"]) for one in found}


def on_the_server(ground: Ground) -> dict[str, tuple[str | None, Any]]:
    """Version and value of each Observation of the patient, as a fresh search finds them."""
    asked = {"patient": ground.id("p"), "_count": "200"}
    answer = ground.get("Observation", asked, **FRESH)
    found = [entry["resource"] for entry in exact(answer.content).get("entry", [])]
    return {one["id"]: (one["meta"]["versionId"], one["valueQuantity"]["value"]) for one in found}


def test_a_search_is_no_snapshot_and_a_pull_while_it_changes_still_ends_with_what_is_there(
    ground: Ground, tmp_path: Path
) -> None:
    rows = [ground.observation(f"{number:02}") for number in range(60)]
    ground.put(ground.patient(), ground.patient("other"), *rows)

    def change() -> None:
        ground.put(*(ground.observation(f"new-{number:02}") for number in range(20)))
        ground.put(*(ground.observation(f"{number:02}", "7.10") for number in range(20)))
        ground.put(*(ground.observation(f"{number:02}", of="other") for number in range(20, 25)))
        gone = [{"request": {"method": "DELETE", "url": place(row)}} for row in rows[40:]]
        assert ground.bundle("transaction", *gone).status_code == 200

    with After(change) as wire:
        report = pulled(ground, tmp_path, wire)
    assert report.complete, report.problems
    there = on_the_server(ground)
    assert len(there) == 60 - 20 - 5 + 20
    assert {id_: archived(tmp_path).get(id_) for id_ in there} == there


def test_rows_that_stay_come_once_whatever_is_inserted_and_deleted_between_two_pages(ground: Ground) -> None:
    rows = [ground.observation(f"{number:02}") for number in range(40)]
    ground.put(ground.patient(), *rows)
    pages = ground.client.search("Observation", {"patient": ground.id("p"), "_count": "10"})
    ids = [one.id for one in next(pages).resources]
    late = [ground.observation(f"new-{number}") for number in range(5)]
    gone = [row for row in rows if row["id"] not in ids][:5]
    ground.put(*late)
    for row in gone:
        ground.delete(row)
    ids += [one.id for page in pages for one in page.resources]
    stayed = {row["id"] for row in rows} - {row["id"] for row in gone}
    assert len(ids) == len(set(ids))
    assert stayed <= set(ids)
    assert set(ids) <= stayed | {row["id"] for row in late}


def test_a_subject_with_the_servers_own_address_is_found_by_that_address_only_and_we_ask_for_it(
    ground: Ground, tmp_path: Path
) -> None:
    def by_address(name: str) -> dict[str, Any]:
        subject = {"reference": f"{ground.url}/Patient/{ground.id('p')}"}
        return ground.observation(name) | {"subject": subject}

    ground.put(ground.patient(), ground.observation("plain"))
    ground.put(by_address("hidden"))  # alone: what a transaction brings is stored as Patient/id
    assert ground.get("Observation", {"patient": ground.id("p")}, **FRESH).json()["total"] == 1
    assert pulled(ground, tmp_path).complete
    assert set(archived(tmp_path)) == {ground.id("plain"), ground.id("hidden")}
    ground.put(by_address("late"))
    assert pulled(ground, tmp_path).complete
    assert set(archived(tmp_path)) == {ground.id("plain"), ground.id("hidden"), ground.id("late")}


def test_a_search_is_answered_from_a_cache_for_a_minute_and_ours_never_is(ground: Ground) -> None:
    asked = {"patient": ground.id("p")}
    ground.put(ground.patient())
    assert ground.get("Observation", asked).json()["total"] == 0
    ground.put(ground.observation("o"))
    assert ground.get("Observation", asked).json()["total"] == 0
    assert [len(page.resources) for page in ground.client.search("Observation", asked)] == [1]
    assert (
        ground.get("Observation", asked).json()["total"] == 0
    )  # a fresh search does not refresh the old one
    assert ground.client.count("Observation", asked) == 1


def test_a_count_is_cached_as_well_and_ours_is_fresh(ground: Ground) -> None:
    asked = {"patient": ground.id("p"), "_summary": "count"}
    ground.put(ground.patient(), ground.observation(1))
    assert ground.get("Observation", asked).json()["total"] == 1
    ground.put(ground.observation(2))
    assert ground.get("Observation", asked).json()["total"] == 1
    assert ground.client.count("Observation", {"patient": ground.id("p")}) == 2


def test_no_store_cuts_a_result_after_one_page_and_claims_that_this_was_all(ground: Ground) -> None:
    ground.put(ground.patient(), *(ground.observation(number) for number in range(35)))
    cut = ground.get("Observation", ground.tagged, **{"Cache-Control": "no-store"}).json()
    assert (cut["total"], len(cut["entry"])) == (20, 20)
    assert [link for link in cut["link"] if link["relation"] == "next"] == []
    with Wire() as wire, Client(ground.url, transport=wire) as client:
        pages = list(client.search("Observation", ground.tagged))
    assert sum(len(page.resources) for page in pages) == 35
    assert not any("no-store" in one.headers.get("Cache-Control", "") for one in wire.sent)


def test_an_unknown_parameter_that_begins_with_an_underscore_is_ignored_even_in_strict_mode(
    ground: Ground,
) -> None:
    """So a search alone never decides whose a resource is: what comes is held against what was asked."""
    ground.put(ground.patient(), ground.patient("q"))
    asked = {**ground.tagged, "_nonsense": "x"}
    assert ground.get("Patient", asked, Prefer="handling=strict").json()["total"] == 2


def test_a_result_names_no_total_as_long_as_it_is_not_known_and_a_pull_asks_for_a_count(
    ground: Ground, tmp_path: Path
) -> None:
    ground.put(ground.patient(), *(ground.observation(number) for number in range(45)))
    report = pulled(ground, tmp_path)
    assert report.complete, report.problems
    assert [(one.type, one.received, one.counted) for one in report.types] == [
        ("Observation", 45, 45),
        ("Patient", 1, 1),
    ]


def test_a_long_address_is_refused_with_a_page_for_people(ground: Ground) -> None:
    """Not with an OperationOutcome: Tomcat stops it before HAPI sees it. The client posts long searches."""
    answer = ground.get("Observation", {"_id": "x" * 12_000})
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")


def test_a_deletion_shows_in_no_search_and_the_next_pull_says_that_it_is_gone(
    ground: Ground, tmp_path: Path
) -> None:
    ground.put(ground.patient(), *(ground.observation(number) for number in range(3)))
    assert pulled(ground, tmp_path).complete
    ground.delete(ground.observation(1))
    report = pulled(ground, tmp_path)
    assert report.complete, report.problems
    assert [(one.type, one.gone) for one in report.types] == [("Observation", 1), ("Patient", 0)]
    assert set(archived(tmp_path)) == {ground.id(0), ground.id(2)}


@pytest.mark.parametrize("together", [False, True])
def test_versions_are_told_apart_and_not_counted_after_a_deletion_and_an_undelete(
    ground: Ground, tmp_path: Path, together: bool
) -> None:
    """1, 2 (deleted), 3 here; elsewhere 3 was skipped. The archive keeps what the server says."""
    kept = ground.observation("o")
    ground.put(ground.patient(), kept)
    assert pulled(ground, tmp_path).complete
    ground.delete(kept)
    assert pulled(ground, tmp_path).complete
    if together:
        ground.put(kept, ground.observation("another"))
    else:
        ground.put(kept)
    assert pulled(ground, tmp_path).complete
    version = ground.version(kept)
    assert version in ("3", "4")
    assert archived(tmp_path)[kept["id"]][0] == version


@pytest.mark.slow
@pytest.mark.soak
def test_a_next_link_that_expires_amid_a_pull_is_410_and_the_window_is_read_again(
    hapi: str, tmp_path: Path
) -> None:
    """Not after the 4 s that are set: HAPI sweeps once a minute, and a link that is used lives on."""
    server = Hapi(log=tmp_path / "hapi.log", settings={"HAPI_EXPIRE_MS": "4000"})
    with ExitStack() as closing:
        closing.callback(server.stop, grace=0)
        server.start()
        ground = closing.enter_context(Ground(server.url))
        ground.put(ground.patient(), *(ground.observation(number) for number in range(90)))

        def expire() -> None:
            asked = [{"patient": ground.id("p"), "_count": str(number)} for number in range(11, 61)]
            answers = [ground.get("Observation", one, **FRESH).json() for one in asked]
            links = [link["url"] for one in answers for link in one["link"] if link["relation"] == "next"]
            pause = threading.Event()
            while links and ground.http.get(links.pop()).status_code != 410:
                pause.wait(5)
            assert links, "no link expired"

        wire = closing.enter_context(After(expire))
        report = pulled(ground, tmp_path, wire)
        assert report.complete, report.problems
        there = on_the_server(ground)
        assert len(there) == 90
        assert archived(tmp_path) == there
    begun = [one for one in wire.sent if "/Observation" in one.url.path and "_count" in one.url.params]
    assert len(begun) >= 2  # the window was read from its beginning again
