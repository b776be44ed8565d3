"""The model server's `$export`: jobs that take their time, manifests in every dialect, files, expiry.

Which dialect it speaks, when a job's data are looked at and where its files lie is drawn once for each
server; what goes wrong with one answer is the fault of that request (`fault`), as everywhere.
"""

import base64
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import httpx

from faults.model import Key, ModelServer, Tree
from lib.fake_fhir import matches, reply, status

FILES = "https://files.hospital.test/bucket"
"""Where another origin keeps the files."""

ELSEWHERE = "https://copies.cloud.test/bucket"
"""Where a file may be sent on to that wants no token; what lies there need not be what was exported."""

NDJSON = "application/fhir+ndjson"
PAGES, PATH = "export-job", "exported"

KICKED = ("kick-refused", "kick-odd")
POLLED = (
    *("job-failed", "job-gone", "job-stalls", "poll-transient", "manifest-odd", "manifest-circle"),
    *("type-missing", "file-missing", "count-wrong", "error-file", "deleted-lives"),
)
FILED = (
    *("file-expired", "job-gone", "line-damaged", "lines-missing", "lines-blank", "no-final-newline"),
    *("line-stranger", "line-other-type", "line-repeated", "line-older", "line-lagging", "binary-wrapped"),
)


_STRANGER = b'{"resourceType":"Observation","id":"x","subject":{"reference":"Patient/nobody-of-ours"}}'
_FALSE = {"empty": b"", "false": _STRANGER + b"\n"}
"""What may lie elsewhere instead of a file."""


class File(NamedTuple):
    """One file of a job."""

    kind: str
    type: str
    lines: tuple[bytes, ...]


class Job:
    """One export."""

    def __init__(self, level: str, types: Sequence[str], since: datetime | None, begun: datetime) -> None:
        self.level, self.types, self.since, self.begun = level, types, since, begun
        self.ready, self.files = 0.0, dict[str, tuple[File, ...]]()
        self.filters: dict[str, str] = {}
        self.generation = 0
        self.listed: list[File] | None = None
        self.polls = 0

    @property
    def all(self) -> list[File]:
        """Its files, in the order of the manifest."""
        return [file for files in self.files.values() for file in files]


class ExportServer(ModelServer):
    """A model server that exports."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.jobs: dict[int, Job] = {}
        self.kicked = 0
        self.erased: dict[Key, datetime] = {}
        self.elsewhere: Counter[str] = Counter()
        """What was found on another host in place of a file."""
        self.fault: Callable[[], str] = str
        self.wait_told: Callable[[int], tuple[str, str]] = lambda number: ("", "")
        self.lagging: Callable[[bytes], bytes] = bytes
        self.manner(random.Random(0))

    def manner(self, chance: random.Random) -> None:
        """How this server does it, once and for all."""
        self._chance, pick = chance, chance.choice
        self.of_patients = chance.random() < 0.7
        self.dialect = pick(["get", "get", "post", "post-first-only"])
        self.looks = pick(["begin", "end", "mixed"])
        self.lines, self.page = pick([1, 3, 10, 1000]), pick([0, 0, 1, 3])
        self.counts, self.newer, self.token = pick([True, False]), pick([True, False]), pick([True, False])
        self.foreign, self.listed = chance.random() < 0.4, chance.random() < 0.6
        self.filter_rule = pick(["heeded", "heeded", "ignored", "refused"])
        self.since_rule = pick(["gt", "gt", "ge", "ignored"])
        self.tells_deleted, self.keeps_finished = chance.random() < 0.6, chance.random() < 0.3
        self.progress = pick(["constant", "percent", "hapi", ""])
        self.says_when = chance.random() < 0.5
        self.transaction_time = pick(["begin", "end", "nanoseconds", "garbage", "", "future"])
        self.longest = pick([0, 0, 30, 600, 7200])
        self.media = pick([NDJSON, NDJSON, "application/ndjson", "application/octet-stream", "text/plain"])
        self.extra = chance.random() < 0.3

    def say_able(self, types: Iterable[str], *, since: bool, history: bool) -> None:
        super().say_able(types, since=since, history=history)
        operation = [{"name": "export", "definition": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition"}]
        rest = self.metadata["rest"][0]
        rest["operation"] = operation
        rest["resource"] += [{"type": "Group", "operation": operation}]
        if self.of_patients:
            next(one for one in rest["resource"] if one["type"] == "Patient")["operation"] = operation

    def erase(self, key: Key) -> None:
        super().erase(key)
        self.erased[key] = self.now

    def answer(self, request: httpx.Request) -> httpx.Response:
        self._show()
        parts = str(request.url).partition("?")[0].removeprefix(self.base).strip("/").split("/")
        if str(request.url).startswith(ELSEWHERE):
            return self._elsewhere(request, parts[-1])
        if str(request.url).startswith(FILES) or parts[0] == PATH:
            return self._file(request, parts[-1])
        if parts[-1] == "$export":
            return self._kick_off(request, "/".join(parts[:-1]))
        if parts[0] == PAGES:
            return self._job(request, int(parts[1]))
        return super().answer(request)

    # --- the job ------------------------------------------------------------------------------------------

    def _kick_off(self, request: httpx.Request, level: str) -> httpx.Response:
        assert request.headers["accept"] == "application/fhir+json"
        assert "respond-async" in request.headers["prefer"]
        if self.fault() == "kick-refused":
            return status(self._chance.choice([400, 403, 404, 422, 501]), "not-supported")(request)
        if request.method != ("GET" if self.dialect == "get" else "POST"):
            return status(405, "not-supported")(request)
        asked = _asked(request)
        named = [text for name, text in asked if name == "_type"]
        filters = dict(text.split("?code=") for name, text in asked if name == "_typeFilter")
        assert {name for name, _ in asked} <= {"_type", "_typeFilter", "_since"}
        if filters and self.filter_rule == "refused":
            return status(400, "not-supported")(request)
        if self.dialect != "get" and any("," in text for text in named):
            return status(400, "invalid")(request)
        types = named[0].split(",") if self.dialect != "post" else named
        since = next((datetime.fromisoformat(text) for name, text in asked if name == "_since"), None)
        self.kicked += 1
        job = self.jobs[self.kicked] = Job(level, types, since, self.now)
        job.filters = filters if self.filter_rule == "heeded" else {}
        job.ready = self.time.now + self._chance.uniform(0, self.longest)
        self._look(job, types if self.looks == "begin" else types[::2] if self.looks == "mixed" else ())
        place = f"{self.base}/{PAGES}/{self.kicked}"
        if self.fault() == "kick-odd":
            place = self._chance.choice(["", f"https://evil.test/{PAGES}/1"])
        elif self._chance.random() < 0.3:
            place = f"{PAGES}/{self.kicked}"
        return self._json(202, b"", Content_Location=place)

    def _job(self, request: httpx.Request, number: int) -> httpx.Response:
        job, fault = self.jobs.get(number), self.fault()
        if fault == "job-gone":
            self.jobs.pop(number, None)
            job = None
        if job is None:
            return status(self._chance.choice([404, 410]), "not-found")(request)
        if request.method == "DELETE":
            finished = self.time.now >= job.ready
            if finished and self.keeps_finished:
                return status(404, "not-found")(request)
            del self.jobs[number]
            return status(202, "informational")(request)
        if fault == "job-stalls":
            job.ready = float("inf")
        if fault == "job-failed":
            job.ready = float("inf")
            return status(500, "exception")(request)
        if fault == "poll-transient":
            return status(self._chance.choice([400, 500, 503]), "transient")(request)
        if self.time.now < job.ready:
            return self._not_yet(number, job)
        self._look(job, [type_ for type_ in job.types if type_ not in job.files])
        page = int(dict(parse_qsl(request.url.query.decode())).get("page", "0"))
        return self._json(200, self._manifest(job, number, page), Content_Type="application/json")

    def _not_yet(self, number: int, job: Job) -> httpx.Response:
        job.polls += 1
        said = {
            "constant": "in progress",
            "percent": f"{min(job.polls, 99)}%",
            "hapi": f"Build in progress - Status set to IN_PROGRESS at {job.begun.isoformat()}",
            "": "",
        }[self.progress]
        text, date = self.wait_told(number) if self.says_when else ("", "")
        return reply(202, X_Progress=said, Retry_After=text, **({"Date": date} if date else {}))

    # --- what it consists of ------------------------------------------------------------------------------

    def _look(self, job: Job, types: Iterable[str]) -> None:
        """The data of these types, as they are now."""
        for type_ in types:
            found = [body for key, body in sorted(self.held.items()) if key[0] == type_]
            lines = [body for body in found if self._within(job, body)]
            parts = [lines[at : at + self.lines] for at in range(0, len(lines), self.lines)]
            made = [File("output", type_, tuple(part)) for part in parts]
            if job.since and self.tells_deleted and (gone := self._gone(job, type_)):
                made.append(File("deleted", "Bundle", gone))
            if self.extra and type_ == "Patient":
                made.append(File("output", "Encounter", (b'{"resourceType":"Encounter","id":"e1"}',)))
            job.files[type_] = tuple(made)

    def _within(self, job: Job, body: bytes) -> bool:
        tree = json.loads(body)
        owner = tree["id"] if tree["resourceType"] == "Patient" else _owner(tree)
        if job.level.startswith("Group/"):
            members = json.loads(self.held["Group", job.level.partition("/")[2]])["member"]
            if f"Patient/{owner}" not in [one["entity"]["reference"] for one in members]:
                return False
        if (code := job.filters.get(tree["resourceType"])) and not matches(body, {"code": code}):
            return False
        if job.since is None or self.since_rule == "ignored":
            return True
        stamp = datetime.fromisoformat(tree["meta"]["lastUpdated"])
        return stamp >= job.since if self.since_rule == "ge" else stamp > job.since

    def _gone(self, job: Job, type_: str) -> tuple[bytes, ...]:
        """Deletions since, some to a line; what lives again is not among them."""
        gone = [
            key[1]
            for key, moment in sorted(self.erased.items())
            if key[0] == type_ and key not in self.held and job.since and moment >= job.since
        ]
        return tuple(_deletions(type_, gone[at : at + self.lines]) for at in range(0, len(gone), self.lines))

    def _manifest(self, job: Job, number: int, page: int) -> bytes:
        fault = self.fault()
        if fault == "manifest-odd":
            return self._chance.choice([b"{}", b"[]", b'{"output":null}', b'{"output":[{"type":"Patient"}]}'])
        files = job.listed or self._bent(job)
        job.listed = files
        size = self.page or len(files) or 1
        shown = files[page * size : (page + 1) * size]
        tree: Tree = {"request": f"{self.base}/$export", "requiresAccessToken": self.token, "output": []}
        if self.token and self._chance.random() < 0.3:
            del tree["requiresAccessToken"]
        tree["transactionTime"] = self._transaction_time(job)
        tree |= {"extension": [], "outcome": []} if self.newer else {"extension": {}, "error": []}
        for at, file in enumerate(shown, start=page * size):
            names = {"error": "outcome" if self.newer else "error"}
            tree.setdefault(names.get(file.kind, file.kind), []).append(self._entry(job, number, at, file))
        if (page + 1) * size < len(files):
            tree["link"] = [{"relation": "next", "url": f"{self.base}/{PAGES}/{number}?page={page + 1}"}]
        if fault == "manifest-circle":
            tree["link"] = [{"relation": "next", "url": f"{self.base}/{PAGES}/{number}"}]
        return json.dumps(tree).encode()

    def _entry(self, job: Job, number: int, at: int, file: File) -> Tree:
        where = FILES if self.foreign else f"{self.base}/{PATH}"
        shown = {"type": file.type, "url": f"{where}/{number}-{at}-{job.generation}?sig=s3cr3t"}
        count = len(file.lines) + (self._chance.choice([-1, 1, 5]) if self.fault() == "count-wrong" else 0)
        counted = (self.counts or self.fault() == "count-wrong") and file.kind == "output"
        return {**shown, "count": count} if counted else shown

    def _bent(self, job: Job) -> list[File]:
        """The files that the manifest lists from its first showing on."""
        files, fault = job.all, self.fault()
        if fault == "type-missing" and job.types:
            lost = self._chance.choice(list(job.types))
            files = [file for file in files if file.type != lost]
        if fault == "file-missing" and files:
            files.pop(self._chance.randrange(len(files)))
        if fault == "error-file":
            issue = {"severity": "error", "code": "exception"}
            outcome = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()
            files.append(File("error", "OperationOutcome", (outcome,) * self._chance.randrange(1, 3)))
        if fault == "deleted-lives":
            ids = sorted(key[1] for key in self.held if key[0] == "Observation")[:2]
            files.append(File("deleted", "Bundle", (_deletions("Observation", ids),)))
        return files

    def _transaction_time(self, job: Job) -> str:
        said = {
            "begin": job.begun.isoformat(),
            "end": self.now.isoformat(),
            "nanoseconds": job.begun.strftime("%Y-%m-%dT%H:%M:%S.%f123Z"),
            "future": (self.now + timedelta(days=1)).isoformat(),
        }
        return said.get(self.transaction_time, self.transaction_time)

    # --- the files ----------------------------------------------------------------------------------------

    def _file(self, request: httpx.Request, name: str) -> httpx.Response:
        number, at, generation = (int(part) for part in name.split("-"))
        job = self.jobs.get(number)
        if self.fault() == "file-expired" and job:
            job.generation += 1
        if self.fault() == "job-gone":
            job = self.jobs.pop(number, None) and None
        if job is None or generation != job.generation or job.listed is None:
            return status(self._chance.choice([403, 404, 410]), "not-found")(request)
        if self.token and "authorization" not in request.headers:
            return status(401, "login")(request)
        assert request.headers["accept"] == NDJSON
        body = self._text(job.listed[at])
        if self.fault() == "binary-wrapped":
            data = base64.b64encode(body).decode()
            wrapped = json.dumps({"resourceType": "Binary", "contentType": NDJSON, "data": data})
            return reply(200, wrapped, "application/fhir+json")
        return reply(200, body, self.media)

    def _elsewhere(self, request: httpx.Request, name: str) -> httpx.Response:
        """The file on a host that nobody vouches for: a true copy, none, an empty or a false one."""
        kind = self._chance.choice(["copy", "copy", "none", "empty", "false"])
        self.elsewhere[kind] += 1
        if kind == "none":
            return status(404, "not-found")(request)
        return self._file(request, name) if kind == "copy" else reply(200, _FALSE[kind], self.media)

    def _text(self, file: File) -> bytes:
        lines, fault, chance = list(file.lines), self.fault(), self._chance
        if fault == "line-damaged":
            at = chance.randrange(len(lines))
            whole = lines[at]
            bad = [whole[: chance.randrange(1, len(whole))], b"\xff" + whole, whole + b"}", b"null"]
            lines[at] = chance.choice(bad)
        if fault == "lines-missing":
            del lines[chance.randrange(len(lines)) :]
        if fault == "line-repeated":
            lines += chance.sample(lines, min(2, len(lines)))
        if fault == "line-stranger":
            lines.append(_STRANGER)
        if fault == "line-other-type":
            lines.append(b'{"resourceType":"Device","id":"x"}')
        if fault == "line-older":
            lines += [old for line in file.lines for old in self._older(line)][:3]
        if fault == "line-lagging":
            lines = [self.lagging(line) for line in lines]
        end = b"\r\n" if fault == "lines-blank" else b"\n"
        if fault == "lines-blank":
            lines.insert(chance.randrange(len(lines) + 1), b"")
        whole = b"".join(line + end for line in lines)
        return whole[:-1] if fault == "no-final-newline" else whole

    def _older(self, line: bytes) -> list[bytes]:
        tree = json.loads(line)
        written = self.history.get((tree["resourceType"], tree.get("id", "")), [])
        return [one.body for one in written[:-1] if one.body is not None and one.body != line]


def _asked(request: httpx.Request) -> list[tuple[str, str]]:
    """The parameters of a kick-off, from its address or its Parameters."""
    if request.method == "GET":
        return parse_qsl(request.url.query.decode())
    listed = json.loads(request.read())["parameter"]
    return [(one["name"], one.get("valueString") or one["valueInstant"]) for one in listed]


def _deletions(type_: str, ids: Iterable[str]) -> bytes:
    entries = [{"request": {"method": "DELETE", "url": f"{type_}/{id_}"}} for id_ in ids]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


def _owner(tree: Tree) -> str:
    reference: str = tree.get("subject", {}).get("reference", "")
    return reference.removeprefix("Patient/")
