"""Bulk Data `$export` at system, Patient and Group level: kick-off, status, manifest, files, cancelling.

https://hl7.org/fhir/uv/bulkdata/export.html. As on a HAPI server a repeated `_type` counts once: only the
first is exported, without a word. What can go wrong here stands with the other faults (`faults.py`).
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fhir_msct.sandbox import compartment
from fhir_msct.sandbox.compartment import ANYBODY, belongs
from fhir_msct.sandbox.desk import Desk
from fhir_msct.sandbox.faults import Trouble
from fhir_msct.sandbox.moments import instant_text, moment
from fhir_msct.sandbox.outcome import Rejected, operation_outcome
from fhir_msct.sandbox.parameters import TYPES

PATH = "/fhir"
LINES = 100
"""Resources of one file."""

_FHIR, _NDJSON = "application/fhir+json", "application/fhir+ndjson"


class File(NamedTuple):
    """One file of a job: which list of the manifest it stands in, and its lines."""

    kind: str
    type: str
    lines: tuple[bytes, ...]


class Job:
    """An export as it was at its kick-off."""

    def __init__(self, request: str, time: str, files: Sequence[File], token: bool) -> None:
        self.request, self.time, self.files, self.token = request, time, tuple(files), token
        self.polls, self.done = 0, False


class Exports:
    """The exports of one server."""

    def __init__(self, desk: Desk, trouble: Trouble) -> None:
        self._desk, self._trouble = desk, trouble
        self._jobs: dict[str, Job] = {}

    def routes(self) -> list[Route]:
        """What the server answers; to be asked before the routes of resources."""
        start = self._answer(self._kick_off)
        return [
            Route(PATH + "/$export", start, methods=["GET", "POST"]),
            Route(PATH + "/Patient/$export", start, methods=["GET", "POST"]),
            Route(PATH + "/Group/{group}/$export", start, methods=["GET", "POST"]),
            Route(PATH + "/$export-status/{job}", self._answer(self._status), methods=["GET"]),
            Route(PATH + "/$export-status/{job}", self._answer(self._cancel), methods=["DELETE"]),
            Route(PATH + "/$export-file/{job}/{number:int}", self._answer(self._file), methods=["GET"]),
        ]

    def _answer(self, handle: Callable[[Request, bytes], Response]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                return handle(request, await request.body())
            except Rejected as no:
                headers = {"WWW-Authenticate": "Bearer"} if no.status == 401 else None
                return Response(no.body, no.status, headers, media_type=_FHIR)

        return answer

    def _admit(self, request: Request) -> Callable[[str], bool]:
        """Says of a type whether the token of a request may read it."""
        said, desk = request.headers.get("Authorization"), self._desk
        if desk.token is not None and said != f"Bearer {desk.token}":
            raise Rejected(401, "a bearer token is needed, and this is not it")
        if desk.smart is None:
            return lambda type_: True
        grant = desk.smart.admit(said, desk.clock())
        if grant is None:
            raise Rejected(401, "a token is needed that is neither over nor revoked")
        return lambda type_: grant.allows(type_, "r")

    def _strikes(self, name: str, request: Request) -> bool:
        return self._trouble.strikes(name, f"{request.method} {request.url.path}")

    def _kick_off(self, request: Request, body: bytes) -> Response:
        may = self._admit(request)
        if "respond-async" not in request.headers.get("Prefer", ""):
            raise Rejected(400, "the Prefer header must be respond-async")
        if request.headers.get("Accept") != _FHIR:
            raise Rejected(400, f"the Accept header must be {_FHIR}")
        if request.method == "GET" and self._strikes("export_post_only", request):
            raise Rejected(405, "kick-off is by POST")
        pairs = _posted(body) if request.method == "POST" else request.query_params.multi_items()
        patients = self._patients(request)
        asked = next((value for name, value in pairs if name == "_type"), "").split(",")
        types = _wanted([type_ for type_ in asked if type_], patients, may)
        since = next((value for name, value in pairs if name == "_since"), "")
        name = uuid4().hex
        now, desk = instant_text(self._desk.clock()), self._desk
        files = [*self._files(types, patients, since)]
        token = desk.token is not None or desk.smart is not None
        self._jobs[name] = Job(str(request.url), now, files, token)
        place = f"{_base(request)}/$export-status/{name}"
        text = operation_outcome(202, "the export was accepted", severity="information")
        return Response(text, 202, {"Content-Location": place}, media_type=_FHIR)

    def _files(self, types: list[str], patients: frozenset[str] | None, since: str) -> Iterator[File]:
        for type_ in types:
            if self._trouble.faults.export_lost_type == type_:
                continue
            found = [
                version.body
                for version in self._desk.interactions.all(type_)
                if version.body is not None
                and (patients is None or belongs(version.body, type_, patients))
                and _after(version.last_updated, since)
            ]
            for start in range(0, len(found), LINES):
                yield File("output", type_, tuple(found[start : start + LINES]))
        gone = (
            [(type_, id_) for type_ in types for id_ in self._gone(type_, patients, since)] if since else []
        )
        if gone:
            yield File("deleted", "Bundle", tuple(_deletion(*one) for one in gone))
        if self._trouble.faults.export_errors:
            error = operation_outcome(500, "a file could not be made")
            yield File("error", "OperationOutcome", (error,) * self._trouble.faults.export_errors)

    def _patients(self, request: Request) -> frozenset[str] | None:
        """The patients whose data are wanted; None for everything, whoever it is of."""
        group = request.path_params.get("group")
        if group is None:
            return None if request.url.path.endswith("/fhir/$export") else ANYBODY
        found = self._desk.interactions.read("Group", group).version
        members = json.loads((found.body if found else None) or b"{}").get("member") or []
        named = [str(one.get("entity", {}).get("reference", "")) for one in members]
        return frozenset(one.removeprefix("Patient/") for one in named)

    def _gone(self, type_: str, patients: frozenset[str] | None, since: str) -> list[str]:
        """The ids of what was deleted since, as far as it ever was of these patients."""
        interactions = self._desk.interactions
        return [
            one.id
            for one in interactions.gone(type_)
            if _after(one.last_updated, since)
            and (
                patients is None
                or any(
                    belongs(was.body, type_, patients)
                    for was in interactions.history(type_, one.id)
                    if was.body is not None
                )
            )
        ]

    def _status(self, request: Request, body: bytes) -> Response:
        self._admit(request)
        job, faults = self._job(request), self._trouble.faults
        if self._strikes("export_transient", request):
            text = operation_outcome(503, "an unknown error: please try again")
            return Response(text, 500, media_type=_FHIR)
        job.polls += 1
        if job.polls <= faults.export_polls or self._strikes("export_stalled", request):
            progress = "in progress" if faults.export_stalled else f"{job.polls * 10}% complete"
            return Response(b"", 202, {"X-Progress": progress, "Retry-After": faults.export_retry_after})
        job.done = True
        return Response(self._manifest(request, job), 200, media_type="application/json")

    def _manifest(self, request: Request, job: Job) -> bytes:
        base, name, faults = _base(request), request.path_params["job"], self._trouble.faults
        lists: dict[str, list[dict[str, Any]]] = {"output": [], "deleted": [], "error": []}
        half = (len(job.files) + 1) // 2 if faults.export_parts else len(job.files)
        later = request.query_params.get("part") == "2"
        for number, file in enumerate(job.files):
            if (number >= half) == later:
                count = len(file.lines) + (7 if faults.export_wrong_count else 0)
                url = f"{base}/$export-file/{name}/{number}"
                lists[file.kind].append({"type": file.type, "url": url, "count": count})
        tree: dict[str, Any] = {
            "transactionTime": job.time,
            "request": job.request,
            "requiresAccessToken": job.token,
            **lists,
        }
        if faults.export_post_only:  # the words of STU4
            tree = {"transactionTime": job.time, "requiresAccessToken": job.token, "extension": [], **lists}
            tree["outcome"] = tree.pop("error")
        if half < len(job.files) and not later:
            tree["link"] = [{"relation": "next", "url": f"{base}/$export-status/{name}?part=2"}]
        return json.dumps(tree).encode()

    def _file(self, request: Request, body: bytes) -> Response:
        job = self._job(request)
        if not job.token and request.headers.get("Authorization"):
            raise Rejected(400, "a token was sent that is not wanted")
        may = self._admit(request) if job.token else TYPES.__contains__
        number = request.path_params["number"]
        if number >= len(job.files):
            raise Rejected(404, "there is no such file")
        if job.files[number].kind == "output" and not may(job.files[number].type):
            raise Rejected(403, "the token's scopes do not allow this file")
        if self._strikes("export_expired", request):
            raise Rejected(410, "the file has expired")
        text = b"".join(line + b"\n" for line in job.files[number].lines)
        if self._strikes("export_binary", request):
            data = base64.b64encode(text).decode()
            wrapped = {"resourceType": "Binary", "contentType": _NDJSON, "data": data}
            return Response(json.dumps(wrapped), media_type=_FHIR)
        return Response(text, media_type=_NDJSON)

    def _cancel(self, request: Request, body: bytes) -> Response:
        """Ends a job; of a finished one, as on HAPI, nothing is left to do, and it stays (404)."""
        self._admit(request)
        if self._job(request).done:
            raise Rejected(404, "nothing to do: the export is finished")
        del self._jobs[request.path_params["job"]]
        return Response(operation_outcome(202, "cancelled", severity="information"), 202, media_type=_FHIR)

    def _job(self, request: Request) -> Job:
        found = self._jobs.get(request.path_params["job"])
        if found is None:
            raise Rejected(404, "the export was not found")
        return found


def _base(request: Request) -> str:
    return f"http://{request.headers.get('Host', '')}{PATH}"


def _posted(body: bytes) -> list[tuple[str, str]]:
    try:
        named = json.loads(body).get("parameter") or []
    except (ValueError, AttributeError):
        raise Rejected(400, "the body is no Parameters resource") from None
    values = [(one.get("name"), one.get("valueString") or one.get("valueInstant")) for one in named]
    return [(str(name), str(value)) for name, value in values if name and value]


def _wanted(types: list[str], patients: frozenset[str] | None, may: Callable[[str], bool]) -> list[str]:
    """The types of an export: those that were asked for, else all that it can hold and the token may read.

    Raises Rejected for one that is asked for by name and cannot be given.
    """
    for type_ in types:
        if type_ not in TYPES:
            raise Rejected(400, f"the requested type {type_} is not known")
        if patients is not None and type_ not in compartment.TYPES:
            raise Rejected(400, f"the requested type {type_} is not in the patient compartment")
        if not may(type_):
            raise Rejected(403, f"the token's scopes do not allow this: system/{type_}.r")
    every = TYPES if patients is None else compartment.TYPES
    return types or [type_ for type_ in sorted(every) if may(type_)]


def _after(last_updated: str, since: str) -> bool:
    """Later than the instant, which itself does not count."""
    at, bound = moment(last_updated), moment(since) if since else None
    return bound is None or (at is not None and at.start > bound.start)


def _deletion(type_: str, id_: str) -> bytes:
    entry = {"request": {"method": "DELETE", "url": f"{type_}/{id_}"}}
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}).encode()
