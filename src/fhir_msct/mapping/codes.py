"""Code tables: which (system, code) means what. System and code are always matched together."""

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from fhir_msct.mapping import rows
from fhir_msct.mapping.rows import Row

TABLES = {
    "codes": "paramcd",
    "findings": "term",
    "judgements": "term",
    "sides": "side",
    "states": "state",
    "verifications": "verification",
    "cell_sources": "cell_source",
    "outcome_codes": "endpoint",
}
"""Every code table and the column that says what a code means."""


class Meaning(Struct, frozen=True):
    """What one coding means, and the row that says so."""

    value: str
    row: Row
    alias: bool = False
    """The system came under a listed other name, such as LOINC's OID."""


class CodeTable:
    """One table: `(code, system) -> Meaning`, and back to the preferred coding."""

    def __init__(self, name: str, lines: Iterable[Row], aliases: dict[str, str]) -> None:
        self.name, self.column = name, TABLES[name]
        known = rows.unique(lines, ("system", "code"), (self.column,))
        self.rows = tuple(known.values())
        self.by_code: dict[str, dict[str, Meaning]] = {}
        for row in self.rows:
            systems = self.by_code.setdefault(row["code"], {})
            systems[row["system"]] = Meaning(row[self.column], row)
        for alias, system in aliases.items():
            for systems in self.by_code.values():
                if system in systems:
                    systems.setdefault(alias, Meaning(systems[system].value, systems[system].row, alias=True))

    def meaning(self, system: str | None, code: str | None) -> Meaning | None:
        """What a coding means; None if it is not listed."""
        return self.by_code.get(code or "", {}).get(system or "")

    def preferred(self, value: str) -> Row | None:
        """The row to write for a value: the preferred one, else the first that is equivalent."""
        mine = [row for row in self.rows if row[self.column] == value]
        order = [row for row in mine if row["preferred"] == "Y"]
        order += [row for row in mine if row["relation"] == "equivalent"]
        return next(iter(order), None)


def load(folder: Path, own: Path | None = None) -> dict[str, CodeTable]:
    """All code tables of a mappings folder, with a study's own rows.

    Raises MappingError where two rows contradict each other.
    """
    aliases = {row["alias"]: row["system"] for row in rows.read(folder, "systems.csv", own)}
    return {
        name: CodeTable(name, rows.read(folder, f"{name}.csv", own), aliases)
        for name in TABLES
        if (folder / f"{name}.csv").is_file()
    }
