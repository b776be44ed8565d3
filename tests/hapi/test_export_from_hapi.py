"""Whichever road the trial comes by from HAPI (a search, an export of any level), it is the same trial."""

import base64
import re
from collections import Counter
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from msgspec import Struct

from fhir_msct import Study
from fhir_msct.client.bulk import Bulk
from fhir_msct.client.manifest import Listed, Manifest
from fhir_msct.client.retry import Patience
from fhir_msct.mapping.library import Mapping
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.tasks.pull import PullReport, pull
from hapi.copies import without
from hapi.ground import Ground
from hapi.keeper import Shared
from hapi.roads import EXPORTS, Came, by_export, came, settled, travelled
from hapi.test_the_story import canonical
from lib.virtual_time import VirtualTime
from push.wires import Wire


class Roads(Struct):
    """What came by each road, and what the embedded sandbox gives of the same trial."""

    search: Came
    exports: dict[str, Came]
    sandbox: Came
    pushed_again: dict[str, int]
    """What each export's folder still had to write to the server."""
    results: tuple[str, ...]
    """`Type/id` of all that was pushed."""


@pytest.fixture(scope="session")
def roads(shared: Shared, hapi: str, tmp_path_factory: pytest.TempPathFactory) -> Roads:
    """Travelled once, whichever process looks at it."""
    return shared.once("roads", lambda: travel(tmp_path_factory.mktemp("roads"), hapi))


def travel(home: Path, url: str) -> Roads:
    prefix = f"e{uuid4().hex[:10]}"
    copy, pushed = settled(home / "search", url, prefix)
    assert pushed.read_back_equal
    found = Roads(came(copy, copy.study.pull(), []), {}, _on_the_sandbox(home, prefix), {}, pushed.ids)
    for level in EXPORTS:
        other = by_export(home / level, url, prefix, level)
        found.exports[level] = travelled(other, level)
        found.pushed_again[level] = other.push().written
    return found


def _on_the_sandbox(home: Path, prefix: str) -> Came:
    with Sandbox() as server:
        copy, _ = settled(home / "sandbox", server.url, prefix)
        return came(copy, copy.study.pull(), [])


@pytest.mark.parametrize("level", EXPORTS)
def test_an_export_of_each_level_brings_all_that_is_counted_and_is_no_search(
    roads: Roads, level: str
) -> None:
    road = roads.exports[level]
    assert road.report.complete, road.report.problems
    assert road.report.received == road.report.counted == roads.search.report.counted
    begun = {"system": "/fhir/$export", "Patient": "/fhir/Patient/$export", "Group": "/fhir/Group/"}
    kicked = [path for path in road.asked if "$export?" in path]
    assert len(kicked) == 1 and kicked[0].startswith(begun[level])
    assert len([path for path in road.asked if "/Binary/" in path]) >= 5
    assert [path for path in road.asked if re.search(r"Observation\?(?!.*_summary)", path)] == []
    assert [note for note in road.report.notes if "search" in note] == []


@pytest.mark.parametrize("level", EXPORTS)
def test_the_resources_of_an_export_are_those_of_the_search_byte_for_byte(roads: Roads, level: str) -> None:
    assert roads.exports[level].resources == roads.search.resources


@pytest.mark.parametrize("level", EXPORTS)
def test_the_tables_of_an_export_are_those_of_the_search_byte_for_byte(roads: Roads, level: str) -> None:
    assert roads.exports[level].tables == roads.search.tables
    assert len(roads.search.tables) > 8


@pytest.mark.parametrize("level", EXPORTS)
def test_the_parquet_rows_of_an_export_are_those_of_the_search(roads: Roads, level: str) -> None:
    assert roads.exports[level].parquet == roads.search.parquet
    assert sum(map(len, roads.search.parquet.values())) == 305 + 3  # and the three that were entered


@pytest.mark.parametrize("level", EXPORTS)
def test_what_was_computed_from_an_export_is_on_the_server_already(roads: Roads, level: str) -> None:
    assert roads.pushed_again[level] == 0


def test_the_sandbox_gives_the_same_records_but_for_the_servers_time_and_the_same_outcomes(
    roads: Roads,
) -> None:
    assert set(roads.sandbox.tables) == set(roads.search.tables)
    for name, table in roads.search.tables.items():
        assert without("lastupdated", roads.sandbox.tables[name]) == without("lastupdated", table), name
        if name.startswith("outcomes/"):
            assert roads.sandbox.tables[name] == table, name


def test_the_sandbox_gives_the_same_parquet_rows_but_for_the_servers_time(roads: Roads) -> None:
    for name, rows in roads.search.parquet.items():
        theirs = roads.sandbox.parquet[name]
        assert [row | {"lastupdated": ""} for row in theirs] == [row | {"lastupdated": ""} for row in rows]


def test_every_result_that_was_pushed_and_pulled_again_is_the_same_on_both(roads: Roads) -> None:
    results = [place for place in roads.results if place.startswith("Observation/")]
    assert len(results) > 150
    for place in results:
        assert canonical(roads.search.resources[place]) == canonical(roads.sandbox.resources[place])


def test_values_entered_by_hand_come_back_from_the_server_as_values_that_count(roads: Roads) -> None:
    rows = [row for row in roads.search.parquet["records/measurements.parquet"] if "MMT8" in row["paramcd"]]
    (ours,) = [row for row in rows if row["usubjid"].endswith("p04") and row["adtc"] == "2022-06-01"]
    assert (str(ours["aval"]), ours["source"].rpartition("/")[2]) == ("66", "1")


# --- what is odd about HAPI's exports ------------------------------------------------------------------


def group(ground: Ground) -> str:
    """A Group with the test's patient and three values of hers; its id."""
    member = {"entity": {"reference": f"Patient/{ground.id('p')}"}}
    own = {"resourceType": "Group", "id": ground.id("g"), "meta": {"tag": [ground.tag]}, "member": [member]}
    ground.put(ground.patient(), *map(ground.observation, range(3)), own | {"type": "person", "actual": True})
    return f"Group/{ground.id('g')}"


def done(ground: Ground, url: str) -> Manifest:
    """The manifest, when the job is done."""
    bulk, patience = Bulk(ground.client), Patience()
    while not isinstance(found := bulk.poll(url), Manifest):
        patience.sleep(0.2)
    return found


def exported(ground: Ground, folder: Path, transport: httpx.BaseTransport, patience: Patience) -> PullReport:
    """A pull of the Group by export."""
    (folder / "study.toml").write_text(
        f'[server]\nurl = "{ground.url}"\n[cohort]\ngroup = "{ground.id("g")}"\n[pull]\nhow = "export"\n',
        "utf-8",
    )
    plan = Study(folder).plan
    wanted = Mapping.load(folder, plan).wanted()
    return pull(folder, plan, wanted, transport=transport, patience=patience, say=lambda line: None)


def test_of_a_type_that_is_named_again_only_the_first_is_exported_and_ours_names_all_at_once(
    ground: Ground,
) -> None:
    place = group(ground)
    asked = f"{place}/$export?_type=Patient&_type=Observation"
    begun = ground.get(asked, Prefer="respond-async")
    assert begun.status_code == 202
    theirs = done(ground, begun.headers["Content-Location"])
    assert {file.type for file in theirs.files} == {"Patient"}  # without a word
    ours = done(ground, Bulk(ground.client).kick_off(place, ("Patient", "Observation")).status_url)
    assert Counter(file.type for file in ours.files) == {"Patient": 1, "Observation": 1}


class Unminded(Wire):
    """A gateway that asks for FHIR JSON, whatever was asked for."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "/Binary/" in request.url.path:
            request.headers["Accept"] = "application/fhir+json"
        return super().handle_request(request)


def test_a_file_that_is_asked_for_as_fhir_json_comes_wrapped_and_is_unwrapped(
    ground: Ground, tmp_path: Path
) -> None:
    place = group(ground)
    job = Bulk(ground.client).kick_off(place, ("Observation",))
    (file,) = done(ground, job.status_url).files
    wrapped = ground.http.get(file.url, headers={"Accept": "application/fhir+json"}).json()
    assert wrapped["resourceType"] == "Binary"
    Bulk(ground.client).download(
        Listed(kind="output", type="", url=file.url), tmp_path / "f", requires_token=False
    )
    assert (tmp_path / "f").read_bytes() == base64.b64decode(wrapped["data"])
    with Unminded() as wire:
        report = exported(ground, tmp_path, wire, Patience())
    assert report.complete, report.problems
    assert [note for note in report.notes if "Observation was searched" in note] == []
    assert [one.received for one in report.types if one.type == "Observation"] == [3]


class Stuck(Wire):
    """An export that is where it was when HAPI was first asked, however often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.first: list[tuple[str, str]] | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "$export-poll-status" not in request.url.path or request.method != "GET":
            return super().handle_request(request)
        if self.first is None:
            response = super().handle_request(request)
            response.read()
            assert response.status_code == 202, "HAPI was too fast to be asked"
            kept = ("date", "x-progress", "retry-after")
            self.first = [one for one in response.headers.items() if one[0].lower() in kept]
        return httpx.Response(202, headers=self.first, stream=httpx.ByteStream(b""))


def test_an_export_that_never_ends_is_left_after_a_while_and_everything_searched_for(
    ground: Ground, tmp_path: Path
) -> None:
    group(ground)
    time = VirtualTime()
    with Stuck() as wire:
        report = exported(ground, tmp_path, wire, time.patience())
    assert report.complete, report.problems
    assert any("no progress for 360 minutes" in note for note in report.notes), report.notes
    assert [one.received for one in report.types if one.type == "Observation"] == [3]
    assert 360 * 60 <= time.now - 1000 <= 370 * 60
    assert [one for one in wire.sent if one.method == "DELETE"]  # the server is told that nobody waits
