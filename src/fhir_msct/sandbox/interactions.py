"""What can be done to a resource: read, create, update, delete, plainly or by condition.

The same functions answer a request and an entry of a Bundle. https://hl7.org/fhir/R4/http.html; where
the standard leaves a choice, a HAPI server's is taken.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from fhir_msct.sandbox import splice
from fhir_msct.sandbox.faults import Trouble
from fhir_msct.sandbox.index import terms
from fhir_msct.sandbox.moments import instant_text
from fhir_msct.sandbox.outcome import Rejected
from fhir_msct.sandbox.parameters import TYPES
from fhir_msct.sandbox.search import query
from fhir_msct.sandbox.store import Store, Version, next_version

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_ETAG = re.compile(r'(?:W/)?"?([^"]+)"?')


class Incoming(NamedTuple):
    """A resource that was sent: its text, and its tree for looking things up."""

    type: str
    text: str
    tree: dict[str, Any]


class Answer(NamedTuple):
    """How an interaction ended: the HTTP status, and the version it left or found."""

    status: int
    version: Version | None = None
    unchanged: bool = False


class Interactions:
    """The verbs of one server."""

    def __init__(self, store: Store, clock: Callable[[], datetime], trouble: Trouble) -> None:
        self._store = store
        self._clock = clock
        self._trouble = trouble

    def read(self, type_: str, id_: str) -> Answer:
        """The current version; 404 where there never was one, 410 where it was deleted."""
        current = self._store.current(known(type_), id_)
        return _readable(current, f"{type_}/{id_}")

    def all(self, type_: str) -> list[Version]:
        """The current versions of a type; deleted ones left out."""
        return self._store.all(type_)

    def gone(self, type_: str) -> list[Version]:
        """The deletions of a type that no later version has undone."""
        return self._store.gone(type_)

    def vread(self, type_: str, id_: str, version: str) -> Answer:
        """One version."""
        found = self._store.version(known(type_), id_, version)
        return _readable(found, f"{type_}/{id_}/_history/{version}")

    def history(self, type_: str, id_: str) -> list[Version]:
        """All versions, the newest first."""
        versions = self._store.history(known(type_), id_)
        if not versions:
            raise Rejected(404, f"{type_}/{id_} is not known")
        return versions

    def create(self, new: Incoming, *, if_none_exist: str | None = None, base: str = "") -> Answer:
        """A new resource under a new id, unless the condition finds one already (200)."""
        with self._store.writing():
            if if_none_exist is not None:
                there = self.match(new.type, if_none_exist, base)
                if there is not None:
                    return Answer(200, self._store.current(new.type, there))
            return self.place(new, self._store.new_id(new.type), method="POST")

    def update(self, new: Incoming, id_: str, *, if_match: str | None = None) -> Answer:
        """The next version of a resource, or its first under the client's own id (201)."""
        if new.tree.get("id") != id_:
            raise Rejected(400, f"the resource must carry the id of its address: {id_}")
        with self._store.writing():
            there = self._store.current(new.type, id_)
            if there is None and self._trouble.faults.no_update_create:
                raise Rejected(405, "this server chooses the ids of new resources: POST")
            if id_.isdecimal() and there is None:
                raise Rejected(400, f"{id_}: an id chosen by a client must hold a letter")
            return self.place(new, id_, if_match=if_match, method="PUT")

    def update_where(self, new: Incoming, condition: str, *, base: str) -> Answer:
        """The next version of the one that matches, or a new resource when none does.

        As on HAPI the id in the body and an If-Match do not count.
        """
        with self._store.writing():
            there = self.match(new.type, condition, base)
            return self.place(new, there or self._store.new_id(new.type), method="PUT")

    def place(self, new: Incoming, id_: str, *, method: str, if_match: str | None = None) -> Answer:
        """Stores the resource as this id's next version; the same content again changes nothing."""
        faults = self._trouble.faults
        if faults.refuse_written and re.search(faults.refuse_written, new.text):
            raise Rejected(faults.refuse_status, "this resource is not taken")
        text = new.text if new.tree.get("id") == id_ else splice.identified(new.text, id_)
        with self._store.writing():
            current = self._store.current(new.type, id_)
            _expect(current, if_match)
            if current is not None and current.body is not None and _same(text, current.body):
                return Answer(200, current, unchanged=True)
            version, now = self._next(new.type, id_, current), instant_text(self._clock())
            body = splice.stamped(text, version=version, last_updated=now).encode()
            stored = Version(new.type, id_, version, now, method, body)
            self._store.append(stored, terms(new.type, new.tree))
            return Answer(201 if current is None or current.body is None else 200, stored)

    def delete(self, type_: str, id_: str, *, if_match: str | None = None) -> Answer:
        """A deletion, kept as a version; of nothing, nothing (200 all the same)."""
        with self._store.writing():
            current = self._store.current(known(type_), id_)
            _expect(current, if_match)
            if current is None or current.body is None:
                return Answer(200, unchanged=True)
            version, now = self._next(type_, id_, current), instant_text(self._clock())
            gone = Version(type_, id_, version, now, "DELETE", None)
            self._store.append(gone)
            return Answer(200, gone)

    def match(self, type_: str, condition: str, base: str) -> str | None:
        """The id of the one resource that meets a condition; 412 when several do."""
        if self._trouble.faults.no_conditions:
            return None
        condition = condition.removeprefix(f"{type_}?")
        asked = query(known(type_), parse_qsl(condition, keep_blank_values=True), base=base)
        if not asked.clauses:
            raise Rejected(412, "a condition without a search parameter would match everything")
        ids = [row[0] for row in self._store.select(*asked.sql("c.id"))]
        if len(ids) > 1:
            raise Rejected(412, f"{len(ids)} resources of type {type_} meet the condition")
        return ids[0] if ids else None

    def _next(self, type_: str, id_: str, current: Version | None) -> str:
        return next_version(current, 0 if current is None else len(self._store.history(type_, id_)))


def incoming(body: bytes, expected: str | None = None, *, own_id: bool = True) -> Incoming:
    """The resource in a request's body; raises Rejected when it is none, or of another type.

    Without `own_id` the id in it does not count, so it may be anything.
    """
    try:
        text = body.decode("utf-8")
        tree = splice.parse(text)
    except ValueError as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Rejected(400, f"the body is not a JSON resource: {reason}") from None
    type_ = tree.get("resourceType")
    if not isinstance(type_, str) or type_ not in TYPES:
        raise Rejected(400, "the resource has no resourceType that FHIR R4 knows")
    if expected is not None and type_ != expected:
        raise Rejected(400, f"the resource is a {type_}, its address says {expected}")
    id_ = tree.get("id", "x")
    if own_id and (not isinstance(id_, str) or not ID.fullmatch(id_)):
        raise Rejected(400, "id: wants at most 64 letters, digits, dots and dashes")
    if not isinstance(tree.get("meta", {}), dict):
        raise Rejected(400, "meta: not an object")
    return Incoming(type_, text, tree)


def known(type_: str) -> str:
    """The type, when R4 has it."""
    if type_ not in TYPES:
        raise Rejected(404, f"unknown resource type {type_!r}")
    return type_


def etag_version(text: str) -> str:
    """The version an ETag names: `W/"3"`, `"3"` or 3."""
    found = _ETAG.fullmatch(text.strip())
    return found[1] if found else text


def _readable(version: Version | None, place: str) -> Answer:
    if version is None:
        raise Rejected(404, f"{place} is not known")
    if version.body is None:
        raise Rejected(410, f"{place} was deleted on {version.last_updated}")
    return Answer(200, version)


def _expect(current: Version | None, if_match: str | None) -> None:
    """A stale If-Match is a 409, and on an id that does not exist it is no obstacle: both as HAPI does."""
    if if_match is None or current is None:
        return
    wanted = etag_version(if_match)
    if wanted != current.version:
        raise Rejected(409, f"{current.type}/{current.id} is at version {current.version}, not {wanted}")


def _same(text: str, body: bytes) -> bool:
    stored = body.decode()
    return text == stored or splice.content(splice.parse(text)) == splice.content(splice.parse(stored))
