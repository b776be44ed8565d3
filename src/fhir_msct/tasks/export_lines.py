"""The lines of exported files: kept, applied, counted, or set apart because nobody asked for them."""

from collections.abc import Iterator
from hashlib import sha256

import msgspec

from fhir_msct.archive import bulk_jobs
from fhir_msct.archive.bulk_jobs import File, Job
from fhir_msct.archive.runs import Quarantined, Run
from fhir_msct.client.damage import Damage
from fhir_msct.client.failures import Unusable
from fhir_msct.client.folder import read_lines
from fhir_msct.client.windows import Gauge, Window, patient_of
from fhir_msct.plan import Wanted
from fhir_msct.records import Resource
from fhir_msct.tasks.batches import batches


class Lines:
    """What the files of one run's export hold."""

    def __init__(self, run: Run, wanted: Wanted, base_url: str) -> None:
        self._run, self._wanted, self._base = run, wanted, base_url
        self._gauge, self._cohort = Gauge(run.patients, base_url), frozenset(run.patients)

    def keep(self, this: Job, file: File) -> None:
        """Reads a file that is here, and writes down that it was; raises Unusable where it is not whole."""
        if file.kind == "output":
            self._kept(this, file)
        elif file.kind == "deleted":
            self._deleted(file)
        else:
            self._errors(file)

    def _kept(self, this: Job, file: File) -> None:
        """Keeps what is of the cohort; the rest is counted and hashed."""
        bulk_jobs.begin_keeping(self._run, file)
        lines = damaged = 0
        for batch in batches(self._lines(file)):
            kept, aside = list[Resource](), list[Quarantined]()
            for item in batch:
                lines += 1
                damaged += isinstance(item, Damage)
                self._put(this, file, item, kept, aside)
            bulk_jobs.keep(self._run, kept, aside)
        if damaged:
            raise Unusable("damaged", f"{damaged} lines of an exported file of {file.type} cannot be read")
        if file.count is not None and file.count != lines:
            raise Unusable("count", f"{file.type}: {file.count} lines were announced, {lines} came")
        bulk_jobs.end(self._run, file, "kept", lines=lines)

    def _lines(self, file: File) -> Iterator[Resource | Damage]:
        """What a file holds; pages among it say nothing here, where the server counts."""
        found = read_lines(f"export {file.id}", bulk_jobs.path(self._run, file))
        return (item for item in found if isinstance(item, Resource | Damage))

    def _put(
        self, this: Job, file: File, item: Resource | Damage, kept: list[Resource], aside: list[Quarantined]
    ) -> None:
        if isinstance(item, Damage):
            place = {"place": item.where, "length": item.length, "lost": False}
            aside.append(Quarantined(sha256=item.sha256, reason=item.reason, type=file.type, **place))  # type: ignore[arg-type]
            return
        why = self._outside(this, file, item)
        if not why:
            kept.append(msgspec.structs.replace(item, where=""))
            return
        aside.append(
            Quarantined(
                sha256=sha256(item.body).hexdigest(),
                reason=f"outside-{why}",
                type=item.type,
                place=item.where,
                length=len(item.body),
                lost=False,
            )
        )

    def _outside(self, this: Job, file: File, item: Resource) -> str:
        """Why a line is not kept: another type or code, or of nobody who is known to be of the cohort."""
        codes = self._wanted.codes.get(file.type, ())
        found = self._gauge.outside(Window(type=file.type, patients=(), codes=codes), item)
        if found:
            return found.why
        if item.type == "Patient" or this.level.startswith("Group/"):
            return ""
        return "" if patient_of(item.body, self._base) in self._cohort else "cohort"

    def _deleted(self, file: File) -> None:
        """Applies deletions of what an older pull brought; others are of no concern here."""
        lines = 0
        found = list[Resource]()
        for item in self._lines(file):
            lines += 1
            if (
                isinstance(item, Resource)
                and item.deleted
                and bulk_jobs.known(self._run, item.type, item.id or "")
            ):
                found.append(msgspec.structs.replace(item, where=""))
        bulk_jobs.keep(self._run, found, ())
        bulk_jobs.end(self._run, file, "kept", lines=lines)

    def _errors(self, file: File) -> None:
        """Counts the errors that the server reports; their texts may name patients, and are not kept."""
        lines = sum(1 for _ in self._lines(file))
        bulk_jobs.end(self._run, file, "kept", lines=lines)
