"""Records and results as CSV files, and back: UTF-8, LF, sorted by key, empty = missing, values verbatim.

The columns are a contract: they may be added at the end, never renamed. The same rows give the same
bytes. What is read back equals what was written (a law; a number without end is written with 15
significant digits, except `factor`, which stays a fraction).

A text that a spreadsheet would run as a formula stands behind an apostrophe, which reading takes off
again (OWASP ASVS 5.0, 1.2.10). Numbers never do: -1.5 stays -1.5.
"""

import csv
import re
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote

from fhir_msct.errors import InputError
from fhir_msct.exact import decimal_text, float_text
from fhir_msct.records import Finding, Measurement, SetAside, Subject, Transplant
from fhir_msct.results import Analysis, Answer, Outcome, VisitSummary

T = TypeVar("T")

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_APOSTROPHE = "'"
_SPECIAL = re.compile(r'[",\r\n]')
_FORMULA = tuple("=+-@\t\r\n\0＝＋－＠")  # the last four are full-width: spreadsheets take them too

COLUMNS: dict[type, tuple[str, ...]] = {
    Subject: (
        *("usubjid", "sex", "age", "dx", "dthdt", "trtsdt", "courses", "infusedfl", "evalfl"),
        *("excluded_why", "source", "flags"),
    ),
    Measurement: (
        *("usubjid", "paramcd", "param", "adtc", "aendtc", "adt", "aval", "avalu", "comparator"),
        *("orres", "orresu", "orcode", "orsystem", "anrlo", "anrhi", "scale", "side", "status"),
        *("source", "lastupdated", "code_row", "unit_row", "flags"),
        *("factor", "ornrlo", "ornrhi", "range_factor", "identifiers"),
    ),
    Transplant: (
        *("usubjid", "course", "infusion", "exstdtc", "exendtc", "product", "cell_source", "dose"),
        *("doseu", "recognised_by", "status", "source", "flags", "exstdt", "lastupdated"),
    ),
    Finding: (
        *("usubjid", "finding", "adtc", "state", "source", "flags"),
        *("term", "aendtc", "status", "adt", "aendt", "lastupdated", "recorded"),
    ),
    SetAside: ("type", "id", "source", "reason", "detail", "where"),
    Analysis: (
        *("usubjid", "paramcd", "course", "avisit", "adt", "ady", "cady", "aval", "avalu"),
        *("comparator", "base", "chg", "pchg", "ablfl", "anl01fl", "why_not", "flags", "source"),
    ),
    Outcome: (
        *("usubjid", "course", "endpoint", "value", "unit", "status", "reason", "source"),
        *("paramcd", "avisit", "adt", "base_adt", "base", "aval"),
        *("base_comparator", "comparator", "value_comparator"),
    ),
    VisitSummary: VisitSummary.__struct_fields__,
    Answer: Answer.__struct_fields__,
}
"""The columns of each file, in order."""

KEYS: dict[type, tuple[str, ...]] = {
    Subject: ("usubjid", "source"),
    Measurement: ("usubjid", "paramcd", "adtc", "source", "orres"),
    Transplant: ("usubjid", "exstdtc", "source"),
    Finding: ("usubjid", "finding", "adtc", "source"),
    SetAside: ("type", "id", "source", "where"),
}
"""What the rows of a file are sorted by; results come in the plan's own order."""


def csv_bytes(rows: Iterable[Any], kind: type) -> bytes:
    """The whole file: a header line and one line a row, in the order of `KEYS`."""
    columns = COLUMNS[kind]
    ordered = sorted(rows, key=lambda row: sort_key(row, kind)) if kind in KEYS else rows
    cells = ([column_cell(name, getattr(row, name)) for name in columns] for row in ordered)
    return "".join(map(line, (columns, *cells))).encode("utf-8")


def line(cells: Iterable[str]) -> str:
    """One line of a file, quoted where need be.

    The csv module of Python 3.11 leaves a carriage return unquoted, and takes it for an end on reading.
    """
    return ",".join(map(_quoted, cells)) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text


def sort_key(row: Any, kind: type) -> tuple[str, ...]:
    """What a row is sorted by: the text of its key columns, then of all others."""
    return tuple(column_cell(name, getattr(row, name)) for name in (*KEYS.get(kind, ()), *COLUMNS[kind]))


def read_csv(path: Path, kind: type[T]) -> tuple[T, ...]:
    """The rows of one file as records.

    Raises InputError with file and line where a column is missing or a cell cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: run the stage that writes it first")
    readers = _readers(kind)
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        missing = [name for name in readers if name not in (table.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: no column {missing[0]}")
        return tuple(_row(kind, readers, row, f"{path}:{table.line_num}") for row in table)


def cell(value: Any) -> str:
    """One value as it stands in a file."""
    if value is None:
        return ""
    if isinstance(value, Fraction | Decimal):
        return decimal_text(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, tuple):
        return guarded(" ".join(quote(item, safe=":/|.-_~@#+?=&") for item in value))
    return guarded(value) if isinstance(value, str) else str(value)


def guarded(text: str) -> str:
    """A text as a cell that no spreadsheet runs as a formula; `unguarded` gives the text back."""
    risky = text.startswith((*_FORMULA, _APOSTROPHE)) and not _NUMBER.fullmatch(text)
    return _APOSTROPHE + text if risky else text


def unguarded(text: str) -> str:
    """The text of a cell; an apostrophe before anything else was written by hand and stays."""
    covers = text[1:].startswith((*_FORMULA, _APOSTROPHE))
    return text[1:] if covers and text.startswith(_APOSTROPHE) else text


def column_cell(name: str, value: Any) -> str:
    """A unit factor stays a fraction, so that the exact value can be computed again from the file."""
    return str(value) if isinstance(value, Fraction) and name in ("factor", "range_factor") else cell(value)


def _row(kind: type[T], readers: dict[str, Callable[[str], Any]], row: dict[str, str], where: str) -> T:
    try:
        return kind(**{name: read(unguarded(row[name] or "")) for name, read in readers.items()})
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"{where}: a cell cannot be read: {type(error).__name__}") from None


def _readers(kind: type) -> dict[str, Callable[[str], Any]]:
    hints = get_type_hints(kind)
    return {name: _reader(hints[name]) for name in COLUMNS[kind]}


def _reader(hint: Any) -> Callable[[str], Any]:
    """How a cell becomes a value of this type; an empty cell is None where None is allowed."""
    if get_origin(hint) is tuple:
        return lambda text: tuple(unquote(item) for item in text.split())
    if get_origin(hint) is not UnionType:
        return _SIMPLE[hint]
    kinds = [part for part in get_args(hint) if part is not NoneType]
    read = _SIMPLE[kinds[0]]
    return lambda text: read(text) if text else None


_SIMPLE: dict[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    date: date.fromisoformat,
    Decimal: Decimal,
    Fraction: Fraction,
}
