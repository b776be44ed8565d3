"""One page of a search: what matched, what was only included, what is a message and what is no resource.

https://hl7.org/fhir/R4/bundle.html#searchset
"""

from datetime import datetime
from hashlib import sha256

import msgspec
from msgspec import Struct

from fhir_msct.client import bundle as bundles
from fhir_msct.client.failures import Unusable
from fhir_msct.client.reply import Reply, declined, issue_codes
from fhir_msct.records import Resource


class Page(Struct, frozen=True, kw_only=True):
    """One page of a search."""

    resources: tuple[Resource, ...] = ()
    """What matched: the entries with mode `match`, or with none."""
    included: tuple[Resource, ...] = ()
    messages: tuple[str, ...] = ()
    """Issue codes of OperationOutcome entries: they are messages, never data."""
    broken: tuple[tuple[str, str], ...] = ()
    """Entries that are no resource: sha256 of the bytes, and why."""
    total: int | None = None
    next: str | None = None
    """The address of the next page, absolute, else as the server wrote it."""
    url_sha256: str = ""
    sha256: str = ""
    bytes: int = 0
    date: datetime | None = None


def searchset(reply: Reply, type_: str) -> bundles.Bundle:
    """The answer to a search, cut; raises Declined, or Unusable (`shape`) for what is no searchset."""
    if reply.status != 200:
        raise declined(reply, f"{type_}?")
    try:
        cut = bundles.cut(reply.body)
    except Unusable:
        bundles.head(reply.body)  # says more of what is no object at all
        raise
    if cut.resource_type != "Bundle":
        codes = ", ".join(issue_codes(reply.body))
        raise Unusable("shape", f"{type_}?: the server answers with no Bundle ({codes or 'no issue code'})")
    if cut.type != "searchset":
        raise Unusable("shape", f"{type_}?: the server answers with a Bundle that is no searchset")
    return cut


def page(reply: Reply, cut: bundles.Bundle, url: str, following: str | None) -> Page:
    """The page that an answer holds; `following` is its next link, made absolute."""
    sorted_ = _Sorted()
    for entry in cut.entries:
        sorted_.put(entry, cut.subsetted)
    return Page(
        resources=tuple(sorted_.found),
        included=tuple(sorted_.included),
        messages=tuple(sorted_.messages),
        broken=tuple(sorted_.broken),
        total=cut.total,
        next=following,
        url_sha256=sha256(url.encode()).hexdigest(),
        sha256=sha256(reply.body).hexdigest(),
        bytes=len(reply.body),
        date=reply.date,
    )


class _Sorted:
    """The entries of a page, each in exactly one of four heaps."""

    def __init__(self) -> None:
        self.found: list[Resource] = []
        self.included: list[Resource] = []
        self.messages: list[str] = []
        self.broken: list[tuple[str, str]] = []

    def put(self, entry: bundles.Entry, subsetted: bool) -> None:
        body = entry.body or b""
        try:
            known = bundles.incoming(body)
        except Unusable as error:
            self.broken.append((sha256(body).hexdigest(), error.reason))
            return
        type_ = known.type
        if type_ == "OperationOutcome" or entry.mode == "outcome":
            self.messages.extend(issue_codes(body) or ("outcome",))
        elif not type_:
            self.broken.append((sha256(body).hexdigest(), "no-type"))
        else:
            found = bundles.resource(body, known, entry=entry)
            if subsetted:
                found = msgspec.structs.replace(found, subsetted=True)
            (self.included if entry.mode == "include" else self.found).append(found)
