"""What a server finds only by its own full address: HAPI keeps a reference as it was written."""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_msct import plan as plans
from fhir_msct.archive.store import Archive
from fhir_msct.client.failures import Declined
from fhir_msct.tasks.pull import PullReport, pull
from lib.fake_fhir import BASE, FakeFhir, matches, observation, patient, reply, status
from lib.virtual_time import VirtualTime


def named_by(address: str, id_: str, who: str) -> dict[str, Any]:
    return observation(id_, who) | {"subject": {"reference": f"{address}/Patient/{who}"}}


@pytest.fixture
def server() -> FakeFhir:
    held = [patient("p1"), patient("p2"), observation("o1", "p1"), observation("o2", "p2")]
    return FakeFhir([*held, named_by(BASE, "hidden1", "p1"), named_by(BASE, "hidden2", "p9")])


def pulled(
    folder: Path, server: FakeFhir, *, patients: Sequence[str] = ("p1", "p2"), **more: Any
) -> PullReport:
    folder.mkdir(exist_ok=True)
    named = json.dumps(list(patients))
    (folder / "study.toml").write_text(f'[server]\nurl = "{BASE}"\n[cohort]\npatients = {named}\n')
    plan = plans.load(folder)
    wanted = plans.Wanted(types=("Patient", "Observation"), cohort=plan.cohort)
    patience = VirtualTime().patience()
    return pull(
        folder, plan, wanted, transport=server.transport, patience=patience, say=lambda line: None, **more
    )


def observations(folder: Path) -> set[str | None]:
    with Archive.open(folder) as archive:
        return {one.id for one in archive.current("Observation")}


def test_what_names_a_patient_of_the_cohort_by_address_comes_and_is_counted(
    tmp_path: Path, server: FakeFhir
) -> None:
    report = pulled(tmp_path / "study", server)
    assert report.complete, report.problems
    counts = {one.type: (one.received, one.counted, one.held) for one in report.types}
    assert counts["Observation"] == (3, 3, 3)
    assert observations(tmp_path / "study") == {"o1", "o2", "hidden1"}


@pytest.mark.parametrize("more", [{}, {"full": True}])
def test_the_next_pull_does_not_take_it_for_deleted(
    tmp_path: Path, server: FakeFhir, more: dict[str, Any]
) -> None:
    pulled(tmp_path / "study", server)
    server.hold(named_by(BASE, "hidden3", "p2"))
    report = pulled(tmp_path / "study", server, **more)
    assert report.complete, report.problems
    assert observations(tmp_path / "study") == {"o1", "o2", "hidden1", "hidden3"}
    server.drop("Observation", "hidden1")
    assert pulled(tmp_path / "study", server, **more).complete
    assert observations(tmp_path / "study") == {"o1", "o2", "hidden3"}


def test_where_everything_is_named_by_address_all_of_it_comes(tmp_path: Path, server: FakeFhir) -> None:
    for id_, who in (("o1", "p1"), ("o2", "p2")):
        server.hold(named_by(BASE, id_, who))
    assert pulled(tmp_path / "study", server).complete
    assert observations(tmp_path / "study") == {"o1", "o2", "hidden1"}


def test_a_server_that_refuses_the_question_is_pulled_from_all_the_same(
    tmp_path: Path, server: FakeFhir
) -> None:
    server.bend("patient=http", status(500), times=9)
    report = pulled(tmp_path / "study", server)
    assert report.complete, report.problems
    assert observations(tmp_path / "study") == {"o1", "o2"}


def test_one_question_for_a_type_is_enough_where_nothing_is_named_so(tmp_path: Path) -> None:
    server = FakeFhir([patient("p1"), patient("p2"), observation("o1", "p1")])
    assert pulled(tmp_path / "study", server).complete
    assert len([one for one in server.asked if "patient=http" in one]) == 1


def test_what_is_asked_for_by_address_is_asked_in_smaller_parts_where_that_is_too_long(
    tmp_path: Path,
) -> None:
    ids = [f"{number:032}" for number in range(25)]
    server = FakeFhir([*map(patient, ids), *(named_by(BASE, f"h{id_}", id_) for id_ in ids[:3])])
    server.bend("^POST", status(405, "not-supported"), times=999)
    report = pulled(tmp_path / "study", server, patients=ids)
    assert report.complete, report.problems
    assert observations(tmp_path / "study") == {f"h{id_}" for id_ in ids[:3]}


def test_a_server_that_is_busy_has_not_said_that_it_finds_nothing(tmp_path: Path, server: FakeFhir) -> None:
    server.bend("patient=http", status(503), times=6)
    with pytest.raises(Declined):
        pulled(tmp_path / "study", server)
    assert pulled(tmp_path / "study", server).complete
    assert observations(tmp_path / "study") == {"o1", "o2", "hidden1"}


def test_where_the_counts_never_fit_what_is_named_by_address_is_read_all_the_same(
    tmp_path: Path, server: FakeFhir
) -> None:
    lists = count()
    said = {"resourceType": "Bundle", "type": "searchset"}
    server.bend(
        "patient=p1%2Cp2%2Chttp",
        lambda request: reply(200, json.dumps({**said, "total": 40 + next(lists)}).encode()),
        times=99,
    )
    report = pulled(tmp_path / "study", server)
    assert report.complete, report.problems
    assert observations(tmp_path / "study") == {"o1", "o2", "hidden1"}


def test_what_comes_between_two_counts_hides_nothing(tmp_path: Path, server: FakeFhir) -> None:
    def late(request: httpx.Request) -> httpx.Response:
        answer = server.answer(request)
        server.hold(observation("o3", "p1"))
        return answer

    server.bend("patient=p1%2Cp2%2Chttp", late, times=1)
    pulled(tmp_path / "study", server)
    assert "hidden1" in observations(tmp_path / "study")


class IndexedAnew(FakeFhir):
    """A server that finds by address what names a patient so, and what is new of it by id as well."""

    def finds(self, body: bytes, asked: dict[str, str]) -> bool:
        by_id = body.replace(f"{BASE}/Patient/".encode(), b"Patient/") if b'"new' in body else body
        return matches(body, asked) or matches(by_id, asked)


@pytest.mark.parametrize("more", [{}, {"full": True}])
def test_what_is_found_by_address_and_by_id_is_counted_once(tmp_path: Path, more: dict[str, Any]) -> None:
    held = [patient("p1"), patient("p2"), observation("o1", "p1"), observation("o2", "p2")]
    named = [named_by(BASE, id_, "p1") for id_ in ("new1", "old1", "new2")]
    server = IndexedAnew([*held, *named])
    report = pulled(tmp_path / "study", server, **more)
    assert report.complete, report.problems
    assert {one.type: one.counted for one in report.types}["Observation"] == 5
    server.hold(named_by(BASE, "new3", "p2"))
    server.drop("Observation", "old1")
    report = pulled(tmp_path / "study", server, **more)
    assert report.complete, report.problems
    assert observations(tmp_path / "study") == {"o1", "o2", "new1", "new2", "new3"}
