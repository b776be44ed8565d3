"""Whether a log is whole: what SQLite forgets in silence, and what it never promised."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fhir_msct.archive.wal import damage

PAGE = 4096
FRAME = 24 + PAGE


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """A log in which a short transaction was written over the beginning of a long one that was given up."""
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"pragma page_size = {PAGE}")
        db.execute("pragma journal_mode = wal")
        db.execute("create table row (body blob)")
        db.execute("insert into row values (zeroblob(20000))")
        db.execute("pragma cache_size = 5")  # so that pages are in the log before the commit
        db.execute("begin")
        for _ in range(60):
            db.execute("insert into row values (randomblob(4000))")
        db.execute("rollback")
        db.execute("insert into row values ('short')")
        copy = tmp_path / "copy-wal"
        copy.write_bytes(Path(f"{path}-wal").read_bytes())
    yield copy


def committed(log: bytes) -> list[int]:
    """The frames that end a transaction, in their order in the log."""
    starts = range(32, len(log), FRAME)
    return [number for number, at in enumerate(starts) if int.from_bytes(log[at + 4 : at + 8]) != 0]


def test_what_a_transaction_left_that_was_given_up_is_no_damage(left: Path) -> None:
    log = left.read_bytes()
    ends = committed(log)
    assert (len(log) - 32) // FRAME > ends[-1] + 10
    assert damage(left) == ""


def test_a_damaged_frame_before_the_end_of_a_transaction_is_damage(left: Path) -> None:
    log = left.read_bytes()
    for number in range(committed(log)[-1]):
        at = 32 + number * FRAME + 100
        left.write_bytes(log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :])
        assert damage(left) == f"frame {number + 1} of the log"
