"""The reviewed rows of `mappings/*.csv`, the study folder's own added to the shipped ones.

Every row keeps its place (`codes.csv:3`, `own codes.csv:2`), so that a record can name the row that
decided it, and a contradiction can name both.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from fhir_msct.errors import MappingError
from fhir_msct.tables import unguarded

DEFAULTS = {"V", "C"}
"""Marks of a row that may be a default: seen in an authoritative source, or computed."""


class Row(Struct, frozen=True):
    """One line of a table: its cells by column, and where it stands."""

    cells: dict[str, str]
    place: str
    own: bool = False

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column) or ""

    @property
    def approved(self) -> bool:
        """A study's own row works without approval, and what it decides is flagged."""
        return not self.own or bool(self["approved_by"] and self["approved_on"])


def read(folder: Path, name: str, own: Path | None = None) -> tuple[Row, ...]:
    """The rows of one table: the shipped ones, then the study's own.

    Raises MappingError with file and line for a column that is missing or a cell too many.
    """
    shipped = list(_lines(folder / name, name, False))
    if own is None or not (own / name).is_file():
        return tuple(shipped)
    columns = list(shipped[0].cells) if shipped else []
    added = list(_lines(own / name, f"own {name}", True))
    for row in added:
        wrong = [column for column in row.cells if column not in (*columns, "approved_by", "approved_on")]
        if wrong:
            raise MappingError(f"{own / name}: no column {wrong[0]!r} here; known are {', '.join(columns)}")
        if not row[columns[0]]:
            raise MappingError(f"{row.place}: column {columns[0]} is empty")
    return (*shipped, *added)


def _lines(path: Path, name: str, own: bool) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            for line in table:
                if None in line or None in line.values():
                    raise MappingError(
                        f"{path}:{table.line_num}: the line has more or fewer cells than columns"
                    )
                cells = {column: unguarded(cell) for column, cell in line.items()}
                yield Row(cells, f"{name}:{table.line_num}", own)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise MappingError(f"{path}: cannot be read as a CSV file: {type(error).__name__}") from None


def unique(rows: Iterable[Row], key: tuple[str, ...], says: tuple[str, ...]) -> dict[tuple[str, ...], Row]:
    """The rows by `key`; the same key twice must say the same.

    Raises MappingError naming both places where two rows contradict each other.
    """
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        at = tuple(row[column] for column in key)
        before = found.setdefault(at, row)
        if [before[c] for c in says] != [row[c] for c in says]:
            raise MappingError(
                f"{row.place} contradicts {before.place}: the same {', '.join(key)} with another {says[0]}"
            )
    return found
