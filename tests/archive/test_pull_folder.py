"""`pull --from`: every line and entry of an export is kept, or named with its place and reason."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct import plan as plans
from fhir_msct.archive.store import Account, Archive
from fhir_msct.errors import UsageError
from fhir_msct.tasks.pull import PullReport, pull
from lib.fake_fhir import bundle, observation, patient

seeded = settings(derandomize=True, deadline=None, max_examples=40)

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
WANTED = plans.Wanted(types=("Patient", "Observation"), cohort=plans.Cohort())


def text(*resources: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in resources)


class Study:
    """A study folder, and an export beside it."""

    def __init__(self, home: Path) -> None:
        self.folder, self.export = home / "study", home / "export"
        self.folder.mkdir()
        self.export.mkdir()
        (self.folder / "study.toml").write_text("")

    def write(self, name: str, body: bytes) -> None:
        path = self.export / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def pull(self, source: Path | None = None, say: Callable[[str], None] = lambda line: None) -> PullReport:
        plan = plans.load(self.folder)
        return pull(self.folder, plan, WANTED, source=source or self.export, say=say)

    def found(self) -> list[tuple[str, str | None, bytes, bool]]:
        with Archive.open(self.folder) as archive:
            return [(t, one.id, one.body, one.same_id) for t in archive.types() for one in archive.current(t)]

    def accounts(self) -> dict[str, Account]:
        with Archive.open(self.folder) as archive:
            return archive.accounts()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_lines_entries_and_single_files_are_kept_byte_for_byte(study: Study) -> None:
    odd = b'{ "resourceType" : "Observation",\n"id":"odd", "v": 1.10 }'
    study.write("a.ndjson", text(patient("p1"), observation("o1", "p1")))
    study.write("b/c.ndjson.gz", gzip.compress(text(patient("p2")), mtime=0))
    study.write("d.json", bundle([odd], kind="collection"))
    study.write("e.json", json.dumps(patient("p3")).encode())
    report = study.pull()
    assert report.complete and report.problems == () and report.notes == ()
    assert [(one.type, one.received, one.counted, one.stored_new) for one in report.types] == [
        ("Observation", 2, None, 2),
        ("Patient", 3, None, 3),
    ]
    assert (report.requests, report.base_url, report.server_date, report.patients) == (0, None, None, 3)
    assert {body for _, _, body, _ in study.found()} == {
        odd,
        *(text(one)[:-1] for one in (patient("p1"), patient("p2"), patient("p3"), observation("o1", "p1"))),
    }


def test_a_second_reading_changes_nothing_and_counts_nothing_twice(study: Study) -> None:
    twice = text(observation("o1", "p1")) * 2
    study.write("a.ndjson", text(patient("p1")) + twice + b"not json\n")
    study.write("b.json", bundle([json.dumps(patient("p1")).encode()]))
    first = study.pull()
    found, accounts = study.found(), study.accounts()
    assert accounts["Observation"] == Account(seen=1, duplicate=1, lines_read=2)
    assert accounts["Patient"] == Account(seen=1, duplicate=1, lines_read=2)
    assert accounts[""] == Account(not_fhir=1, lines_read=1)
    second = study.pull()
    assert (study.found(), study.accounts()) == (found, accounts)
    assert [one.stored_new for one in second.types] == [0, 0]
    assert first.problems == second.problems


def test_damage_is_named_with_place_and_hash_and_the_rest_is_kept(study: Study) -> None:
    good = text(patient("p1"))
    bad = b'{"resourceType":"Pat\n{"resourceType":"Patient","id":"\xff"}\n'
    study.write("a.ndjson", good + bad + good)
    report = study.pull()
    assert not report.complete
    places = [problem.partition(" (sha256 ") for problem in report.problems]
    assert [place for place, _, _ in places] == [
        f"a.ndjson:{len(good)}: not-json",
        f"a.ndjson:{len(good) + 21}: not-utf8",
    ]
    assert all(len(digest) == 17 for _, _, digest in places)
    assert len(study.found()) == 1
    with Archive.open(study.folder) as archive:
        last = archive.last_pull()
    assert last is not None and not last.complete


def test_much_damage_is_counted_where_it_is_too_much_to_name(study: Study) -> None:
    study.write("a.ndjson", text(patient("p1")) + b"x\n" * 50)
    report = study.pull()
    assert len(report.problems) == 21
    assert report.problems[-1] == "and 30 more like these: the archive lists all of them"
    assert study.accounts()[""] == Account(not_fhir=50, lines_read=50)


def test_what_was_never_fhir_is_noted_and_no_damage(study: Study) -> None:
    study.write("a.ndjson", text(patient("p1")))
    study.write("log.ndjson", b'{"eventId":"kickoff"}\n' * 3)
    study.write("manifest.json", b'{"transactionTime":"2024"}')
    study.write("readme.md", b"hello")
    study.write("errors.ndjson", b'{"resourceType":"OperationOutcome"}\n')
    report = study.pull()
    assert report.complete
    assert sorted(report.notes) == [
        *("1 not FHIR data (file-type)", "1 not FHIR data (message)"),
        "4 not FHIR data (no-type)",
    ]
    assert study.accounts()["OperationOutcome"] == Account(not_fhir=1, lines_read=1)
    assert sum(one.lines_read for one in study.accounts().values()) == 1 + 3 + 1 + 1 + 1


def test_gzip_that_is_cut_keeps_what_came_and_says_that_it_is_cut(study: Study) -> None:
    packed = gzip.compress(text(*(observation(f"o{n}", "p1", "x" * (n % 7)) for n in range(300))), mtime=0)
    study.write("a.ndjson.gz", packed[:-8])
    report = study.pull()
    assert [problem.split(" (")[0].split(": ")[1] for problem in report.problems] == ["gzip-cut"]
    assert report.received == 300


@pytest.mark.parametrize("number", range(4))
def test_killed_at_any_file_it_ends_with_the_same_archive(tmp_path: Path, number: int) -> None:
    def say(line: str) -> None:
        said.append(line)
        if len(said) > number:
            raise KeyboardInterrupt

    studies = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        study = Study(tmp_path / name)
        study.write("a.ndjson", text(patient("p1"), observation("o1", "p1")) + b"cut\n")
        study.write("b.json", bundle([text(patient("p1")), text(patient("p2"))]))
        study.write("c.ndjson.gz", gzip.compress(text(observation("o1", "p1")), mtime=0)[:-2])
        study.write("d.ndjson", b'{"eventId":"kickoff"}\n')
        studies.append(study)
    whole, killed = studies
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        killed.pull(say=say)
    assert (killed.pull().problems, killed.pull().types) == (whole.pull().problems, whole.pull().types)
    assert (killed.found(), killed.accounts()) == (whole.found(), whole.accounts())


def test_the_newest_version_in_any_file_is_current(study: Study) -> None:
    old, new = observation("o1", "p1", "old", version=1), observation("o1", "p1", "new", version=2)
    study.write("a.ndjson", text(new))
    study.write("b.ndjson", text(old))
    study.pull()
    assert study.found() == [("Observation", "o1", text(new)[:-1], False)]
    assert study.accounts()["Observation"] == Account(seen=1, superseded=1, lines_read=2)


def test_a_deletion_in_the_export_is_kept_as_one(study: Study) -> None:
    deletion = {"request": {"method": "DELETE", "url": "Observation/o1"}}
    study.write("a.ndjson", text(observation("o1", "p1"), observation("o2", "p1")))
    deletions = {"resourceType": "Bundle", "type": "transaction", "entry": [deletion]}
    study.write("deleted.ndjson", text(deletions))
    assert study.pull().complete
    assert [id_ for _, id_, _, _ in study.found()] == ["o2"]
    assert study.accounts()["Observation"] == Account(seen=1, superseded=1, deleted=1, lines_read=3)


def test_one_id_with_two_bodies_in_two_files_is_both(study: Study) -> None:
    study.write("a.ndjson", text(patient("p1", x=1)))
    study.write("b.ndjson", text(patient("p1", x=2)))
    assert study.pull().complete
    assert [(id_, same) for _, id_, _, same in study.found()] == [("p1", True), ("p1", True)]


def test_a_file_that_was_corrected_replaces_what_it_said(study: Study) -> None:
    study.write("a.ndjson", text(patient("p1", x=1), patient("p2")))
    study.pull()
    study.write("a.ndjson", text(patient("p1", x=2), patient("p2")))
    assert study.pull().complete
    assert [(body, same) for _, _, body, same in study.found()] == [
        (text(patient("p1", x=2))[:-1], False),
        (text(patient("p2"))[:-1], False),
    ]


def test_damage_that_was_repaired_is_forgotten(study: Study) -> None:
    study.write("a.ndjson", b"x\n" + text(patient("p1")))
    assert not study.pull().complete
    study.write("a.ndjson", text(patient("p1")))
    assert study.pull().complete
    assert study.accounts() == {"Patient": Account(seen=1, duplicate=1, lines_read=2)}


def test_nothing_is_forgotten_when_the_export_goes_away(study: Study) -> None:
    study.write("a.ndjson", text(patient("p1")))
    study.pull()
    shutil.rmtree(study.export)
    assert study.found() == [("Patient", "p1", text(patient("p1"))[:-1], False)]
    with pytest.raises(UsageError, match="does not exist"):
        study.pull()


def test_an_empty_export_is_not_a_complete_one(study: Study) -> None:
    study.write("readme.md", b"hello")
    report = study.pull()
    assert report.problems == (f"{study.export} holds no FHIR resource in 1 files",)


def test_a_folder_that_is_not_there_leaves_no_archive(study: Study) -> None:
    with pytest.raises(UsageError):
        study.pull(study.export / "absent")
    assert [path.name for path in study.folder.iterdir()] == ["study.toml"]


KINDS = st.sampled_from(["good", "same", "bad", "log", "old"])


@seeded
@given(st.lists(st.tuples(KINDS, st.integers(0, 3)), max_size=20))
def test_lines_read_is_the_sum_of_what_became_of_them(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, int]]
) -> None:
    study = Study(tmp_path_factory.mktemp("home"))
    made = {
        "good": lambda n: text(observation(f"o{n}", "p1", version=2)),
        "old": lambda n: text(observation(f"o{n}", "p1", version=1)),
        "same": lambda n: text(patient("p1")),
        "bad": lambda n: b"{\n",
        "log": lambda n: b'{"eventId":"x"}\n',
    }
    for n, (kind, number) in enumerate(lines):
        path = study.export / f"{n % 3}.ndjson"
        path.write_bytes((path.read_bytes() if path.exists() else b"") + made[kind](number))
    study.pull()
    accounts = study.accounts()
    assert sum(one.lines_read for one in accounts.values()) == len(lines)
    kinds = [kind for kind, _ in lines]
    assert accounts.get("", Account()).not_fhir == kinds.count("bad") + kinds.count("log")
    assert accounts.get("Patient", Account()).duplicate == max(kinds.count("same") - 1, 0)
    seen = {number for kind, number in lines if kind in ("good", "old")}
    assert accounts.get("Observation", Account()).seen == len(seen)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not on this machine")
def test_the_real_exports_are_kept_whole(study: Study) -> None:
    report = study.pull(SAMPLES)
    assert [problem.split(" is a page of a search")[0] for problem in report.problems] == [
        "r4-examples/Bundle-bundle-example.json",
        "search-pages/hapi-include-next.json",
    ], "two first pages, saved without the ones that follow; the pages of $everything are all there"
    assert report.received == 373
    accounts = study.accounts()
    assert sum(one.lines_read for one in accounts.values()) == 373 + 11
    assert accounts[""] == Account(not_fhir=6, lines_read=6)
    before = study.found()
    again = study.pull(SAMPLES)
    assert (study.found(), study.accounts()) == (before, accounts)
    assert sum(one.stored_new for one in again.types) == 0
