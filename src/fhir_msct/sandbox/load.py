"""Fixtures into the store, byte for byte."""

from collections.abc import Callable, Iterable
from datetime import datetime

from fhir_msct.errors import InputError
from fhir_msct.sandbox import splice
from fhir_msct.sandbox.index import terms
from fhir_msct.sandbox.interactions import ID, Incoming, incoming
from fhir_msct.sandbox.moments import instant_text, moment
from fhir_msct.sandbox.outcome import Rejected
from fhir_msct.sandbox.store import Store, Version, next_version


def load(store: Store, resources: Iterable[bytes], clock: Callable[[], datetime]) -> int:
    """Stores each resource as the next version of its id and returns how many versions were new.

    What carries meta.versionId and meta.lastUpdated keeps every byte; what lacks one of them gets it; a
    version that is there already with the same bytes is skipped. Raises InputError, with nothing loaded.
    """
    new = 0
    with store.writing():
        for number, body in enumerate(resources, 1):
            try:
                new += _loaded(store, incoming(body), clock)
            except (Rejected, ValueError) as error:
                raise InputError(f"resource {number} cannot be loaded: {error}") from None
    return new


def _loaded(store: Store, given: Incoming, clock: Callable[[], datetime]) -> bool:
    text, id_ = given.text, given.tree.get("id")
    if id_ is None:
        id_ = store.new_id(given.type)
        text = splice.identified(text, id_)
    meta = given.tree.get("meta", {})
    version, last_updated = meta.get("versionId"), meta.get("lastUpdated")
    current = store.current(given.type, id_)
    if isinstance(version, str) and not ID.fullmatch(version):
        raise ValueError("meta.versionId: wants at most 64 letters, digits, dots and dashes")
    if not isinstance(version, str):
        if current is not None and current.body is not None and _same(given, current.body):
            return False
        seen = len(store.history(given.type, id_)) if current else 0
        version = next_version(current, seen)
    if not isinstance(last_updated, str) or moment(last_updated) is None:
        last_updated = instant_text(clock())
    if (meta.get("versionId"), meta.get("lastUpdated")) != (version, last_updated):
        text = splice.stamped(text, version=version, last_updated=last_updated)
    there = store.version(given.type, id_, version)
    if there is not None:
        if there.body == text.encode():
            return False
        raise ValueError(f"{there.source} is there already with other content")
    method = "PUT" if current else "POST"
    store.append(
        Version(given.type, id_, version, last_updated, method, text.encode()), terms(given.type, given.tree)
    )
    return True


def _same(given: Incoming, body: bytes) -> bool:
    return splice.content(given.tree) == splice.content(splice.parse(body.decode()))
