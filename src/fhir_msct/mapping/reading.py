"""What comes of reading one resource: records, or a reason why not, or out of scope. One of the three."""

from typing import Any

from msgspec import Struct

from fhir_msct.records import SetAside

REMEMBERED = 100_000
"""How many different codes are kept with what was found out of them."""

KEPT = 20_000
"""The same for what takes more room: reference ranges and frames."""

DERIVED = ("urn:fhir-msct:tags", "derived")
"""The tag of what we computed and pushed: never read as a measurement."""

SUBSETTED = "SUBSETTED"
"""A server's word that this is a part of a resource: read and flagged, never written onto.

https://hl7.org/fhir/R4/resource.html#tag (v3-ObservationValue, under two system names)
"""

MARKS = (DERIVED[1], SUBSETTED)
"""Tags that change what is made of a resource."""


class Aside(Struct, frozen=True, gc=False):
    """Why a resource, or one item of it, could not become a record."""

    reason: str
    where: str = ""
    """FHIR path."""
    detail: str = ""


class Reading(Struct, frozen=True, gc=False):
    """The reading of one resource."""

    records: tuple[Any, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    out: tuple[str, str] | None = None
    """System and code that put a resource out of scope; None where it is not out of scope."""

    @property
    def in_scope(self) -> bool:
        """Whether the study wants this resource, readable or not."""
        return bool(self.records or self.set_aside)
