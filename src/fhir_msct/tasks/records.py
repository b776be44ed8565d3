"""Archive to records: every resource is mapped, set aside with a reason, or out of scope.

The counts of the two sides, the archive's by query and ours by heap, must add up.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct import tables
from fhir_msct.archive.store import Archive
from fhir_msct.errors import MsctError
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.reading import Reading
from fhir_msct.outcomes import complete, open_courses
from fhir_msct.outcomes.reviews import read_reviews
from fhir_msct.outcomes.values import EXPONENT
from fhir_msct.plan import Plan
from fhir_msct.records import Finding, Measurement, SetAside, StudyRecords, Subject, Transplant
from fhir_msct.tasks import frames
from fhir_msct.tasks.stage import stage

FILES: dict[str, type] = {
    "subjects": Subject,
    "measurements": Measurement,
    "transplants": Transplant,
    "findings": Finding,
    "set_aside": SetAside,
}
"""The tables of the `records` stage, each a CSV and (but for what was set aside) a Parquet file."""


class RecordsReport(Struct, frozen=True):
    """What became of every resource, per type: seen = mapped + set aside + out of scope."""

    accounts: dict[str, dict[str, int]]
    reasons: dict[str, dict[str, int]]
    out_of_scope: tuple[tuple[str, str, str, int], ...]
    complete: bool

    @property
    def total(self) -> Counter[str]:
        """The sums over all types."""
        return sum((Counter(account) for account in self.accounts.values()), Counter())


class _Sorted:
    """The readings of a whole archive, each in exactly one heap."""

    def __init__(self) -> None:
        self.records: dict[type, list[Any]] = {kind: [] for kind in FILES.values()}
        self.counts: dict[str, Counter[str]] = {}
        self.reasons: dict[str, Counter[str]] = {}
        self.codes: Counter[tuple[str, str, str]] = Counter()

    def add(self, kind: str, reading: Reading) -> None:
        """One resource's reading, into its heap and its count."""
        counts = self.counts.setdefault(kind, Counter())
        reading = _measured(kind, reading)
        if reading.records:
            counts["mapped"] += 1
            for record in reading.records:
                self.records[type(record)].append(record)
        elif reading.set_aside:
            counts["set_aside"] += 1
            self.records[SetAside] += reading.set_aside
            self.reasons.setdefault(kind, Counter())[reading.set_aside[0].reason] += 1
        elif reading.out is not None:
            counts["out_of_scope"] += 1
            self.codes[(kind, *reading.out)] += 1


def _measured(kind: str, reading: Reading) -> Reading:
    """A reading; its resource is set aside where a value is one that no statistic can hold."""
    for record in reading.records:
        value = record.aval if isinstance(record, Measurement) else None
        if value and not -EXPONENT < value.adjusted() < EXPONENT:
            why = ("not-a-number", "", "Observation.valueQuantity")
            return Reading(set_aside=(SetAside(kind, record.id or "", record.source, *why),))
    return reading


def records(folder: Path, plan: Plan, *, say: Callable[[str], None]) -> RecordsReport:
    """Reads the archive of a study folder and writes `records/`, whole or not at all.

    Raises MsctError when the counts do not add up (nothing is written then), and what `Mapping.load`
    and the archive raise.
    """
    mapping = Mapping.load(folder, plan)
    with Archive.open(folder) as archive:
        pull = archive.last_pull()
        base = pull.base_url if pull else None
        patients = mapping.patients(archive.current("Patient"), base)
        context = mapping.context_for(patients)
        heaps = _Sorted()
        for kind in archive.types():
            say(f"reading {kind}")
            for resource in archive.current(kind):
                heaps.add(kind, mapping.reading(resource, context))
        report = _account(heaps, archive.accounts(), bool(pull and pull.complete))
    found = _study(heaps, folder, plan)
    inputs = [folder / name for name in ("archive/archive.sqlite", "study.toml", "mappings", "reviews.csv")]
    facts = {"server_date": pull.server_date if pull else None, "server": _server(pull)}
    with stage(folder, "records", inputs=inputs, complete=report.complete, **facts) as out:
        _write(out, found)
        (out / "accounting.json").write_bytes(_accounting(report, base))
    return report


def _account(heaps: _Sorted, archived: dict[str, Any], complete: bool) -> RecordsReport:
    """The counts of both sides, which must be equal: the archive's by query, ours by heap."""
    accounts: dict[str, dict[str, int]] = {}
    for kind, account in sorted(archived.items()):
        ours = heaps.counts.get(kind, Counter())
        counted = {name: ours[name] for name in ("mapped", "set_aside", "out_of_scope")}
        accounts[kind] = {"seen": account.seen, **counted, **_beside(account)}
        if account.seen != sum(counted.values()):
            raise MsctError(
                f"{kind}: {account.seen} resources seen, but {sum(counted.values())} accounted for: "
                "nothing was written; this is a defect of fhir-msct, please report it"
            )
    codes = tuple((*key, count) for key, count in sorted(heaps.codes.items()))
    reasons = {kind: dict(sorted(counts.items())) for kind, counts in sorted(heaps.reasons.items())}
    return RecordsReport(accounts, reasons, codes, complete)


def _beside(account: Any) -> dict[str, int]:
    names = ("superseded", "deleted", "duplicate", "not_fhir", "lines_read")
    return {name: getattr(account, name) for name in names}


def _study(heaps: _Sorted, folder: Path, plan: Plan) -> StudyRecords:
    """All records, with courses opened and subjects completed."""
    transplants = open_courses(heaps.records[Transplant], plan, read_reviews(folder / "reviews.csv"))
    found = StudyRecords(
        subjects=_one_a_person(heaps.records[Subject]),
        measurements=tuple(heaps.records[Measurement]),
        transplants=tuple(transplants),
        findings=tuple(heaps.records[Finding]),
        set_aside=tuple(heaps.records[SetAside]),
    )
    return msgspec.structs.replace(found, subjects=tuple(complete(found.subjects, found, plan)))


def _one_a_person(subjects: Iterable[Subject]) -> tuple[Subject, ...]:
    """One row a subject: a replaced Patient adds its source and its flag to the one that replaced it."""
    found: dict[str, Subject] = {}
    for one in sorted(subjects, key=lambda s: ("replaced_by" in s.flags, s.source)):
        first = found.setdefault(one.usubjid, one)
        if first is not one:
            flags = tuple(dict.fromkeys((*first.flags, *one.flags)))
            source = f"{first.source} {one.source}"
            found[one.usubjid] = msgspec.structs.replace(first, flags=flags, source=source)
    return tuple(found.values())


def _write(out: Path, found: StudyRecords) -> None:
    for name, kind in FILES.items():
        rows = getattr(found, name)
        (out / f"{name}.csv").write_bytes(tables.csv_bytes(rows, kind))
        if kind is not SetAside:
            frames.write_parquet(out / f"{name}.parquet", rows, kind)


def _accounting(report: RecordsReport, base: str | None) -> bytes:
    names = ("type", "system", "code", "count")
    document = {
        "types": report.accounts,
        "set_aside": report.reasons,
        "out_of_scope": [dict(zip(names, row, strict=True)) for row in report.out_of_scope],
        "complete": report.complete,
        "base": base,
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _server(pull: Any) -> str | None:
    return f"{pull.software} {pull.version}".strip() if pull and pull.software else None


def read_records(folder: Path) -> StudyRecords:
    """The records of a study folder, from its CSV files. Raises InputError where a file is missing."""
    home = folder / "records"
    return StudyRecords(**{name: tables.read_csv(home / f"{name}.csv", kind) for name, kind in FILES.items()})
