"""`pull --from` with some of the files only: what a page or a manifest says is beside it is missed."""

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_msct import plan as plans
from fhir_msct.tasks.pull import PullReport, pull
from lib.fake_fhir import observation, patient

WANTED = plans.Wanted(types=("Patient", "Observation"), cohort=plans.Cohort())
NEXT = "1.json is a page of a search, and the page after it is not there"
BASE = "https://fhir.example.org/r4"


class Files:
    """A folder of exported files, and a study beside it."""

    def __init__(self, home: Path) -> None:
        self.folder, self.export = home / "study", home / "export"
        for one in (self.folder, self.export):
            one.mkdir()
        (self.folder / "study.toml").write_text("")
        self.lines("patients.ndjson", patient("p1"))

    def lines(self, name: str, *resources: dict[str, Any]) -> None:
        (self.export / name).write_text("".join(json.dumps(one) + "\n" for one in resources))

    def page(self, name: str, ids: list[str], *, this: str = "", following: str = "", total: int = 3) -> None:
        links = [{"relation": "self", "url": this}, {"relation": "next", "url": following}]
        entries = [{"resource": observation(id_, "p1"), "search": {"mode": "match"}} for id_ in ids]
        tree = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": total,
            "link": [link for link in links if link["url"]],
            "entry": entries,
        }
        (self.export / name).write_text(json.dumps(tree))

    def manifest(self, **output: int | None) -> None:
        listed = [
            {"type": type_, "url": f"{BASE}/files/{type_}"} | ({} if count is None else {"count": count})
            for type_, count in output.items()
        ]
        tree = {"transactionTime": "2024-06-30T00:00:00Z", "output": listed, "error": []}
        (self.export / "manifest.json").write_text(json.dumps(tree))

    def pull(self) -> PullReport:
        return pull(self.folder, plans.load(self.folder), WANTED, source=self.export, say=lambda line: None)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


FIRST, SECOND = f"{BASE}/Observation?patient=p1&_count=2", f"{BASE}?page=2&search=abc"


def test_a_page_whose_next_one_is_not_there_is_not_everything(files: Files) -> None:
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND)
    report = files.pull()
    assert not report.complete
    assert report.problems == (NEXT,)
    assert report.held == 3, "what is there is kept"


@pytest.mark.parametrize(
    "second", [SECOND, "http://10.0.0.3:8080/r4?search=abc&page=2"], ids=["as written", "by another host"]
)
def test_pages_that_name_each_other_are_everything(files: Files, second: str) -> None:
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND)
    files.page("2.json", ["o3"], this=second)
    report = files.pull()
    assert (report.complete, report.problems, report.held) == (True, (), 4)


def test_pages_under_other_names_are_everything_when_they_hold_the_total_and_the_last_is_there(
    files: Files,
) -> None:
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND)
    files.page("2.json", ["o3"], this=f"{BASE}/Observation?_getpages=7")
    assert files.pull().complete


def test_a_last_page_alone_does_not_stand_for_one_in_the_middle(files: Files) -> None:
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND, total=5)
    files.page("3.json", ["o5"], this=f"{BASE}?page=3", total=5)
    assert files.pull().problems == (NEXT,)


def test_after_the_missing_page_was_put_there_it_is_complete(files: Files) -> None:
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND)
    assert not files.pull().complete
    files.page("2.json", ["o3"], this=SECOND)
    report = files.pull()
    assert (report.complete, report.held) == (True, 4)


def test_files_of_a_manifest_that_are_not_there_or_too_short_are_missed(files: Files) -> None:
    files.manifest(Patient=1, Observation=3, Procedure=None)
    files.lines("observations.ndjson", observation("o1", "p1"), observation("o2", "p1"))
    report = files.pull()
    assert not report.complete
    assert report.problems == (
        "manifest.json counts 3 Observation, and 2 are there",
        "manifest.json lists a file of Procedure, and there is none",
    )


def test_a_manifest_with_all_of_its_files_beside_it_is_only_a_note(files: Files) -> None:
    files.manifest(Patient=1, Observation=2)
    files.lines("observations.ndjson", observation("o1", "p1"), observation("o2", "p1"))
    report = files.pull()
    assert (report.complete, report.notes) == (True, ("1 not FHIR data (no-type)",))


@pytest.mark.parametrize(
    "odd",
    [
        b'{"transactionTime": "x", "output": [{"type": 3, "count": "many"}, 4, null], "n": 1e999}',
        b'{"output": {"type": "Observation"}, "transactionTime": 1}',
        b'{"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": "http://[x"}]}',
    ],
    ids=["odd files", "no list", "no address"],
)
def test_odd_manifests_and_pages_are_never_a_traceback(files: Files, odd: bytes) -> None:
    (files.export / "odd.json").write_bytes(odd)
    assert files.pull().held == 1
