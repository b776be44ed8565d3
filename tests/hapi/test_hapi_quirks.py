"""What HAPI does that a reader of the standard would not expect, and that we lose nothing by it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_msct import plan as plans
from fhir_msct.archive.store import Archive
from fhir_msct.client.rest import Client
from fhir_msct.tasks.pull import PullReport, pull
from hapi.ground import FRESH, TAGS, Ground, exact, place, put
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


# --- searches ------------------------------------------------------------------------------------------


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


# --- writes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "held"), [("1e3", "1000"), ("1.0e-7", "0.00000010"), ("1E+2", "100"), ("-0.0", "0.0")]
)
def test_an_exponent_is_written_out_and_the_number_stays(ground: Ground, typed: str, held: str) -> None:
    ground.put(ground.patient(), ground.observation("o", typed))
    found = ground.client.read("Observation", ground.id("o"))
    assert found is not None
    assert exact(found.body)["valueQuantity"]["value"] == held


def test_tags_only_ever_add(ground: Ground) -> None:
    """So a push looks for its own tag among those that are there."""
    ground.put(ground.patient())
    ground.put(ground.patient(meta={"tag": [{"system": "urn:x", "code": "other"}]}, gender="male"))
    tags = ground.get(place(ground.patient())).json()["meta"]["tag"]
    assert {tag["code"] for tag in tags} == {ground.prefix, "other"}


def test_if_none_match_star_does_not_keep_a_resource_from_being_overwritten(ground: Ground) -> None:
    """So nothing of ours relies on it: a push reads first, and then says If-Match."""
    ground.put(ground.patient(gender="female"))
    answer = ground.send(ground.patient(gender="male"), **{"If-None-Match": "*"})
    assert (answer.status_code, ground.version(ground.patient())) == (200, "2")


def test_a_batch_is_refused_whole_for_one_code_that_fhir_does_not_have(ground: Ground) -> None:
    """So nothing of ours is sent as a batch, and everything is checked before it is sent."""
    answer = ground.bundle("batch", put(ground.patient()), put(ground.patient("q", gender="nonsense")))
    assert answer.status_code == 400
    assert ground.version(ground.patient()) is None


def test_a_reference_to_what_is_not_there_is_refused_with_its_transaction(ground: Ground) -> None:
    """So Device and ResearchStudy are sent before the results that name them."""
    answer = ground.bundle("transaction", put(ground.patient()), put(ground.observation("o", of="nobody")))
    assert answer.status_code == 400
    assert ground.version(ground.patient()) is None
    assert (
        ground.bundle("transaction", put(ground.observation("o")), put(ground.patient())).status_code == 200
    )


def test_a_reference_loses_its_version(ground: Ground) -> None:
    ground.put(ground.patient(), ground.observation("a"))
    source = {"reference": f"Observation/{ground.id('a')}/_history/1"}
    ground.put(ground.observation("b", derivedFrom=[source]))
    held = ground.get(f"Observation/{ground.id('b')}").json()["derivedFrom"]
    assert held == [{"reference": f"Observation/{ground.id('a')}"}]


def test_what_others_refer_to_cannot_be_deleted_before_them(ground: Ground) -> None:
    ground.put(ground.patient(), ground.observation("a"))
    assert ground.delete(ground.patient()).status_code == 409
    assert ground.delete(ground.observation("a")).status_code == 200
    assert ground.delete(ground.patient()).status_code == 200


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


def test_of_two_conditional_entries_with_one_address_only_the_first_is_done_and_a_push_sends_none(
    ground: Ground,
) -> None:
    """One answer for two entries; a push counts the answers, and names each resource by its id."""
    own = {"identifier": [{"system": TAGS, "value": ground.prefix}]}
    condition = f"Patient?identifier={TAGS}|{ground.prefix}"
    twice = [
        {
            "fullUrl": f"urn:uuid:00000000-0000-4000-8000-00000000000{number}",
            "resource": {**ground.patient(number), **own, "gender": gender},
            "request": {"method": "PUT", "url": condition},
        }
        for number, gender in enumerate(("female", "male"))
    ]
    answer = ground.bundle("transaction", *twice)
    assert (answer.status_code, len(answer.json()["entry"])) == (200, 1)
    found = ground.get("Patient", {"identifier": f"{TAGS}|{ground.prefix}"}, **FRESH).json()
    assert [entry["resource"]["gender"] for entry in found["entry"]] == ["female"]


def test_two_entries_with_one_address_and_no_full_url_are_refused(ground: Ground) -> None:
    own = {"identifier": [{"system": TAGS, "value": ground.prefix}]}
    entry = {
        "resource": {**ground.patient(), **own},
        "request": {"method": "PUT", "url": f"Patient?identifier={TAGS}|{ground.prefix}"},
    }
    assert ground.bundle("transaction", entry, entry).status_code == 400


@pytest.mark.parametrize("together", [False, True])
def test_a_stale_if_match_is_409_and_not_412(ground: Ground, together: bool) -> None:
    """So a push takes either for a change under its hands, reads, and decides again."""
    ground.put(ground.patient(gender="female"))
    ground.put(ground.patient(gender="male"))
    changed = ground.patient(gender="other")
    if together:
        answer = ground.bundle("transaction", put(changed, ifMatch='W/"1"'))
    else:
        answer = ground.send(changed, **{"If-Match": 'W/"1"'})
    assert (answer.status_code, ground.version(changed)) == (409, "2")


def test_a_version_that_nothing_has_lets_a_transaction_create_and_never_overwrite(ground: Ground) -> None:
    """So what a push means to create overwrites nothing that came since it looked."""
    new = put(ground.patient(), ifMatch='W/"0"')
    assert ground.bundle("transaction", new).status_code == 200
    assert ground.bundle("transaction", new).status_code == 409
    ground.delete(ground.patient())
    assert ground.bundle("transaction", new).status_code == 409  # a deleted one is there as well
    assert ground.bundle("transaction", put(ground.patient())).status_code == 200


@pytest.mark.parametrize("together", [False, True])
def test_versions_are_told_apart_and_not_counted_after_a_deletion_and_an_undelete(
    ground: Ground, tmp_path: Path, together: bool
) -> None:
    """1, 2 (deleted), 3 here; another build went from 2 to 4. The archive keeps what the server says."""
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
    history = ground.get(f"{place(kept)}/_history").json()
    assert (history["total"], len(history["entry"])) == (3, 3)
