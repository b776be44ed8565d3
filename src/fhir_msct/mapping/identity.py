"""Which resource this is: what its bytes, its Bundle and its archive say of type, id and version."""

from typing import Any

import msgspec

from fhir_msct.mapping import structs
from fhir_msct.mapping.context import origin
from fhir_msct.mapping.reading import Aside, Reading
from fhir_msct.mapping.shape import path_of
from fhir_msct.records import Resource, SetAside


class Head(msgspec.Struct, frozen=True):
    resourceType: str | None = None  # noqa: N815  FHIR's own name
    id: str | None = None
    meta: structs.Meta | None = None


head = msgspec.json.Decoder(Head).decode


def resource_of(given: Any) -> Resource:
    """Whatever was handed in, as the bytes of one resource."""
    if isinstance(given, Resource):
        return given
    if isinstance(given, bytes | bytearray | memoryview):
        return Resource("", None, bytes(given))
    if isinstance(given, str):
        return Resource("", None, given.encode("utf-8", "surrogatepass"))
    if hasattr(given, "model_dump_json"):
        return Resource("", None, given.model_dump_json().encode())
    return Resource("", None, msgspec.json.Encoder(decimal_format="number").encode(given))


def aside(resource: Resource, why: Aside) -> Reading:
    """A resource set aside, named as well as its bytes allow."""
    try:
        said = head(resource.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        said = Head()
    kind, id_ = resource.type or said.resourceType or "", resource.id or said.id
    # A file says nothing more about a resource that has an id, and a server has no file.
    where = f"{why.where} in {resource.where}" if id_ is None and resource.where else why.where
    source = origin(resource, kind, said.id, said.meta).source
    row = SetAside(kind, id_ or "", source, why.reason, why.detail, where)
    return Reading(set_aside=(row,))


def broken(body: bytes, error: Exception) -> Aside:
    """Why a body could not be peeked at: no JSON, or JSON of a shape that FHIR does not have."""
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return Aside("not-json")
    return Aside("shape", path_of(error))
