"""The law of every table: what was written reads back equal, and no cell is run as a formula."""

import csv
import io
import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct import tables

LAW = settings(derandomize=True, deadline=None, max_examples=40)
KINDS = sorted(tables.COLUMNS, key=lambda kind: kind.__name__)

starts = st.sampled_from(["", "'", "''", *"=+-@\t\r\n\0＝＋－＠"])
texts = st.builds(str.__add__, starts, st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
numbers = st.decimals(-(10**6), 10**6, places=3)

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: st.integers(-999, 999),
    float: st.integers(-999, 999).map(float),
    date: st.dates(),
    Decimal: numbers,
    Fraction: numbers.map(Fraction),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a column, but those that a file cannot tell apart: "" is None where None is allowed."""
    if get_origin(hint) is tuple:
        return st.lists(texts.filter(bool), max_size=3).map(tuple)
    kinds = [part for part in get_args(hint) if part is not NoneType]
    if not kinds:
        return VALUES[hint]
    return st.none() | VALUES[kinds[0]].filter(lambda value: value != "")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@LAW
@given(data=st.data())
def test_what_was_written_reads_back_and_no_cell_is_a_formula(
    kind: type, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hints = get_type_hints(kind)
    row = kind(**{name: data.draw(values(hints[name]), label=name) for name in tables.COLUMNS[kind]})
    path: Path = tmp_path_factory.getbasetemp() / f"{kind.__name__}.csv"
    path.write_bytes(tables.csv_bytes([row], kind))

    assert tables.read_csv(path, kind) == (row,)
    _, cells = csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True)
    for cell in cells:
        assert not re.match(r"[=+@＝＋－＠\t\r\n\0]|-(?!\d)", cell)


@pytest.mark.parametrize("number", ["-1.5", "-0", "-1.50e-3", "5.40"])
def test_a_number_is_never_touched(number: str) -> None:
    assert tables.guarded(number) == tables.unguarded(number) == number


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("http://elsewhere")', "-1+1", "-1.5 mg", "@SUM(A1)", "＝1", "\t=1"]
)
def test_a_formula_stands_behind_an_apostrophe(text: str) -> None:
    assert tables.guarded(text) == f"'{text}"
    assert tables.unguarded(f"'{text}") == text


def test_an_apostrophe_of_the_text_itself_stays() -> None:
    for text in ("'t Hart", "''", "'=1"):
        assert tables.unguarded(tables.guarded(text)) == text
    assert tables.unguarded("'t Hart") == "'t Hart"
