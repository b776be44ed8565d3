"""The rows of `mappings/*.csv` as the promises look at them: read without the package's own reader."""

import csv
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "mappings"

Row = dict[str, str]


def rows(name: str) -> list[Row]:
    """The rows of one table, as text."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tables() -> Iterator[tuple[str, list[Row]]]:
    """Every table of the folder, by file name."""
    for path in sorted(FOLDER.glob("*.csv")):
        yield path.name, rows(path.name)


def coded() -> Iterator[tuple[str, Row]]:
    """Every row that names a code, with its file."""
    for name, lines in tables():
        yield from ((name, row) for row in lines if row.get("system") and row.get("code"))
