"""What people decided about transplants that no code could recognise for certain (`reviews.csv`, rule D3)."""

import csv
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from fhir_msct.dates import calendar_date
from fhir_msct.errors import InputError

COLUMNS = ("source", "version", "decision", "by", "on", "why")
DECISIONS = ("yes", "no")


class Review(Struct, frozen=True, kw_only=True):
    """One decision: is this version of this resource an infusion of the trial's cells?"""

    source: str
    """`Procedure/p7`, without a version."""
    version: str
    decision: Literal["yes", "no"]
    by: str
    on: str
    why: str

    @property
    def of(self) -> str:
        """The resource version that was decided about; a newer version is undecided again."""
        return f"{self.source}/_history/{self.version}" if self.version else self.source


def read_reviews(path: Path) -> tuple[Review, ...]:
    """The decisions in a study folder's `reviews.csv`; none where there is no such file.

    Raises InputError with file and line where a column or a cell is missing, a decision is neither
    yes nor no, a day is no date, or one resource version is decided twice.
    """
    if not path.is_file():
        return ()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: no column {missing[0]}: wants {', '.join(COLUMNS)}")
            reviews = [(_review(row, f"{path}:{table.line_num}"), table.line_num) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {type(error).__name__}") from None
    _refuse_twice(reviews, path)
    return tuple(review for review, _ in reviews)


def _review(row: dict[str, str | None], where: str) -> Review:
    cells = {name: (row[name] or "").strip() for name in COLUMNS}
    for name, text in cells.items():
        if not text and name != "version":
            raise InputError(f"{where}: {name} is empty: a decision says who, when and why")
    if cells["decision"] not in DECISIONS:
        raise InputError(f"{where}: decision: wants yes or no")
    if calendar_date(cells["on"]) is None:
        raise InputError(f"{where}: on: wants a date such as 2024-06-30")
    return msgspec.convert(cells, Review)


def _refuse_twice(reviews: list[tuple[Review, int]], path: Path) -> None:
    lines: dict[str, int] = {}
    for review, line in reviews:
        if review.of in lines:
            raise InputError(f"{path}:{line}: {review.of} was decided on line {lines[review.of]} already")
        lines[review.of] = line
