"""The archive: bytes verbatim, all or nothing, one process at a time."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.archive import schema
from fhir_msct.archive.runs import Arrived, Quarantined, Run, check_source
from fhir_msct.archive.store import Account, Archive
from fhir_msct.errors import Interrupted, Locked, MsctError, UsageError
from fhir_msct.records import Resource

seeded = settings(derandomize=True, deadline=None)

BASE = "http://127.0.0.1:8099/fhir"


def one(id_: str | None, body: str = "{}", version: str | None = None, **more: object) -> Resource:
    return Resource("Observation", id_, body.encode(), version, **more)  # type: ignore[arg-type]


def received(archive: Archive, *pages: list[Resource], types: tuple[str, ...] = ("Observation",)) -> Run:
    """A complete pull of one window that brought these pages."""
    run = Run.begin(archive, "server", BASE)
    run.plan(["p1"], [("Observation", ("p1",))], problems=[], software="x", version="1")
    window = run.next_window()
    assert window is not None
    run.reading(window, 0)
    for page in pages:
        run.page(window, Arrived(resources=page))
    run.settle(window, count_after=run.distinct(window))
    run.finish(complete=True, problems=[], server_date="2024-06-30", types=types)
    return run


def bodies(archive: Archive) -> list[tuple[str | None, bytes]]:
    return [(found.id, found.body) for found in archive.current("Observation")]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path, create=True)


# --- opening ----------------------------------------------------------------------------------------------


def test_an_archive_is_only_made_when_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no archive"):
        Archive.open(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="does not exist"):
        Archive.open(tmp_path / "absent", create=True)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    with Archive.open(tmp_path, create=True) as archive:
        archive.add([one("a")], source="x")
        files = list((tmp_path / "archive").iterdir())
        assert {path.name for path in files} >= {"archive.sqlite", "archive.sqlite-wal", "lock"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "archive").stat().st_mode) == 0o700


def test_it_is_durable_and_holds_the_ledger(archive: Archive) -> None:
    assert archive.connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert archive.connection.execute("pragma synchronous").fetchone() == (2,)
    tables = {name for (name,) in archive.connection.execute("select name from sqlite_master")}
    assert tables >= {"push_op", "push_place", "push_refused", "push_owed", "push_seal"}


def test_opening_it_again_changes_no_byte(tmp_path: Path) -> None:
    with Archive.open(tmp_path, create=True) as archive:
        archive.add([one("a")], source="x")
    before = (tmp_path / "archive" / "archive.sqlite").read_bytes()
    with Archive.open(tmp_path) as archive:
        assert bodies(archive) == [("a", b"{}")]
    assert (tmp_path / "archive" / "archive.sqlite").read_bytes() == before


def test_a_second_opening_is_locked_out_until_the_first_ends(tmp_path: Path) -> None:
    with Archive.open(tmp_path, create=True), pytest.raises(Locked):
        Archive.open(tmp_path)
    with Archive.open(tmp_path):
        pass


def test_a_second_process_is_locked_out(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from fhir_msct.archive.store import Archive\n"
        "with Archive.open(pathlib.Path(sys.argv[1]), create=True):\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(Locked) as caught:
            Archive.open(tmp_path)
        assert caught.value.exit_code == 3
        other.stdin.close()
        other.wait(timeout=30)
    with Archive.open(tmp_path):
        pass


def test_an_archive_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    with Archive.open(tmp_path, create=True) as archive:
        archive.connection.execute("pragma user_version = 99")
    with pytest.raises(UsageError, match="newer") as caught:
        Archive.open(tmp_path)
    assert caught.value.exit_code == 3


def test_an_older_archive_is_brought_up_to_date_and_a_copy_kept(tmp_path: Path) -> None:
    path = tmp_path / "archive" / "archive.sqlite"
    with Archive.open(tmp_path, create=True) as archive:
        archive.add([one("a")], source="x")
        steps = (*schema.STEPS, "create table fresh (x)")
        schema.migrate(archive.connection, path, steps)
        assert archive.connection.execute("pragma user_version").fetchone() == (len(steps),)
        archive.connection.execute("insert into fresh values (1)")
    copy = path.with_name(f"archive.sqlite.v{len(schema.STEPS)}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with sqlite3.connect(copy) as old:
        assert old.execute("select count(*) from resource").fetchone() == (1,)
        assert old.execute("pragma user_version").fetchone() == (len(schema.STEPS),)
    old.close()


def test_a_step_that_fails_leaves_the_archive_as_it_was(archive: Archive) -> None:
    steps = (*schema.STEPS, "create table fresh (x); insert into nowhere values (1)")
    with pytest.raises(sqlite3.Error):
        schema.migrate(archive.connection, archive.place / "archive.sqlite", steps)
    assert archive.connection.execute("pragma user_version").fetchone() == (len(schema.STEPS),)
    assert not archive.connection.execute("select 1 from sqlite_master where name = 'fresh'").fetchone()


@pytest.mark.parametrize("body", [b"this is no database, though it is long enough for one" * 90])
def test_a_file_that_is_no_archive_is_called_so(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "archive.sqlite").write_bytes(body)
    with pytest.raises(UsageError, match="not an archive"):
        Archive.open(tmp_path)


def test_a_place_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file where a folder should be")
    with pytest.raises(MsctError) as caught:
        Archive.open(tmp_path, create=True)
    assert "archive" in str(caught.value)


def test_a_full_disk_keeps_nothing_of_the_step_and_everything_before(tmp_path: Path) -> None:
    with Archive.open(tmp_path, create=True) as archive:
        archive.add([one("a")], source="x")
        (pages,) = archive.connection.execute("pragma page_count").fetchone()
        archive.connection.execute(f"pragma max_page_count = {pages + 2}")
        with pytest.raises(Interrupted, match="full"):
            archive.add([one(f"b{n}", "x" * 4000) for n in range(50)], source="y")
        assert bodies(archive) == [("a", b"{}")]
    with Archive.open(tmp_path) as archive:
        assert archive.add([one("b", "x" * 4000)], source="y") == 1


def test_an_archive_that_may_only_be_read_is_a_clear_error(archive: Archive) -> None:
    archive.connection.execute("pragma query_only = on")
    with pytest.raises(UsageError, match="may not be written"):
        archive.add([one("a")], source="x")


def test_an_error_inside_a_transaction_leaves_nothing(archive: Archive) -> None:
    with pytest.raises(ZeroDivisionError), archive.transaction() as connection:
        connection.execute("insert into event (method, route, status, bytes) values ('GET', 'x', 200, 1)")
        raise ZeroDivisionError
    assert archive.connection.execute("select count(*) from event").fetchone() == (0,)


# --- what is kept -----------------------------------------------------------------------------------------


@seeded
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_bodies_come_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, found: list[bytes]) -> None:
    with Archive.open(tmp_path_factory.mktemp("study"), create=True) as archive:
        archive.add([Resource("Observation", f"o{n}", body) for n, body in enumerate(found)], source="x")
        assert [body for _, body in bodies(archive)] == found


def test_everything_that_is_known_of_a_resource_comes_back(archive: Archive) -> None:
    whole = Resource(
        "Observation", "a", b"{}", "3", "2024-01-01T00:00:00Z", "urn:uuid:1", subsetted=True, where="f:7"
    )
    received(archive, [whole])
    assert list(archive.current("Observation")) == [whole]
    assert archive.types() == ("Observation",)


def test_the_newest_version_is_current_whatever_comes_first(archive: Archive) -> None:
    received(archive, [one("a", "v3", "3"), one("a", "v1", "1")], [one("a", "v2", "2")])
    assert bodies(archive) == [("a", b"v3")]
    assert archive.accounts() == {"Observation": Account(seen=1, superseded=2, lines_read=3)}


def test_an_older_version_from_a_lagging_replica_changes_nothing(archive: Archive) -> None:
    received(archive, [one("a", "v3", "3"), one("b", "v1", "1")])
    received(archive, [one("a", "v2", "2"), one("b", "v1", "1")])
    assert bodies(archive) == [("a", b"v3"), ("b", b"v1")]


def test_the_same_bytes_from_a_server_are_nothing_new(archive: Archive) -> None:
    received(archive, [one("a", "v1", "1")], [one("a", "v1", "1")])
    received(archive, [one("a", "v1", "1")])
    assert archive.accounts() == {"Observation": Account(seen=1, lines_read=1)}


def test_two_bodies_of_one_id_without_a_version_are_both_current(archive: Archive) -> None:
    received(archive, [one("a", "one"), one("a", "other"), one("b")])
    found = list(archive.current("Observation"))
    assert [(it.id, it.same_id) for it in found] == [("a", True), ("a", True), ("b", False)]
    assert archive.accounts() == {"Observation": Account(seen=3, lines_read=3)}


def test_a_resource_without_an_id_goes_by_its_bytes(archive: Archive) -> None:
    received(archive, [one(None, "one"), one(None, "other"), one(None, "one")])
    assert [(it.id, it.same_id) for it in archive.current("Observation")] == [(None, False)] * 2


def test_a_deletion_is_noticed_by_a_complete_pull_and_undone_by_a_later_one(archive: Archive) -> None:
    received(archive, [one("a", "v1", "1"), one("b", "v1", "1")])
    received(archive, [one("a", "v1", "1")])
    assert bodies(archive) == [("a", b"v1")]
    assert archive.accounts() == {"Observation": Account(seen=1, deleted=1, lines_read=2)}
    received(archive, [one("a", "v1", "1"), one("b", "v1", "1")])
    assert bodies(archive) == [("a", b"v1"), ("b", b"v1")]


def test_a_type_that_was_not_asked_for_is_not_deleted(archive: Archive) -> None:
    received(archive, [one("a")])
    received(archive, [], types=("Patient",))
    assert bodies(archive) == [("a", b"{}")]


def test_a_pull_that_is_not_complete_deletes_nothing(archive: Archive) -> None:
    received(archive, [one("a")])
    run = Run.begin(archive, "server", BASE)
    run.finish(complete=False, problems=["why"], server_date=None, types=("Observation",))
    assert bodies(archive) == [("a", b"{}")]
    last = archive.last_pull()
    assert last is not None and (last.complete, last.problems) == (False, ("why",))


def test_what_was_entered_by_hand_is_not_deleted_by_a_pull(archive: Archive) -> None:
    received(archive, [one("a")])
    assert archive.add([one("mine", "entered")], source="hand.csv") == 1
    assert archive.add([one("mine", "entered")], source="hand.csv") == 0
    received(archive, [one("a")])
    assert bodies(archive) == [("a", b"{}"), ("mine", b"entered")]
    assert archive.add([one("mine", "corrected")], source="hand.csv") == 1
    assert bodies(archive) == [("a", b"{}"), ("mine", b"corrected")]
    received(archive, [one("a"), one("mine", "from the server", "1")])
    assert bodies(archive) == [("a", b"{}"), ("mine", b"from the server")]


def test_a_page_and_its_cursor_are_written_together(archive: Archive) -> None:
    run = Run.begin(archive, "server", BASE)
    run.plan(["p1"], [("Observation", ("p1",))], problems=[], software="", version="")
    window = run.next_window()
    assert window is not None
    run.reading(window, 2)
    archive.connection.execute(
        "create trigger t before update of next_url on window begin select raise(abort, 'x'); end"
    )
    with pytest.raises(MsctError):
        run.page(window, Arrived(resources=[one("a")], next_url="next"))
    assert bodies(archive) == []
    assert run.distinct(window) == 0
    archive.connection.execute("drop trigger t")
    run.page(window, Arrived(resources=[one("a")], next_url="next"))
    again = run.next_window()
    assert again is not None and (again.next_url, run.distinct(again)) == ("next", 1)


def test_a_new_reading_forgets_what_the_one_before_counted(archive: Archive) -> None:
    run = Run.begin(archive, "server", BASE)
    run.plan(["p1"], [("Observation", ("p1",))], problems=[], software="", version="")
    window = run.next_window()
    assert window is not None
    run.reading(window, 2)
    broken = Quarantined(sha256="0" * 64, reason="outside-cohort", type="Observation")
    run.page(window, Arrived(resources=[one("a")], quarantined=[broken]))
    assert run.distinct(window) == 2
    run.failed(window, "why")
    run.reading(window, 1)
    assert run.distinct(window) == 0
    assert archive.connection.execute("select count(*) from quarantine").fetchone() == (0,)
    assert bodies(archive) == [("a", b"{}")]


def test_an_interrupted_pull_goes_on_only_where_it_asked_for_the_same(archive: Archive) -> None:
    run = Run.begin(archive, "server", BASE, "config")
    assert Run.begin(archive, "server", BASE, "config").number == run.number
    assert Run.begin(archive, "server", BASE, "config").resumed
    other = Run.begin(archive, "server", BASE, "other")
    assert (other.number != run.number, other.resumed) == (True, False)
    other.finish(complete=True, problems=[], server_date=None)
    assert Run.begin(archive, "server", BASE, "other").number != other.number


def test_an_unfinished_pull_is_the_last_one_and_not_complete(archive: Archive) -> None:
    assert archive.last_pull() is None
    received(archive, [one("a")])
    last = archive.last_pull()
    assert last is not None
    assert (last.complete, last.base_url, last.server_date) == (True, BASE, "2024-06-30")
    assert (last.software, last.version, last.problems) == ("x", "1", ())
    archive.add([one("mine")], source="hand.csv")
    assert archive.last_pull() == last
    Run.begin(archive, "server", BASE)
    last = archive.last_pull()
    assert last is not None and not last.complete and last.finished is None


def test_a_study_has_one_source(archive: Archive, tmp_path: Path) -> None:
    received(archive, [one("a")])
    check_source(archive, "server", BASE)
    for kind, base in (("server", "https://other.test/r4"), ("folder", str(tmp_path))):
        with pytest.raises(UsageError, match="make another study folder"):
            check_source(archive, kind, base)  # type: ignore[arg-type]


def test_folders_may_be_read_one_after_the_other(archive: Archive) -> None:
    archive.add([one("mine")], source="hand.csv")
    Run.begin(archive, "folder", "/a").finish(complete=True, problems=[], server_date=None)
    check_source(archive, "folder", "/b")
    with pytest.raises(UsageError):
        check_source(archive, "server", BASE)
    last = archive.last_pull()
    assert last is not None and last.base_url is None


def test_the_request_log_is_written_with_each_step(archive: Archive) -> None:
    sent = [("GET", "Observation?", 200, 120, "7f")]
    run = Run.begin(archive, "server", BASE, "", sent)
    run.plan([], [], problems=[], software="", version="")
    assert sent == []
    logged = archive.connection.execute("select run, method, route, status, bytes, request_id from event")
    assert logged.fetchall() == [(run.number, "GET", "Observation?", 200, 120, "7f")]
