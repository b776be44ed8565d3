"""Records entered by hand: a CSV file of measurements and judgements, as Observations into the archive.

MMT and VAS are rarely in a health record. Each row says who typed it, when, and from which document; one
bad row and nothing is loaded at all. The next push brings the values to the server.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

from msgspec import Struct

from fhir_msct.archive import ledger
from fhir_msct.archive.digest import digest
from fhir_msct.archive.store import Archive
from fhir_msct.dates import calendar_date
from fhir_msct.errors import InputError, Refused
from fhir_msct.mapping import gate, outgoing
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.units import Unit
from fhir_msct.plan import Plan
from fhir_msct.records import Finding, Measurement, Resource, When
from fhir_msct.tables import unguarded
from fhir_msct.tasks.deciding import restated

COLUMNS = ("usubjid", "paramcd", "adtc", "value", "unit", "side", "entered_by", "entered_at", "source_doc")
OPTIONAL = ("state",)

_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


class LoadReport(Struct, frozen=True, kw_only=True):
    """What became of the rows of a file."""

    rows: int
    new: int
    corrected: int
    """Rows that say something else than what was known for the same subject, parameter, date and side."""
    unchanged: int
    ids: tuple[str, ...] = ()
    """`Observation/id` of every row, in the file's order."""


def load(folder: Path, plan: Plan, csv_path: Path, *, say: Callable[[str], None]) -> LoadReport:
    """Takes a CSV file of hand-entered records into the archive; loading it twice changes nothing.

    Raises InputError naming file, line and column for the first row that cannot be meant, with nothing
    loaded at all, and what `Mapping.load` and the archive raise.
    """
    mapping = Mapping.load(folder, plan)
    own = folder / "mappings"
    with Archive.open(folder) as archive:
        pull = archive.last_pull()
        people = _people(mapping, list(archive.current("Patient")), pull.base_url if pull else None)
        held = {one.id: one.body for one in archive.current("Observation") if one.id}
        held |= {one.id: one.body for one in ledger.pending(archive.connection) if one.id}
        reader = _Reader(csv_path, plan, mapping, people, own if own.is_dir() else None)
        rows = list(reader.rows(held))
        made = [(_restated(one, held), one.id in held) for one in rows]
        fresh = [one for one, _ in made if not _same(one, held)]
        if fresh:
            archive.add(fresh, source=csv_path.name)
    corrected = sum(known and not _same(one, held) for one, known in made)
    say(f"load: {len(rows)} rows, {len(fresh) - corrected} new, {corrected} corrected")
    return LoadReport(
        rows=len(rows),
        new=len(fresh) - corrected,
        corrected=corrected,
        unchanged=len(rows) - len(fresh),
        ids=tuple(f"Observation/{one.id}" for one in rows),
    )


def _people(mapping: Mapping, resources: list[Resource], base: str | None) -> dict[str, str]:
    """The Patient's id of each subject; a patient that was replaced by another stands for nobody."""
    patients = mapping.patients(resources, base)
    found = {
        one.id: patients.usubjid(one.id) for one in resources if one.id not in patients.replaced if one.id
    }
    return {usubjid: patient for patient, usubjid in found.items() if usubjid}


def _restated(row: Resource, held: dict[str, bytes]) -> Resource:
    known = held.get(row.id or "")
    if known is None:
        return row
    body = restated(row.body, known, digest, changed="corrected")
    return Resource(row.type, row.id, body, where=row.where)


def _same(row: Resource, held: dict[str, bytes]) -> bool:
    known = held.get(row.id or "")
    return known is not None and digest(known) == digest(row.body)


def _is_withdrawn(row: Resource, held: dict[str, bytes]) -> bool:
    """Whether somebody said on the server that this should never have been entered."""
    known = held.get(row.id or "")
    return known is not None and json.loads(known).get("status") == "entered-in-error"


class _Reader:
    """The rows of one file as resources; every complaint names file, line, column and what to do."""

    def __init__(
        self, path: Path, plan: Plan, mapping: Mapping, people: dict[str, str], own: Path | None
    ) -> None:
        self.path, self.plan, self.mapping, self.people, self.own = path, plan, mapping, people, own
        self.line = 1

    def wrong(self, column: str, why: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: {column}: {why}; nothing was loaded")

    def rows(self, held: dict[str, bytes]) -> Iterator[Resource]:
        """Each row's Observation; `held`: what is known already, by id. Raises InputError."""
        seen: dict[str, int] = {}
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                table = csv.DictReader(file, strict=True)
                self._check_columns(list(table.fieldnames or ()))
                for row in table:
                    self.line = table.line_num
                    if None in row or None in row.values():
                        raise self.wrong("row", "has more or fewer cells than there are columns")
                    made = self._resource(
                        {name: unguarded((row.get(name) or "").strip()) for name in table.fieldnames or ()}
                    )
                    before = seen.setdefault(made.id or "", self.line)
                    if before != self.line:
                        raise self.wrong(
                            "row", f"says the same subject, parameter, date and side as line {before}"
                        )
                    if _is_withdrawn(made, held):
                        raise self.wrong(
                            "row", "was withdrawn on the server (entered-in-error): take it out of the file"
                        )
                    yield made
        except UnicodeDecodeError:
            raise self.wrong("file", "is not UTF-8: save it as CSV UTF-8") from None
        except csv.Error:
            self.line += 1
            raise self.wrong("row", "is no CSV: look for an unclosed quotation mark") from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}); nothing was loaded") from None

    def _check_columns(self, names: list[str]) -> None:
        if missing := [name for name in COLUMNS if name not in names]:
            raise self.wrong(missing[0], f"no such column; wanted are {', '.join((*COLUMNS, *OPTIONAL))}")
        if unknown := [name for name in names if name not in (*COLUMNS, *OPTIONAL)]:
            raise self.wrong(unknown[0] or "an empty name", "not a column of this file; take it out")
        if len(set(names)) != len(names):
            raise self.wrong("header", "names a column twice")

    def _resource(self, row: dict[str, str]) -> Resource:
        shared = self._shared(row)
        judgement = self.mapping.tables["judgements"].preferred(row["paramcd"])
        record: Any
        if judgement is not None:
            record = self._judgement(row, shared, judgement["system"])
        elif row["paramcd"] in self.plan.parameters:
            record = self._measurement(row, shared)
        else:
            raise self.wrong("paramcd", "not a parameter of this study")
        try:
            plain = self.mapping.write(record)
        except Refused as error:
            raise self.wrong("row", str(error)) from None
        body = outgoing.entered(plain, by=row["entered_by"], at=row["entered_at"], document=row["source_doc"])
        if problems := gate.check(body, self.own):
            raise self.wrong("row", f"would not be valid FHIR: {problems[0]}")
        return Resource("Observation", record.id, body, where=f"{self.path.name}:{self.line}")

    def _shared(self, row: dict[str, str]) -> dict[str, Any]:
        """What every row says: whom it is about, when, and who typed it."""
        for column in ("usubjid", "paramcd", "adtc", "entered_by", "entered_at", "source_doc"):
            if not row[column]:
                raise self.wrong(column, "is empty")
        for column in ("adtc", "entered_at"):
            if not _DATE.fullmatch(row[column]) or calendar_date(row[column]) is None:
                raise self.wrong(column, "wants a date such as 2024-03-31, or with time and offset")
        if row["entered_at"][:10] < row["adtc"][:10]:
            raise self.wrong("entered_at", "before the value was taken")
        if row["usubjid"] not in self.people:
            raise self.wrong(
                "usubjid", "no Patient of the archive is this subject: pull first, or correct it"
            )
        if row["side"] and self.mapping.tables["sides"].preferred(row["side"]) is None:
            known = dict.fromkeys(one["side"] for one in self.mapping.tables["sides"].rows)
            raise self.wrong("side", f"wants {', '.join(known)}, or nothing")
        key = (row["usubjid"], row["paramcd"], row["adtc"], row["side"])
        return {
            "id": outgoing.identity("entered", self.plan.study.id, *key),
            "status": "final",
            "subject": self.people[row["usubjid"]],
            "when": When("dateTime", row["adtc"]),
        }

    def _judgement(self, row: dict[str, str], shared: dict[str, Any], system: str) -> Finding:
        """An investigator's judgement: a state, and no value."""
        for column in ("value", "unit", "side"):
            if row[column]:
                raise self.wrong(column, "a judgement has a state and nothing else: leave it empty")
        states = [one["state"] for one in self.mapping.tables["states"].rows if one["system"] == system]
        if row.get("state", "") not in states:
            raise self.wrong("state", f"wants {', '.join(states)}")
        return Finding(term=row["paramcd"], state=row["state"], **shared)

    def _measurement(self, row: dict[str, str], shared: dict[str, Any]) -> Measurement:
        """A measured value in a unit that is listed, inside its scale."""
        if row.get("state"):
            raise self.wrong("state", "only a judgement has a state: leave it empty")
        value = self._number(row["value"])
        unit, quantity = self._unit(row["paramcd"], row["unit"])
        parameter, exact = self.plan.parameters[row["paramcd"]], Fraction(value) * unit.factor
        if (parameter.low is not None and exact < parameter.low) or (
            parameter.high is not None and exact > parameter.high
        ):
            raise self.wrong("value", f"outside {parameter.low} to {parameter.high} {parameter.study_unit}")
        return Measurement(
            paramcd=row["paramcd"], value=value, side=row["side"] or None, **quantity, **shared
        )

    def _number(self, text: str) -> Decimal:
        if not _NUMBER.fullmatch(text):
            raise self.wrong("value", "wants a number with a decimal point, such as 6.3")
        try:
            value = Decimal(text)
        except InvalidOperation:  # more digits than any measurement has
            raise self.wrong("value", "has too many digits") from None
        if not math.isfinite(float(text)):
            raise self.wrong("value", "has too many digits")
        return value

    def _unit(self, paramcd: str, unit: str) -> tuple[Unit, dict[str, Any]]:
        """A listed unit, and how it is written; empty only where the code itself fixes the unit."""
        units, code = self.mapping.units, self.mapping.tables["codes"].preferred(paramcd)
        if not unit:
            bare = units.without(paramcd, code["system"], code["code"]) if code else None
            if bare is None:
                raise self.wrong("unit", "is empty")
            unit = bare.study_unit
        found = units.find(paramcd, gate.UCUM, unit, None)
        if found is not None:
            return found, {"unit_text": unit, "unit_system": gate.UCUM, "unit": unit}
        found = units.find(paramcd, None, None, unit)
        if found is None:
            known = dict.fromkeys(one for name, _, one in units.table if name == paramcd)
            raise self.wrong("unit", f"not listed for {paramcd}; listed are {', '.join(known)}")
        return found, {"unit_text": unit}
