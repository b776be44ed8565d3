"""A table for people: words and rounded numbers, not yet drawn; the page and the screen draw it."""

from collections.abc import Iterable

from msgspec import Struct


class Table(Struct, frozen=True, kw_only=True):
    """Rows of text under headings; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    """Columns that hold numbers, by place: they are set flush right."""
    note: str = ""
    empty: str = "Nothing to show."
    """What is said where there are no rows."""


def counted(number: int, one: str, many: str = "") -> str:
    """A count with its noun: "1 subject", "3 subjects"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(items: Iterable[str], last: str = "and") -> str:
    """Names in a row: "a, b and c"."""
    *some, end = tuple(items) or ("none",)
    return f"{', '.join(some)} {last} {end}" if some else end
