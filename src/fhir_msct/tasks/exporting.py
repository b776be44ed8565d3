"""A pull by Bulk Data `$export`: an accelerator, never a proof.

What an export brought is held against the server's own counts like everything else; a type that it lost,
cut short or reported an error of is searched for in the same run, and so is everything where the export
fails or shows no progress. Each step is in the archive, so that a run that was killed, or whose token is no
longer good, goes on with the same job.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from fhir_msct.archive import bulk_jobs, proofs
from fhir_msct.archive.bulk_jobs import File, Job
from fhir_msct.archive.failures import spoken
from fhir_msct.archive.runs import Asked, Run
from fhir_msct.client.bulk import Accepted, Bulk
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.manifest import Listed
from fhir_msct.client.rest import Client
from fhir_msct.client.windows import instant_text, windows
from fhir_msct.dates import instant
from fhir_msct.errors import ServerFailed
from fhir_msct.plan import Plan, Wanted
from fhir_msct.tasks.export_counts import Counts
from fhir_msct.tasks.export_level import filters
from fhir_msct.tasks.export_lines import Lines
from fhir_msct.tasks.export_polls import Failed, Polls

LOST = "a kick-off whose answer was lost was sent again: the server may hold a job that nobody asks for"


class Exporting:
    """The export of one run."""

    def __init__(
        self,
        client: Client,
        run: Run,
        plan: Plan,
        wanted: Wanted,
        capability: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self._run, self._plan, self._wanted, self._say = run, plan.pull, wanted, say
        self._counts = Counts(client, run, wanted, capability)
        self._bulk = Bulk(client, plan.pull.file_origins)
        self._polls = Polls(self._bulk, client, plan.pull.stall_minutes, self._counts.require_token)
        self._tries = client.exchange.patience.tries
        self._expired = ""
        """Why there are no new addresses of files whose links have expired."""
        self._lines = Lines(run, wanted, client.base_url)

    def work(self) -> tuple[str, ...]:
        """Returns when the export is kept, or has failed, and what it lacks is to be searched for.

        The answer is what to know of it. Raises Unreachable, Interrupted where the disk is full, and what
        stops every request, such as a token that is no longer good: then the next run goes on with this job.
        """
        this = bulk_jobs.job(self._run)
        if this is None or this.state in ("kept", "failed"):
            return (this.why,) if this and this.why else ()
        try:
            why = self._worked(this)
        except OSError as error:  # of our own files: what the wire does has other names
            raise spoken(error, self._run.archive.place / bulk_jobs.FOLDER) from None
        self._say(why or "the export is here")
        return (why,) if why else ()

    def _worked(self, this: Job) -> str:
        try:
            this = self._accepted(this)
            this = self._listed(this)
            for file in bulk_jobs.files(self._run, this):
                self._file(this, file)
            return self._ended(this)
        except Failed as failed:
            why = f"the export was left, and everything searched for: {failed}"
            why = "; ".join([*self._so_far(), why])
            self._cancelled(this)
            bulk_jobs.finish(self._run, this, "failed", self._search(self._wanted.types), why=why)
            return why

    def _accepted(self, this: Job) -> Job:
        """The job, once the server has taken it on."""
        if this.state != "intent":
            self._say("going on with the export that was begun")
            return this
        self._counts.before()
        found = self._kicked_off(this)
        bulk_jobs.accepted(self._run, this, found.status_url, found.date.isoformat() if found.date else None)
        self._say(f"the server exports {', '.join(self._wanted.types)}")
        return self._again()

    def _kicked_off(self, this: Job) -> Accepted:
        """What the server says to the kick-off; that its answer was lost stands here until there is one."""
        asked = filters(self._wanted)
        bulk_jobs.note(self._run, this, LOST)
        try:
            return self._bulk.kick_off(this.level, self._wanted.types, since=this.since, filters=asked)
        except ServerFailed as error:
            bulk_jobs.note(self._run, this, this.why)
            if not isinstance(error, (Declined, Unusable)):
                raise
            self._counts.require_token(error)
            raise Failed(str(error)) from None

    def _listed(self, this: Job) -> Job:
        """The job, once its files are known."""
        if this.state != "accepted":
            return this
        parts = self._polls.manifests(this.status_url)
        moment = min(
            (found for found in (instant(part.transaction_time) for part in parts) if found), default=None
        )
        bulk_jobs.listed(
            self._run,
            this,
            [(one.kind, one.type, one.url, one.count) for part in parts for one in part.files],
            manifest="\n".join(part.text for part in parts),
            transaction_time=parts[0].transaction_time,
            token=all(part.requires_token for part in parts),  # where they differ, to none of the files
        )
        self._watermark(this, moment)
        return self._again()

    def _watermark(self, this: Job, moment: datetime | None) -> None:
        """The next pull begins at the earliest of all instants that may be meant, some minutes back.

        A server may give the job's end, or a step's start, as its transactionTime.
        """
        begun = instant(proofs.watermark(self._run))
        minutes = timedelta(minutes=self._plan.catch_up_minutes)
        told = [
            found - minutes for found in (moment, instant(bulk_jobs.kickoff_date(self._run, this))) if found
        ]
        if begun is not None:
            mark = instant_text(min([begun, *told]))
            proofs.advance(self._run, "", watermark=mark)

    def _file(self, this: Job, file: File) -> None:
        """One file: fetched, read, kept."""
        if file.state in ("kept", "failed"):
            return
        if file.kind == "output" and file.type not in self._wanted.types:
            bulk_jobs.end(self._run, file, "kept", why="not asked for")
            return
        try:
            if file.state == "listed":
                self._fetched(this, file)
            self._lines.keep(this, file)
        except (Declined, Unusable) as error:
            self._counts.require_token(error)
            bulk_jobs.end(self._run, file, "failed", why=str(error))

    def _fetched(self, this: Job, file: File) -> None:
        part = bulk_jobs.part(self._run, file)
        listed = Listed(kind="output", type=file.type, url=file.url, count=file.count)
        try:
            self._bulk.download(listed, part, requires_token=this.token)
        except Declined as error:
            if error.status not in (403, 404, 410):
                raise
            fresh = self._fresh(this, file)
            listed = msgspec.structs.replace(listed, url=fresh)
            self._bulk.download(listed, part, requires_token=this.token)
        bulk_jobs.here(self._run, file)

    def _fresh(self, this: Job, file: File) -> str:
        """A new address of a file whose link has expired, from the manifest as it is now."""
        if self._expired:
            raise Unusable("gone", self._expired)
        try:
            parts = self._polls.manifests(this.status_url, self._tries)
        except Failed as error:
            self._expired = f"$export file: it expired: {error}"
            raise Unusable("gone", self._expired) from None
        now = [one for part in parts for one in part.files]
        before = bulk_jobs.files(self._run, this)
        if [(one.kind, one.type, one.count) for one in before] != [(o.kind, o.type, o.count) for o in now]:
            raise Unusable("gone", "$export file: it expired, and the manifest has changed")
        pairs = [(old.id, new.url) for old, new in zip(before, now, strict=True)]
        bulk_jobs.relisted(self._run, pairs)
        return dict(pairs)[file.id]

    def _ended(self, this: Job) -> str:
        """Ends the job: what it lacks is opened as windows, and what is known of it said in a sentence."""
        files = bulk_jobs.files(self._run, this)
        outputs = [file for file in files if file.kind == "output"]
        failed = {file.type: file.why for file in outputs if file.state == "failed"}
        errors = sum(file.lines or 1 for file in files if file.kind == "error")
        absent = {type_ for type_ in self._wanted.types if type_ not in {file.type for file in outputs}}
        whys = self._so_far()
        whys += [f"{type_} was searched for: {why}" for type_, why in sorted(failed.items())]
        if [file for file in files if file.kind == "deleted" and file.state == "failed"]:
            whys.append("the list of deletions could not be read: ids are compared instead")
        if not this.since:  # everything; since an instant most types bring nothing
            whys += [f"no file of {type_} came: it was searched for" for type_ in sorted(absent)]
        lacking = {*failed, *absent}
        if errors:
            whys.append(f"the export reported {errors} errors: everything was searched for as well")
            lacking = {*self._wanted.types}
        self._cancelled(this)
        for proof in proofs.proofs(self._run):
            if proof.type not in lacking or proof.since:
                proofs.prove(self._run, msgspec.structs.replace(proof, how=self._counts.how(proof)))
        why = "; ".join(whys)
        bulk_jobs.finish(self._run, this, "kept", self._search(lacking), why=why)
        return why

    def _cancelled(self, this: Job) -> None:
        """Tells the server that the job can go; what it answers changes nothing."""
        now = bulk_jobs.job(self._run) or this
        if now.status_url:
            self._bulk.cancel(now.status_url)

    def _so_far(self) -> list[str]:
        """What is to be known of the job whatever becomes of it."""
        now = bulk_jobs.job(self._run)
        return [now.why] if now and now.why else []

    def _search(self, types: Iterable[str]) -> list[Asked]:
        since = {proof.type: proof.since for proof in proofs.proofs(self._run)}
        wanted = msgspec.structs.replace(self._wanted, types=tuple(sorted(types)))
        return [
            Asked(one.type, one.patients, since[one.type], "", not since[one.type])
            for one in windows(wanted, self._run.patients)
        ]

    def _again(self) -> Job:
        this = bulk_jobs.job(self._run)
        if this is None:
            raise Failed("it is not known any more")
        return this
