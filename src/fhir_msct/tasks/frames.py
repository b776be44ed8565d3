"""Records as typed tables: a pandas DataFrame for notebooks, a Parquet file for pipelines.

Measured values stay exact: `decimal.Decimal` objects in a DataFrame, decimal text in Parquet (a
decimal column of one scale would pad or cut digits). pandas and pyarrow are imported here only.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from fhir_msct import tables

if TYPE_CHECKING:
    import pandas as pd


def frame(rows: Iterable[Any], kind: type) -> "pd.DataFrame":
    """A DataFrame with the columns of the CSV file of that kind, in the same order of rows."""
    import pandas as pd

    columns = tables.COLUMNS[kind]
    hints = get_type_hints(kind)
    table = pd.DataFrame(
        [[getattr(row, name) for name in columns] for row in ordered_rows(rows, kind)], columns=columns
    )
    for name in columns:
        table[name] = table[name].astype(_dtype(hints[name]))
    return table


class Frames:
    """The tables of one stage's folder as attributes, each read when it is first asked for."""

    def __init__(self, folder: Path, files: Mapping[str, type]) -> None:
        self._folder, self._files = folder, files

    def __dir__(self) -> list[str]:
        return sorted(self._files)

    def __getattr__(self, name: str) -> "pd.DataFrame":
        if name.startswith("_") or name not in self._files:
            raise AttributeError(f"no table {name} here; there are {', '.join(sorted(self._files))}")
        kind = self._files[name]
        table = frame(tables.read_csv(self._folder / f"{name}.csv", kind), kind)
        setattr(self, name, table)
        return table


def write_parquet(path: Path, rows: Iterable[Any], kind: type) -> None:
    """One Parquet file, in the same order of rows as the CSV file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    hints = get_type_hints(kind)
    ordered = ordered_rows(rows, kind)
    columns, fields = [], []
    for name in tables.COLUMNS[kind]:
        target = _arrow(hints[name], pa)
        values = [getattr(row, name) for row in ordered]
        if target == pa.string():
            values = [tables.column_cell(name, value) or None for value in values]
        columns.append(pa.array(values, target))
        fields.append(pa.field(name, target))
    pq.write_table(pa.Table.from_arrays(columns, schema=pa.schema(fields)), path)


def ordered_rows(rows: Iterable[Any], kind: type) -> list[Any]:
    """The rows as the CSV file has them: sorted by key; results in the plan's own order."""
    return sorted(rows, key=lambda row: tables.sort_key(row, kind)) if kind in tables.KEYS else list(rows)


def _bare(hint: Any) -> set[Any]:
    return set(get_args(hint) or (hint,)) - {type(None)}


def _dtype(hint: Any) -> Any:
    kinds = _bare(hint)
    if kinds == {int}:
        return "Int64"
    return "str" if kinds == {str} else "object"


def _arrow(hint: Any, pa: Any) -> Any:
    kinds = _bare(hint)
    if kinds == {int}:
        return pa.int64()
    if kinds == {date}:
        return pa.date32()
    if isinstance(hint, type) or kinds & {str, Decimal, Fraction}:
        return pa.string()
    return pa.list_(pa.string())
