"""`verify` finds every byte that is not as it came, says in which resource or file, and writes nothing."""

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fhir_msct import data, plan
from fhir_msct.archive import ledger, schema, wal
from fhir_msct.archive.seals import seal_run
from fhir_msct.archive.store import Archive
from fhir_msct.errors import Incomplete, Locked, UsageError
from fhir_msct.mapping.library import Mapping
from fhir_msct.records import Resource
from fhir_msct.tasks import told
from fhir_msct.tasks.pull import pull
from fhir_msct.tasks.verify import VerifyReport, verify

FLIPS = 300
PATIENT = (
    b'{"resourceType":"Patient","id":"a","meta":{"versionId":"%d","lastUpdated":"2024-01-0%dT00:00:00Z"}}'
)
KEPT = (
    "select type, key, fhir_id, version, lastupdated, sha256, body, file, start, length, deleted, state, "
    "same_id from resource order by id",
    "select id, stored, size, sha256 from file order by id",
    "select * from run order by id",
    "select * from push_op order by target, type, id",
)
"""Everything that a table, a report or a push rests on."""


def quiet(line: str) -> None:
    """Progress is not looked at here."""


def checked(folder: Path) -> VerifyReport:
    return verify(folder, say=quiet)


def places(folder: Path) -> str:
    """All that is said of what is damaged, in one text."""
    return "\n".join(f"{one.place}: {one.why}" for one in checked(folder).damaged)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study pulled from adopted files and from single resources, one with two versions; and a ledger."""
    folder, source = tmp_path_factory.mktemp("sound"), tmp_path_factory.mktemp("source")
    (folder / "study.toml").write_text('[study]\nid = "t"\n', encoding="utf-8")
    for name in ("Patient", "Procedure"):
        shutil.copy(data.fixtures() / "resources" / f"{name}.ndjson", source)
    lines = (data.fixtures() / "resources" / "Observation.ndjson").read_bytes().splitlines()[:60]
    for number, line in enumerate(lines):
        (source / f"{number:03}.json").write_bytes(line)
    (source / "one.json").write_bytes(PATIENT % (1, 1))
    (source / "two.json").write_bytes(PATIENT % (2, 2))
    study = plan.load(folder)
    assert pull(folder, study, Mapping.load(folder, study).wanted(), source=source, say=quiet).complete
    with Archive.open(folder) as archive:
        done = ledger.Operation("Observation", "msct-x", "0" * 64)
        ledger.settle(archive.connection, "http://127.0.0.1/fhir", [(done, "1")])
        entered = b'{"resourceType":"Observation","id":"hand"}'
        archive.add([Resource("Observation", "hand", entered)], source="entered.csv")
    return folder


@pytest.fixture
def study(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(sound, tmp_path / "study"))


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Turns one bit of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))


def kept(path: Path) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        connection.text_factory = bytes
        return [connection.execute(query).fetchall() for query in KEPT]


def test_a_sound_archive_is_sound_and_every_count_is_said(sound: Path) -> None:
    report = checked(sound)
    counts = {check.what: check.number for check in report.checked}
    assert report.damaged == ()
    assert not report.interrupted
    procedures = (data.fixtures() / "resources" / "Procedure.ndjson").read_bytes().count(b"\n")
    people = (data.fixtures() / "resources" / "Patient.ndjson").read_bytes().count(b"\n")
    assert counts["adopted files"] == 2
    assert counts["resource versions"] == procedures + people + 60 + 2 + 1
    assert counts["resources"] == procedures + people + 60 + 1 + 1
    assert (counts["pulls and loads"], counts["ledger entries"]) == (2, 1)
    told.require_sound(report, sound)
    assert "1 ledger entries: sound" in list(told.verified(report))


def test_nothing_is_written_not_even_a_lock_or_a_log(study: Path) -> None:
    def held() -> dict[str, tuple[bytes, int]]:
        return {
            str(path): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(study.rglob("*"))
            if path.is_file()
        }

    (study / "archive" / "lock").unlink()
    before = held()
    assert checked(study).damaged == ()
    assert held() == before


def test_one_flipped_bit_anywhere_in_an_adopted_file_is_found(study: Path) -> None:
    chance = random.Random(20240630)
    for path in sorted((study / "archive" / "files").iterdir()):
        for _ in range(25):
            at, bit = chance.randrange(path.stat().st_size), chance.randrange(8)
            flip(path, at, bit)
            assert f"files/{path.name}" in places(study), (path.name, at, bit)
            flip(path, at, bit)
    assert places(study) == ""


def test_one_flipped_bit_in_the_body_of_each_resource_is_found_and_the_resource_named(study: Path) -> None:
    path = study / "archive" / "archive.sqlite"
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        rows = connection.execute("select type, key, body from resource where body is not null").fetchall()
    whole, chance, found = path.read_bytes(), random.Random(7), 0
    for type_, key, body in rows:
        start = whole.find(body)
        if start < 0:
            continue  # on more than one page, which the flips anywhere reach
        at = start + chance.randrange(len(body))
        flip(path, at)
        assert f"{type_}/{key} in archive.sqlite: its bytes are not those that came" in places(study), key
        flip(path, at)
        found += 1
    assert found >= 50


@pytest.mark.parametrize("part", range(3))
def test_one_flipped_bit_anywhere_in_the_database_is_found_or_changes_nothing_kept(
    study: Path, part: int
) -> None:
    path = study / "archive" / "archive.sqlite"
    before, chance, found = kept(path), random.Random(part), 0
    written = [at for at, byte in enumerate(path.read_bytes()) if byte]  # most of a small file is free
    for number in range(FLIPS // 3):
        at = chance.choice(written) if number % 2 else chance.randrange(path.stat().st_size)
        bit = chance.randrange(8)
        flip(path, at, bit)
        if places(study):
            found += 1
        else:
            assert kept(path) == before, f"seed {part}: bit {bit} of byte {at}"
        flip(path, at, bit)
    assert found > FLIPS // 9


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("update run set problems = '[ ]' where id = 1", "pull 1 in archive.sqlite: what is said of it"),
        (
            "update run set started = '2020-01-01' where id = 2",
            "pull 2 in archive.sqlite: what is said of it",
        ),
        ("insert into event (run, method, route, status, bytes) values (1, 'GET', 'x', 200, 1)", "pull 1"),
        ("update push_op set sha256 = upper(sha256) || '1'", "Observation/msct-x in the push ledger"),
        ("update push_op set attempts = 7", "its entry is not the one that was written"),
        ("delete from push_op", "its entry is not the one that was written"),
        ("update resource set body = x'7b7d' where key = 'hand'", "Observation/hand in archive.sqlite"),
        ("update resource set body = null where key = 'hand'", "Observation/hand"),
        ("update resource set version = '3' where version = '2'", "version or time"),
        ("update resource set lastupdated = '2024-01-03T00:00:00Z' where version = '2'", "version or time"),
        ("update resource set fhir_id = 'b' where key = 'hand'", "does not go by its own id"),
        ("update resource set key = 'b', fhir_id = 'b' where key = 'hand'", "those of another resource"),
        ("update resource set type = 'Condition' where key = 'hand'", "those of another resource"),
        ("update resource set length = length + 1 where key = 'hand'", "sha256 or length"),
        ("update resource set start = start + 1 where start = 0", "in files/000001.ndjson"),
        ("update resource set file = 9 where start = 0", "names a file that is not there"),
        (
            "update resource set full_url = 'http://x/Observation/other' where key = 'hand'",
            "names another resource",
        ),
        ("update resource set deleted = 1 where key = 'hand'", "Observation/hand"),
        (
            "update resource set state = 'current' where key = 'a' and version = '1'",
            "Patient/a in archive.sqlite: kept as current",
        ),
        ("update resource set state = 'superseded' where key = 'hand'", "kept as superseded"),
        ("update resource set same_id = 1 where key = 'hand'", "kept as current"),
        ("update resource set seen = 1, run = 2 where key = 'hand'", "seen last before it came"),
        ("delete from file where id = 1", "names a file that is not there"),
        ("update file set stored = '../../x' where id = 1", "is missing"),
        ("update file set size = size + 1 where id = 1", "not the file that was adopted"),
        ("update run set finished = null where id = 1", "called complete"),
        ("update run set problems = '[\"x\"]' where id = 1", "called complete"),
        ("insert into window (run, type, patients) values (1, 'Patient', '[]')", "called complete"),
        (
            "insert into window (run, type, patients, state) values (1, 'Patient', '[]', 'proved')",
            "without the count that proves it",
        ),
        (
            "insert into quarantine (run, place, type, reason, length, sha256, lost) "
            "values (1, '', '', 'not-json', 1, '', 1)",
            "called complete",
        ),
        ("update push_op set state = 'RETRACTED'", "Observation/msct-x in the push ledger"),
        ("update push_op set state = 'INTENT'", "Observation/msct-x in the push ledger"),
        ("update push_op set sha256 = 'x'", "Observation/msct-x in the push ledger"),
        ("drop index resource_state", "not the one that was made"),
        ("create table more (x)", "not the one that was made"),
    ],
)
def test_what_contradicts_itself_is_found_and_named(study: Path, sql: str, said: str) -> None:
    with closing(sqlite3.connect(study / "archive" / "archive.sqlite", isolation_level=None)) as connection:
        connection.execute(sql)
    assert said in places(study)
    with pytest.raises(Incomplete, match="damaged in") as raised:
        told.require_sound(checked(study), study)
    assert raised.value.exit_code == 2


def test_a_body_that_is_no_resource_any_more_is_found_though_its_hash_was_made_to_fit(study: Path) -> None:
    with closing(sqlite3.connect(study / "archive" / "archive.sqlite", isolation_level=None)) as connection:
        for body in (b'{"id":"hand"}', b"{", b'{"resourceType":"Observation","id":"\xff"}'):
            digest = sha256(body).hexdigest()
            connection.execute(
                "update resource set body = ?, sha256 = ?, length = ? where key = 'hand'",
                (body, digest, len(body)),
            )
            assert "Observation/hand in archive.sqlite: its bytes are no FHIR resource" in places(study)


def lose(study: Path) -> None:
    (study / "archive" / "files" / "000001.ndjson").unlink()


def cut(study: Path) -> None:
    path = study / "archive" / "files" / "000001.ndjson"
    path.write_bytes(path.read_bytes()[:-100])


def open_up(study: Path) -> None:
    (study / "archive" / "files" / "000002.ndjson").chmod(0o640)


def open_all(study: Path) -> None:
    (study / "archive").chmod(0o755)


def shorten(study: Path) -> None:
    path = study / "archive" / "archive.sqlite"
    path.write_bytes(path.read_bytes()[:-8192])


def overwrite(study: Path) -> None:
    (study / "archive" / "archive.sqlite").write_bytes(b"no database at all" * 1000)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose, "files/000001.ndjson: is missing"),
        (cut, "files/000001.ndjson: is not the file that was adopted"),
        (open_up, "archive/files/000002.ndjson: may be read by others: chmod 600 it"),
        (open_all, "archive: may be read by others: chmod 700 it"),
        (shorten, "archive.sqlite"),
        (overwrite, "archive.sqlite: cannot be opened as a database"),
    ],
)
def test_damage_from_outside_is_found_and_the_file_named(
    study: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(study)
    assert said in places(study)


def test_what_is_damaged_is_named_without_its_values(study: Path) -> None:
    canary = json.dumps({"resourceType": "Observation", "id": "hand", "note": [{"text": "Zebedee"}]}).encode()
    with closing(sqlite3.connect(study / "archive" / "archive.sqlite", isolation_level=None)) as connection:
        connection.execute("update resource set body = ? where key = 'hand'", (canary,))
    shown = "\n".join(told.verified(checked(study)))
    assert "DAMAGED: Observation/hand" in shown
    assert "Zebedee" not in shown


def test_without_an_archive_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no archive"):
        checked(tmp_path)


def test_an_archive_in_which_somebody_works_is_left_alone(study: Path) -> None:
    with Archive.open(study), pytest.raises(Locked):
        checked(study)


def test_an_archive_of_a_newer_program_is_not_judged(study: Path) -> None:
    with closing(sqlite3.connect(study / "archive" / "archive.sqlite")) as connection:
        connection.execute("pragma user_version = 99")
    with pytest.raises(UsageError, match="newer"):
        checked(study)


def killed_while_adding(study: Path) -> Path:
    """Adds twenty resources in twenty transactions, and is killed; the log it left."""
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from fhir_msct.archive.store import Archive\nfrom fhir_msct.records import Resource\n"
        "archive = Archive.open(Path(sys.argv[1]))\n"
        "for n in range(20):\n"
        '    body = b\'{"resourceType":"Patient","id":"k%d"}\' % n\n'
        "    archive.add([Resource('Patient', f'k{n}', body)], source='x')\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(study)], check=False)
    assert ended.returncode == -signal.SIGKILL
    return study / "archive" / "archive.sqlite-wal"


def test_what_a_killed_process_had_committed_is_verified_in_its_log(study: Path) -> None:
    before = {check.what: check.number for check in checked(study).checked}["resources"]
    log = killed_while_adding(study)
    whole = log.read_bytes()
    report = checked(study)
    assert report.damaged == ()
    assert {check.what: check.number for check in report.checked}["resources"] == before + 20
    assert log.read_bytes() == whole
    chance = random.Random(11)
    for _ in range(150):
        at, bit = chance.randrange(len(whole)), chance.randrange(8)
        flip(log, at, bit)
        assert wal.damage(log), (at, bit)
        flip(log, at, bit)
    assert wal.damage(log) == ""
    log.write_bytes(whole[:-100])  # the last write did not come to its end, as a kill leaves it
    assert wal.damage(log) == ""


def archive_of_an_older_program(home: Path, steps: int, *, sealed: bool) -> None:
    """An archive that has seen so many steps, with one run that has ended."""
    place = home / "archive"
    place.mkdir(mode=0o700)
    (place / "archive.sqlite").touch(0o600)
    with closing(sqlite3.connect(place / "archive.sqlite", isolation_level=None)) as old:
        schema.migrate(old, place / "archive.sqlite", schema.STEPS[:steps])
        old.execute(
            "insert into run (kind, base, config, started, finished, complete) "
            "values ('server', 'b', 'c', 's', 'f', 1)"
        )
        if sealed:
            seal_run(old, 1)


@pytest.mark.parametrize("steps", range(1, len(schema.STEPS) + 1))
def test_an_archive_of_an_older_program_has_no_seals_and_is_sound(tmp_path: Path, steps: int) -> None:
    archive_of_an_older_program(tmp_path, steps, sealed=False)
    assert checked(tmp_path).damaged == ()
    with Archive.open(tmp_path):
        pass
    assert checked(tmp_path).damaged == ()


SEALED_AT = 3
"""The step from which on a run that ended has a seal."""


@pytest.mark.parametrize("steps", range(SEALED_AT, len(schema.STEPS) + 1))
def test_what_was_sealed_by_an_older_program_is_still_whole(tmp_path: Path, steps: int) -> None:
    archive_of_an_older_program(tmp_path, steps, sealed=True)
    with Archive.open(tmp_path) as archive:
        assert archive.connection.execute("pragma user_version").fetchone() == (len(schema.STEPS),)
        assert archive.connection.execute("select seal <> '' from run").fetchone() == (1,)
    assert checked(tmp_path).damaged == ()
