"""One trial, three roads: search, export, exported files. The numbers of the study are the same bytes."""

from pathlib import Path

import pytest

from fhir_msct import Study, data
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.tasks.demo import filled, resources

STAGES = ("records", "outcomes")


def tables(folder: Path) -> dict[str, bytes]:
    found = [path for stage in STAGES for path in (folder / stage).glob("*.csv")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("how", ["search", "export"])
def test_each_road_gives_the_golden_files(tmp_path: Path, how: str) -> None:
    with Sandbox(page_size=20) as server:
        server.load(resources(data.fixtures() / "resources"))
        text = filled((data.fixtures() / "study.toml").read_text("utf-8"), server.url)
        text = text.replace("[server]", '[server]\nkind = "research"', 1) + f'\n[pull]\nhow = "{how}"\n'
        (tmp_path / "study.toml").write_text(text, "utf-8")
        study = Study(tmp_path)
        report = study.pull()
        assert report.complete, report.problems
        assert [one for one in server.seen if "$export?" in one.target] or how == "search"
        again = study.pull()
        assert again.complete and again.since is not None, again.problems
        assert again.held == report.held
        study.records()
        study.outcomes()
    golden = tables(data.fixtures())
    assert golden and tables(tmp_path) == golden
