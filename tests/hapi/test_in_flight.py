"""HAPI stamps a resource when its transaction begins, and shows it when the transaction ends.

A pull that looks in between cannot see it, whatever it counts: the next one brings it, once.
"""

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_msct import Study
from fhir_msct.archive.store import Archive
from fhir_msct.dates import instant
from fhir_msct.plan import Wanted
from fhir_msct.tasks.pull import PullReport, pull
from hapi.ground import FHIR, Ground, Tree, put, text
from push.wires import Wire

LENGTHS = (8, 24, 72)
"""Components of each Observation: more of them keep the server busy for longer."""

SETTLED, LATE = 10, 100


class Flight(threading.Thread):
    """A transaction of a hundred, on its way."""

    def __init__(self, ground: Ground, rows: list[Tree]) -> None:
        super().__init__()
        self.url, self.rows = ground.url, rows
        self.sent = threading.Event()
        self.status, self.ended = 0, datetime.max.replace(tzinfo=UTC)

    def run(self) -> None:
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [put(row) for row in self.rows]}
        body = text(bundle)

        def parts() -> Iterator[bytes]:
            yield body
            self.sent.set()

        headers = FHIR | {"Content-Length": str(len(body))}
        with closing(httpx.Client(trust_env=False, timeout=120)) as http:
            self.status = http.post(self.url, content=parts(), headers=headers).status_code
        self.ended = datetime.now(UTC)


def late(ground: Ground, length: int) -> list[Tree]:
    """A hundred Observations that take a server some time."""
    component = [
        {
            "code": {"coding": [{"system": "urn:fhir-msct:hapi-tests", "code": f"c{number}"}]},
            "valueQuantity": {"value": number, "system": "http://unitsofmeasure.org", "code": "mm"},
        }
        for number in range(length)
    ]
    return [ground.observation(f"late-{length}-{number:03}", component=component) for number in range(LATE)]


def study(ground: Ground, folder: Path, how: str) -> Study:
    """A study of the test's one patient."""
    folder.mkdir()
    member = {"entity": {"reference": f"Patient/{ground.id('p')}"}}
    own: Tree = {"resourceType": "Group", "id": ground.id("g"), "meta": {"tag": [ground.tag]}}
    rows = [ground.observation(number) for number in range(SETTLED)]
    ground.put(ground.patient(), *rows, own | {"type": "person", "actual": True, "member": [member]})
    (folder / "study.toml").write_text(
        f'[server]\nurl = "{ground.url}"\n[cohort]\ngroup = "{ground.id("g")}"\n[pull]\nhow = "{how}"\n',
        "utf-8",
    )
    return Study(folder)


def pulled(one: Study, transport: httpx.BaseTransport | None = None) -> PullReport:
    wanted = Wanted(types=("Patient", "Observation"), cohort=one.plan.cohort, page_size=100)
    report = pull(one.folder, one.plan, wanted, transport=transport, say=lambda line: None)
    assert report.complete, report.problems
    return report


def archived(folder: Path) -> dict[str, Any]:
    """The time of each Observation in an archive, each of which is there in one version only."""
    with Archive.open(folder) as archive:
        rows = archive.connection.execute("select count(*) from resource where type = 'Observation'")
        found = {one.id: instant(one.lastupdated or "") for one in archive.current("Observation")}
        assert rows.fetchone() == (len(found),)
        return found


def test_what_is_in_flight_during_a_pull_is_brought_by_the_next_one_and_nothing_twice(
    ground: Ground, tmp_path: Path
) -> None:
    for length in LENGTHS:
        one = study(ground, tmp_path / str(length), "search")
        flight = Flight(ground, late(ground, length))
        flight.start()
        flight.sent.wait(60)
        pulled(one)
        over = datetime.now(UTC)
        first = archived(one.folder)
        flight.join()
        assert flight.status == 200
        pulled(one)
        second = archived(one.folder)
        ids = {row["id"] for row in flight.rows}
        assert ids <= set(second)
        assert {id_ for id_ in second if "late" not in (id_ or "")} <= set(first)
        pulled(one)
        assert archived(one.folder) == second
        if not ids & set(first) and all(second[id_] < over for id_ in ids):
            return  # it was stamped while the first pull ran, and yet the pull could not see it
    pytest.fail("no transaction took longer than a pull")


class TakesOff(Wire):
    """Just before an export is begun, something takes off."""

    def __init__(self, flight: Flight) -> None:
        super().__init__()
        self._flight = flight
        self.manifest = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "$export?" in str(request.url):
            self._flight.start()
            self._flight.sent.wait(60)
        request.headers["Accept-Encoding"] = "identity"
        response = super().handle_request(request)
        if "$export-poll-status" not in request.url.path or response.status_code != 200:
            return response
        body = response.read()
        response.close()
        self.manifest = httpx.Response(200, content=body).json()["transactionTime"]
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))


def test_what_is_in_flight_during_an_export_is_brought_by_the_same_pull_or_the_next_and_nothing_twice(
    ground: Ground, tmp_path: Path
) -> None:
    for length in LENGTHS:
        one = study(ground, tmp_path / str(length), "export")
        flight = Flight(ground, late(ground, length))
        with TakesOff(flight) as wire:
            pulled(one, wire)
        flight.join()
        assert flight.status == 200
        pulled(one)
        found = archived(one.folder)
        ids = {row["id"] for row in flight.rows}
        assert ids <= set(found)
        pulled(one)
        assert archived(one.folder) == found
        told = instant(wire.manifest)
        assert told is not None
        if all(found[id_] < told for id_ in ids) and told < flight.ended:
            return  # older than transactionTime, and not yet to be seen when that was said
    pytest.fail("no transaction took longer than the beginning of an export")
