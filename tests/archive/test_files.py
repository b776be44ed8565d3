"""Adopted files: copied whole, read in place, forgotten where a kill left them without a row."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fhir_msct.archive.files import Adopted, adopt
from fhir_msct.archive.runs import Run
from fhir_msct.archive.store import Archive
from fhir_msct.errors import MsctError
from fhir_msct.records import Resource


def copied(archive: Archive, *chunks: bytes) -> tuple[Adopted, int]:
    """A file of these chunks, adopted; with the number of chunks as the answer of what poured it."""

    def pour(write: Callable[[bytes], object]) -> int:
        for chunk in chunks:
            write(chunk)
        return len(chunks)

    return adopt(archive.connection, archive.place, "a.ndjson", pour)


def test_a_copy_is_private_and_whole_and_kept_once(tmp_path: Path) -> None:
    with Archive.open(tmp_path, create=True) as archive:
        one, answer = copied(archive, b"ab", b"c")
        again, _ = copied(archive, b"abc")
        other, _ = copied(archive, b"abcd")
        assert answer == 2
        assert one == again and one.id != other.id
        assert (one.path.read_bytes(), other.path.read_bytes()) == (b"abc", b"abcd")
        assert stat.S_IMODE(one.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(one.path.parent.stat().st_mode) == 0o700
        assert len(list(one.path.parent.iterdir())) == 2
        rows = archive.connection.execute("select name, stored, size from file order by id").fetchall()
        assert rows == [("a.ndjson", "000001.ndjson", 3), ("a.ndjson", "000002.ndjson", 4)]


def test_a_copy_without_a_row_is_removed_when_the_archive_is_opened(tmp_path: Path) -> None:
    with Archive.open(tmp_path, create=True) as archive:
        kept, _ = copied(archive, b"abc")
    for name in ("000009.ndjson", "adopting.part"):
        (kept.path.parent / name).write_bytes(b"left over")
    with Archive.open(tmp_path):
        assert [path.name for path in kept.path.parent.iterdir()] == ["000001.ndjson"]


def test_an_error_while_copying_leaves_no_row(tmp_path: Path) -> None:
    def pour(write: Callable[[bytes], object]) -> None:
        raise OSError(28, "No space left on device")

    with Archive.open(tmp_path, create=True) as archive:
        with pytest.raises(MsctError, match="No space left"):
            adopt(archive.connection, archive.place, "a.ndjson", pour)
        assert archive.connection.execute("select count(*) from file").fetchone() == (0,)


def test_bodies_are_read_from_the_copy_and_a_shortened_one_is_an_error(tmp_path: Path) -> None:
    with Archive.open(tmp_path, create=True) as archive:
        run = Run.begin(archive, "folder", "/export")
        copy, _ = copied(archive, b'{"a":1}\n{"b":2}\n')
        found = [Resource("Patient", "x", b'{"a":1}', where="a.ndjson:0")]
        found += [Resource("Patient", "y", b'{"b":2}', where="a.ndjson:8")]
        run.lines(found, [], copy.id)
        assert list(archive.current("Patient")) == found
        assert archive.connection.execute("select body, start from resource").fetchall() == [
            (None, 0),
            (None, 8),
        ]
        copy.path.write_bytes(b'{"a":1}\n{"b"')
        with pytest.raises(MsctError, match="damaged"):
            list(archive.current("Patient"))
