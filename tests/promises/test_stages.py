"""The kept stages of the synthetic trial are what the pipeline makes of it, by whichever road."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from fhir_msct import Study, data
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.tasks.demo import filled, resources

FIXTURES = data.fixtures()
STAGES = ("records", "outcomes")


def tables(folder: Path) -> dict[str, bytes]:
    """Every CSV file of the stages, by its path in the folder."""
    found = [path for stage in STAGES for path in (folder / stage).glob("*.csv")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def from_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    shutil.copy(FIXTURES / "study.toml", folder)
    study = Study(folder)
    assert study.pull(FIXTURES / "resources").complete
    study.records()
    study.outcomes()
    return folder


@pytest.fixture(scope="module")
def from_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    with Sandbox(page_size=20) as server:
        server.load(resources(FIXTURES / "resources"))
        text = (FIXTURES / "study.toml").read_text("utf-8")
        (folder / "study.toml").write_text(filled(text, server.url), "utf-8")
        study = Study(folder)
        assert study.pull().complete
        study.records()
        study.outcomes()
    return folder


def test_the_golden_files_are_what_the_pipeline_makes_of_the_exported_files(from_files: Path) -> None:
    assert tables(from_files) == tables(FIXTURES)


def test_a_server_and_its_exported_files_give_the_same_bytes(from_files: Path, from_server: Path) -> None:
    assert tables(from_server) == tables(from_files)


def test_running_the_stages_again_changes_no_byte(from_files: Path) -> None:
    before = tables(from_files)
    study = Study(from_files)
    study.records()
    study.outcomes()
    assert tables(from_files) == before


@pytest.mark.parametrize("road", ["from_files", "from_server"])
def test_every_resource_is_accounted_for(road: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(road)
    account = json.loads((folder / "records" / "accounting.json").read_text("utf-8"))
    for kind, counts in account["types"].items():
        heaps = [counts[name] for name in ("mapped", "set_aside", "out_of_scope")]
        assert counts["seen"] == sum(heaps), kind
    aside = io.StringIO((folder / "records" / "set_aside.csv").read_text("utf-8"))
    by_reason = sum(sum(reasons.values()) for reasons in account["set_aside"].values())
    assert (
        len([*csv.DictReader(aside)]) == by_reason == sum(c["set_aside"] for c in account["types"].values())
    )
    listed = sum(row["count"] for row in account["out_of_scope"])
    assert listed == sum(counts["out_of_scope"] for counts in account["types"].values())


def test_parquet_holds_the_same_rows_as_csv(from_files: Path) -> None:
    import pyarrow.parquet as pq

    for path in sorted((from_files / "records").glob("*.parquet")):
        with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
            expected = [*csv.DictReader(file)]
        rows = pq.read_table(path).to_pylist()
        assert len(rows) == len(expected) > 0, path.name
        for row, wanted in zip(rows, expected, strict=True):
            assert {k: "" if v is None else str(v) for k, v in row.items()} == wanted


def test_data_frames_keep_the_digits(from_files: Path) -> None:
    from decimal import Decimal

    table = Study(from_files).records().measurements
    one = table[table["source"] == "Observation/ck-p01-base/_history/1"].iloc[0]
    assert (one["aval"], one["orres"]) == (Decimal("1681.50"), "1681.50")
    assert str(one["aval"]) == "1681.50"
