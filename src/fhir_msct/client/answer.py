"""What a server says to one write.

https://hl7.org/fhir/R4/http.html#update and https://hl7.org/fhir/R4/http.html#create
"""

import re

from msgspec import Struct

from fhir_msct.client import bundle as bundles
from fhir_msct.client.failures import Unusable
from fhir_msct.client.reply import Reply

_PLACED = re.compile(r"/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$")


class Answer(Struct, frozen=True, kw_only=True):
    """What a server says to a write: 200 or 201 with the new version; 409 or 412 where it refuses."""

    status: int
    version: str | None = None
    body: bytes = b""
    id: str | None = None
    """The id that a new resource was given; None where the server does not say."""


def answer_of(reply: Reply, route: str) -> Answer:
    """What a reply to a write of one resource says; the route of a create is the type alone."""
    placed = _PLACED.search(reply.location)
    return Answer(
        status=reply.status,
        version=_version(reply),
        body=reply.body,
        id=placed[1] if placed else _own_id(reply.body, route),
    )


def _own_id(body: bytes, type_: str) -> str | None:
    """The id of the resource that was sent back, if one was."""
    try:
        known = bundles.head(body)
    except Unusable:
        return None
    return known.id if known.type == type_ and isinstance(known.id, str) else None


def _version(reply: Reply) -> str | None:
    """The new version: from the ETag, else from the resource that was sent back."""
    version = bundles.etag_version(reply.etag)
    if version is None and reply.body and reply.status < 300:
        try:
            version = bundles.resource(b"", bundles.head(reply.body)).version
        except Unusable:
            return None
    return version
