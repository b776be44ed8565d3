"""`pull --from` with some of the files only: what a page or a manifest says is beside it is missed."""

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_msct import plan as plans
from fhir_msct.tasks.pull import PullReport, pull
from lib.fake_fhir import observation, patient

WANTED = plans.Wanted(types=("Patient", "Observation", "Procedure"), cohort=plans.Cohort())
NEXT = "1.json is a page of a search, and the page after it is not there"
BASE = "https://fhir.example.org/r4"


def page(
    ids: list[str], *, this: str = "", following: str = "", total: int | None = 3, kind: str = "searchset"
) -> dict[str, Any]:
    """A page of a search."""
    links = [{"relation": "self", "url": this}, {"relation": "next", "url": following}]
    entries = [{"resource": observation(id_, "p1"), "search": {"mode": "match"}} for id_ in ids]
    tree = {
        "resourceType": "Bundle",
        "type": kind,
        "link": [one for one in links if one["url"]],
        "entry": entries,
    }
    return tree if total is None else tree | {"total": total}


def listed(type_: str, count: int | None = None, name: str = "") -> dict[str, Any]:
    """What a manifest says of one file."""
    found = {"type": type_, "url": f"{BASE}/files/{name or type_}"}
    return found if count is None else found | {"count": count}


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

    def page(self, name: str, ids: list[str], **more: Any) -> None:
        (self.export / name).write_text(json.dumps(page(ids, **more)))

    def manifest(self, *output: dict[str, Any], name: str = "manifest.json", **more: Any) -> None:
        tree = {"transactionTime": "2024-06-30T00:00:00Z", "output": output, "error": []} | more
        (self.export / name).write_text(json.dumps(tree))

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
    "second",
    [
        SECOND,
        "http://10.0.0.3:8080/r4?search=abc&page=2",
        f"{BASE}/?page=2&search=abc",
        f"{SECOND}&_format=json&_pretty=true",
    ],
    ids=["as written", "by another host", "with a slash", "as it was asked for"],
)
def test_pages_that_name_each_other_are_everything(files: Files, second: str) -> None:
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND, total=None)
    files.page("2.json", ["o3"], this=second, total=None)
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
    assert files.pull().problems == (NEXT, "3.json is of a search that finds 5, and 1 of them are there")


def test_another_search_of_the_same_total_stands_for_none(files: Files) -> None:
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND)
    files.page("whole.json", ["x1", "x2", "x3"], this=f"{BASE}/Observation?patient=p2&_count=3")
    assert files.pull().problems == (NEXT,)
    files.page("3.json", ["y1"], this=f"{BASE}?page=2&search=other")
    assert files.pull().complete, "three and one more of a search that is written in another way"


def test_the_same_page_twice_stands_for_none(files: Files) -> None:
    for name in ("1.json", "copy of 1.json"):
        files.page(name, ["o1", "o2"], this=FIRST, following=SECOND, total=4)
    files.page("other.json", [], this=f"{BASE}/Observation?patient=p2", total=4)
    assert files.pull().problems == (NEXT,)


def test_pages_in_a_bundle_in_lines_and_of_a_history_are_missed_too(files: Files) -> None:
    entry = {"resource": page(["o1"], this=f"{FIRST}&1", following=SECOND), "response": {"status": "200"}}
    files.lines("lines.ndjson", page(["o2"], this=f"{FIRST}&2", following=SECOND))
    (files.export / "batch.json").write_text(
        json.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": [entry]})
    )
    files.page("history.json", ["o3"], this=f"{FIRST}&3", following=SECOND, kind="history")
    assert [problem.partition(" is a page")[0] for problem in files.pull().problems] == [
        "batch.json",
        "history.json",
        "lines.ndjson",
    ]


def test_a_first_page_that_is_missing_is_missed_as_well(files: Files) -> None:
    files.page("3.json", ["o5"], this=f"{BASE}?page=3", total=5)
    assert files.pull().problems == ("3.json is of a search that finds 5, and 1 of them are there",)
    files.page("2.json", ["o3", "o4"], this=SECOND, following=f"{BASE}?page=3", total=None)
    assert not files.pull().complete
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND, total=None)
    assert files.pull().complete, "a total may be told with the last page only"


def test_a_page_that_names_the_one_before_it_wants_it(files: Files) -> None:
    last = page(["o3"], this=SECOND, total=None)
    last["link"].append({"relation": "previous", "url": FIRST})
    (files.export / "2.json").write_text(json.dumps(last))
    assert files.pull().problems == (NEXT.replace("1.json", "2.json").replace("after", "before"),)
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND, total=None)
    assert files.pull().complete


def test_a_search_that_was_saved_twice_is_one(files: Files) -> None:
    for name in ("a", "b"):
        files.page(f"{name}1.json", ["o1", "o2"], this=FIRST, following=SECOND)
        files.page(f"{name}2.json", ["o3"], this=f"{BASE}?another=spelling")
    assert files.pull().complete


def test_deletions_alone_are_an_export_too(files: Files) -> None:
    (files.export / "patients.ndjson").unlink()
    entry = {"request": {"method": "DELETE", "url": "Observation/o1"}}
    files.lines("deleted.ndjson", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert files.pull().complete


def test_of_many_missing_pages_the_first_are_named(files: Files) -> None:
    for number in range(30):
        files.page(
            f"{number:02}.json", [f"o{number}"], this=f"{FIRST}&{number}", following=f"{SECOND}&{number}"
        )
    problems = files.pull().problems
    assert (len(problems), problems[-1]) == (21, "and 10 more like these")


def test_after_the_missing_page_was_put_there_it_is_complete(files: Files) -> None:
    files.page("1.json", ["o1", "o2"], this=FIRST, following=SECOND)
    assert not files.pull().complete
    files.page("2.json", ["o3"], this=SECOND)
    report = files.pull()
    assert (report.complete, report.held) == (True, 4)


# --- manifests ------------------------------------------------------------------------------------------


def observed(files: Files, name: str, *ids: str) -> None:
    files.lines(name, *(observation(id_, "p1") for id_ in ids))


def test_files_of_a_manifest_that_are_not_there_or_too_short_are_missed(files: Files) -> None:
    files.manifest(listed("Patient", 1), listed("Observation", 3), listed("Procedure"))
    observed(files, "observations.ndjson", "o1", "o2")
    report = files.pull()
    assert not report.complete
    assert report.problems == (
        "manifest.json counts 3 Observation, and 2 are there",
        "manifest.json lists a file of Procedure, and there is none",
    )


def test_a_manifest_with_all_of_its_files_beside_it_is_only_a_note(files: Files) -> None:
    files.manifest(listed("Patient", 1), listed("Observation", 2))
    observed(files, "observations.ndjson", "o1", "o2")
    report = files.pull()
    assert (report.complete, report.notes) == (True, ("1 not FHIR data (no-type)",))


LACKING: dict[str, tuple[list[dict[str, Any]], list[str], str]] = {
    "a file that is not counted": (
        [listed("Observation", name="o.0.ndjson"), listed("Observation", name="o.1.ndjson")],
        ["o.0.ndjson"],
        "manifest.json lists a file of Observation, and there is none of its name",
    ),
    "lines of one that is counted, beside one that is not": (
        [listed("Observation", 5, "o.0.ndjson"), listed("Observation", name="o.1.ndjson")],
        ["o.0.ndjson", "o.1.ndjson"],
        "manifest.json counts 5 Observation, and 4 are there",
    ),
    "a file for which another is there twice": (
        [listed("Observation", 2, "o.0.ndjson"), listed("Observation", 2, "o.1.ndjson")],
        ["o.0.ndjson", "o.0 (1).ndjson"],
        "manifest.json lists a file of Observation, and there is none of its name",
    ),
    "a file of deletions": (
        [listed("Observation", 2, "o.0.ndjson"), listed("Bundle", 1, "gone.ndjson")],
        ["o.0.ndjson"],
        "manifest.json lists a file of Bundle, and there is none of its name",
    ),
}


@pytest.mark.parametrize(("output", "names", "problem"), LACKING.values(), ids=LACKING)
def test_what_one_file_lacks_another_does_not_make_up_for(
    files: Files, output: list[dict[str, Any]], names: list[str], problem: str
) -> None:
    files.manifest(*output)
    for name in names:
        observed(files, name, "o1", "o2")
    assert files.pull().problems == (problem,)


def test_two_manifests_want_the_files_of_both_and_one_that_is_there_twice_those_of_one(files: Files) -> None:
    observed(files, "first.ndjson", "o1", "o2")
    for name in ("manifest.json", "manifest (1).json"):
        files.manifest(listed("Observation", 2, "a"), name=name)
    assert files.pull().complete
    files.manifest(listed("Observation", 2, "b"), name="other.json")
    assert not files.pull().complete


def test_a_manifest_that_was_fetched_twice_has_other_signatures_and_the_same_files(files: Files) -> None:
    observed(files, "first observations.ndjson", "o1", "o2")
    for number in range(2):
        one = listed("Observation", 2, "first%20observations.ndjson")
        files.manifest(one | {"url": f"{one['url']}?sig={number}"}, name=f"manifest-{number}.json")
    assert files.pull().complete


def test_two_files_of_one_name_are_two(files: Files) -> None:
    files.manifest(*(listed("Observation", name=f"{part}/Observation.ndjson") for part in (1, 2)))
    observed(files, "Observation.ndjson", "o1")
    assert files.pull().problems == (
        "manifest.json lists a file of Observation, and there is none of its name",
    )


def test_a_part_of_a_manifest_that_is_not_there_is_missed(files: Files) -> None:
    more = {"link": [{"relation": "next", "url": f"{BASE}/manifest?page=2"}]}
    files.manifest(listed("Observation", 2, "a"), **more)
    observed(files, "a.ndjson", "o1", "o2")
    assert files.pull().problems == (
        "manifest.json names a further part of its manifest, and it is not there",
    )
    files.manifest(listed("Patient", 1, "p"), name="manifest-2.json")
    assert files.pull().complete


def test_types_that_nobody_wants_and_files_without_a_line_need_not_be_there(files: Files) -> None:
    files.manifest(
        listed("Observation", name="o.ndjson"),
        listed("Procedure", name="p.ndjson"),
        listed("Encounter", 9, "e.ndjson"),
        error=[{"type": "OperationOutcome", "url": f"{BASE}/errors"}],
    )
    observed(files, "o.ndjson.gz".removesuffix(".gz"), "o1")
    files.lines("p.ndjson")
    report = files.pull()
    assert (report.complete, report.problems) == (True, ())
    assert "manifest.json: the export reports errors: the server may have left something out" in report.notes


@pytest.mark.parametrize(
    "odd",
    [
        b'{"transactionTime": "x", "output": [{"type": 3, "count": "many"}, 4, null], "n": 1e999}',
        b'{"transactionTime": "x", "output": [{"type": "Obs\\n\\u001b[2JJane Doe", "url": "a", "count": 5}]}',
        b'{"transactionTime": "x", "output": [{"type": "X\\ud800", "url": "http://[x", "count": 5}]}',
        b'{"output": {"type": "Observation"}, "transactionTime": 1}',
        b'{"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": ""}]}',
    ],
    ids=["odd files", "no type", "a lone surrogate", "no list", "no address"],
)
def test_odd_manifests_and_pages_are_neither_a_traceback_nor_repeated(files: Files, odd: bytes) -> None:
    (files.export / "odd.json").write_bytes(odd)
    report = files.pull()
    assert report.held == 1
    assert not any("Jane" in line for line in (*report.problems, *report.notes))
