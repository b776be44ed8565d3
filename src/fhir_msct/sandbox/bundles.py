"""Batch and transaction Bundles: many interactions in one request, each for itself or all or nothing.

https://hl7.org/fhir/R4/http.html#transaction. Deletions come first, then POST, PUT and GET; an entry's
`urn:uuid` becomes the id it was given wherever a reference of the Bundle names it; no resource may be
written twice. As on HAPI, an entry's etag is the bare version, and what was read has none.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw, Struct

from fhir_msct.sandbox import splice
from fhir_msct.sandbox.faults import Trouble
from fhir_msct.sandbox.interactions import Answer, Incoming, Interactions, incoming, known
from fhir_msct.sandbox.outcome import Rejected
from fhir_msct.sandbox.pages import Pages, bundle
from fhir_msct.sandbox.search import query
from fhir_msct.sandbox.store import Store

_ORDER = ("DELETE", "POST", "PUT", "GET")


class _Request(Struct, rename="camel", frozen=True):
    method: str
    url: str
    if_match: str | None = None
    if_none_exist: str | None = None


class _Entry(Struct, rename="camel", frozen=True):
    request: _Request
    full_url: str = ""
    resource: Raw = Raw(b"")


class _Bundle(Struct, frozen=True):
    type: str
    entry: list[_Entry] = []


class _Step(NamedTuple):
    """One entry with its address resolved: what is written where."""

    entry: _Entry
    type: str
    id: str | None
    condition: str | None = None
    found: bool = False
    """Whether the condition met a resource that is there already."""

    @property
    def place(self) -> str:
        return f"{self.type}/{self.id}"


class Bundles:
    """Runs the Bundles that are sent to the base address."""

    def __init__(self, store: Store, interactions: Interactions, pages: Pages, trouble: Trouble) -> None:
        self._store = store
        self._do = interactions
        self._pages = pages
        self._trouble = trouble

    def run(self, body: bytes, base: str) -> bytes:
        """The response Bundle, one entry for each that was sent, in the order they were sent."""
        text = incoming(body, "Bundle").text
        try:
            sent = msgspec.json.decode(text, type=_Bundle)
        except msgspec.ValidationError as error:
            raise Rejected(400, f"the Bundle cannot be read: {error}") from None
        faults = self._trouble.faults
        if (sent.type, True) in (("transaction", faults.no_transactions), ("batch", faults.no_batches)):
            raise Rejected(405, f"a Bundle of type {sent.type} is not something this server does")
        links = {"self": base}
        if sent.type == "transaction":
            with self._store.writing():
                return bundle("transaction-response", self._transaction(sent.entry, base), links=links)
        if sent.type == "batch":
            done = [self._alone(entry, base) for entry in sent.entry]
            return bundle("batch-response", done, links=links)
        raise Rejected(400, f"a Bundle of type {sent.type!r} cannot be run: batch or transaction")

    def _transaction(self, entries: list[_Entry], base: str) -> list[bytes]:
        steps = []
        for at, entry in enumerate(entries):
            with _naming(at):
                steps.append(self._resolved(entry, base))
        _refuse_overlaps(steps)
        places = {step.entry.full_url: step.place for step in steps if step.entry.full_url and step.id}
        done = dict[int, bytes]()
        for at in sorted(range(len(steps)), key=lambda at: _ORDER.index(steps[at].entry.request.method)):
            with _naming(at):
                done[at] = self._apply(steps[at], base, places)
        return [done[at] for at in range(len(steps))]

    def _alone(self, entry: _Entry, base: str) -> bytes:
        try:
            with self._store.writing():
                return self._apply(self._resolved(entry, base), base, None)
        except Rejected as no:
            response = json.dumps({"status": _status(no.status)}).encode()[1:-1]
            return b'{"response":{%b,"outcome":%b}}' % (response, no.body)

    def _resolved(self, entry: _Entry, base: str) -> _Step:
        method, url = entry.request.method, entry.request.url.removeprefix(base).removeprefix("/")
        if method not in _ORDER:
            raise Rejected(400, f"method {method!r} is not supported")
        path, _, asked = url.partition("?")
        type_, *rest = path.split("/")
        known(type_)
        if method == "GET":
            return _Step(entry, type_, None)
        if method == "POST" and not rest:
            condition = entry.request.if_none_exist
        elif len(rest) == 1 and method in ("PUT", "DELETE"):
            return _Step(entry, type_, rest[0])
        elif method == "PUT" and not rest and asked:
            condition = asked
        else:
            raise Rejected(400, f"{method} {path} is not something this server does")
        there = None if condition is None else self._do.match(type_, condition, base)
        return _Step(entry, type_, there or self._store.new_id(type_), condition, found=there is not None)

    def _apply(self, step: _Step, base: str, places: Mapping[str, str] | None) -> bytes:
        """Does what the step says and returns its response entry; `places` only in a transaction."""
        method, id_, if_match = step.entry.request.method, step.id, step.entry.request.if_match
        if id_ is None:
            return self._got(step, base)
        if method == "DELETE":
            return _response(self._do.delete(step.type, id_, if_match=if_match)._replace(status=204))
        if method == "POST" and step.found:
            return _response(self._do.read(step.type, id_)._replace(unchanged=True))
        new = _linked(step, places)
        if method == "PUT" and step.condition is None:
            return _response(self._do.update(new, id_, if_match=if_match))
        return _response(self._do.place(new, id_, method=method))

    def _got(self, step: _Step, base: str) -> bytes:
        path, _, asked = step.entry.request.url.removeprefix(base).removeprefix("/").partition("?")
        match path.split("/"):
            case [type_]:
                pairs = parse_qsl(asked, keep_blank_values=True)
                body = self._pages.first(query(type_, pairs, base=base), base, type_)
                return b'{"resource":%b,"response":{"status":"200 OK"}}' % body
            case [type_, id_]:
                answer = self._do.read(type_, id_)
            case [type_, id_, "_history", version]:
                answer = self._do.vread(type_, id_, version)
            case _:
                raise Rejected(400, f"GET {path} is not something this server does in a Bundle")
        body = (answer.version and answer.version.body) or b""
        return b'{"resource":%b,"response":{"status":"200 OK"}}' % body


@contextmanager
def _naming(at: int) -> Iterator[None]:
    """Names the entry in whatever is refused inside."""
    try:
        yield
    except Rejected as no:
        raise Rejected(no.status, f"Bundle.entry[{at}]: {no.text}") from None


def _refuse_overlaps(steps: list[_Step]) -> None:
    places = Counter(step.place for step in steps if step.id)
    conditions = Counter((step.type, step.condition) for step in steps if step.condition is not None)
    urls = Counter(step.entry.full_url for step in steps if step.entry.full_url and step.id)
    for what, counted in (("resource", places), ("condition", conditions), ("fullUrl", urls)):
        if any(times > 1 for times in counted.values()):
            raise Rejected(400, f"a transaction names one {what} twice")


def _linked(step: _Step, places: Mapping[str, str] | None) -> Incoming:
    body = bytes(step.entry.resource)
    if not body:
        raise Rejected(400, f"{step.entry.request.method} without a resource")
    own_id = step.entry.request.method != "POST"
    if places is None:
        return incoming(body, step.type, own_id=own_id)
    text = splice.relinked(body.decode(), places)
    if any(link.startswith("urn:uuid:") for link in splice.references(text)):
        raise Rejected(400, "a reference names a urn:uuid that no entry of the Bundle has")
    return incoming(text.encode(), step.type, own_id=own_id)


def _response(answer: Answer) -> bytes:
    version = answer.version
    said: dict[str, str] = {"status": _status(answer.status)}
    if version is not None:
        said |= {"location": version.source, "etag": version.version}
        if answer.status == 201:  # as on HAPI, an update does not say when
            said["lastModified"] = version.last_updated
    return json.dumps({"response": said}, separators=(",", ":")).encode()


def _status(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
