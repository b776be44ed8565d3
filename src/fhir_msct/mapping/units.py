"""Units, keyed by parameter: CK-MB mass and CK-MB activity can never meet.

A factor is an exact fraction: study units in one unit as received. A unit that is not listed is
reported, never guessed.
"""

from fractions import Fraction
from pathlib import Path

import msgspec
from msgspec import Struct

from fhir_msct.errors import MappingError
from fhir_msct.exact import terminates
from fhir_msct.mapping import rows

ASSUMED = "assumption"
"""A row whose source begins with this word rests on an assumption, which its records carry as a flag."""


class Unit(Struct, frozen=True):
    """How one unit as received becomes the study's unit."""

    factor: Fraction
    study_unit: str
    place: str
    flags: tuple[str, ...] = ()
    endless: bool = False
    """The factor has no finite decimals, so that a value in the study's unit is rounded (rule D10)."""


class Units:
    """`units.csv` and `unitless.csv`."""

    def __init__(self, folder: Path, own: Path | None = None) -> None:
        lines = rows.read(folder, "units.csv", own)
        table = rows.unique(lines, ("paramcd", "system", "unit"), ("factor", "study_unit"))
        self.table = {key: _unit(row) for key, row in table.items()}
        self.by_text = {
            (paramcd, name): msgspec.structs.replace(unit, flags=(*unit.flags, "unit_text"))
            for (paramcd, system, name), unit in self.table.items()
            if not system
        }
        bare = rows.unique(rows.read(folder, "unitless.csv", own), ("system", "code"), ("unit", "paramcd"))
        self.bare = {key: (row["paramcd"], row["unit"], row.place) for key, row in bare.items()}

    def find(self, paramcd: str, system: str | None, code: str | None, text: str | None) -> Unit | None:
        """The unit of a quantity: by system and code; without a system, or without a code, by its text.

        https://hl7.org/fhir/R4/datatypes.html#Quantity: a code without a system means nothing, so it
        counts as text.
        """
        if system and code:
            return self.table.get((paramcd, system, code))
        return self.by_text.get((paramcd, text or code or ""))

    def without(self, paramcd: str, system: str, code: str) -> Unit | None:
        """The unit that a code itself fixes, where a value came without any."""
        known, unit, place = self.bare.get((system, code), ("", "", ""))
        return Unit(Fraction(1), unit, place) if known == paramcd else None


def _unit(row: rows.Row) -> Unit:
    try:
        factor = Fraction(row["factor"])
    except (ValueError, ZeroDivisionError):
        raise MappingError(f"{row.place}: factor wants a fraction such as 3/50") from None
    if factor <= 0:
        raise MappingError(f"{row.place}: factor is not positive")
    assumed = ("unit_assumed",) if row["source"].startswith(ASSUMED) else ()
    flags = (*assumed, *(() if row.approved else ("unapproved",)))
    return Unit(factor, row["study_unit"], row.place, flags, endless=not terminates(factor))
