"""NDJSON files that were adopted: an unpacked copy of each lies in `archive/files/`, a row in the archive."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

from msgspec import Struct

from fhir_msct.archive.failures import spoken
from fhir_msct.errors import MsctError

T = TypeVar("T")

FOLDER = "files"


class Adopted(Struct, frozen=True):
    """A file that is now the archive's own."""

    id: int
    path: Path


def adopt(
    connection: sqlite3.Connection, place: Path, name: str, pour: Callable[[Callable[[bytes], object]], T]
) -> tuple[Adopted, T]:
    """Copies a file into the archive: `pour` is given what to write its bytes with, and its answer returned.

    The copy is on the disk before a row names it. A file that was adopted before, under the same name and
    with the same bytes, is not kept twice.
    """
    folder = place / FOLDER
    part = folder / "adopting.part"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        digest, size, answer = _written(part, pour)
        known = connection.execute(
            "select id, stored from file where name = ? and sha256 = ?", (name, digest)
        ).fetchone()
        if known:
            part.unlink()
            return Adopted(known[0], folder / known[1]), answer
        (number,) = connection.execute("select coalesce(max(id), 0) + 1 from file").fetchone()
        stored = f"{number:06}.ndjson"
        part.rename(folder / stored)
        synced(folder)
        row = (number, name, stored, size, digest)
        connection.execute("insert into file (id, name, stored, size, sha256) values (?, ?, ?, ?, ?)", row)
    except (OSError, sqlite3.Error) as error:
        raise spoken(error, part) from None
    return Adopted(number, folder / stored), answer


def tidy(connection: sqlite3.Connection, place: Path) -> None:
    """Removes copies that a kill left without a row."""
    folder = place / FOLDER
    known = {stored for (stored,) in connection.execute("select stored from file")}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.name not in known and path.suffix in (".part", ".ndjson"):
            path.unlink()


class Reader:
    """Reads parts of adopted files; a context manager that keeps the last file open."""

    def __init__(self, place: Path) -> None:
        self._folder, self._name = place / FOLDER, ""
        self._file: BinaryIO | None = None
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def read(self, stored: str, start: int, length: int) -> bytes:
        """The bytes of one resource; raises MsctError where the file no longer holds them."""
        if self._file is None or stored != self._name:
            self._closing.close()
            try:
                self._file = self._closing.enter_context((self._folder / stored).open("rb"))
            except OSError as error:
                raise spoken(error, self._folder / stored) from None
            self._name = stored
        self._file.seek(start)
        body = self._file.read(length)
        if len(body) != length:
            raise MsctError(f"{self._folder / stored} is shorter than it was: the archive is damaged")
        return body


def _written(part: Path, pour: Callable[[Callable[[bytes], object]], T]) -> tuple[str, int, T]:
    hashed = sha256()
    number = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(number, "wb") as file:

        def write(chunk: bytes) -> None:
            hashed.update(chunk)
            file.write(chunk)

        answer = pour(write)
        file.flush()
        os.fsync(file.fileno())
        return hashed.hexdigest(), file.tell(), answer


def synced(folder: Path) -> None:
    """Makes a new name durable: on Linux that is a property of the folder."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
