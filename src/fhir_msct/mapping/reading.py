"""What comes of reading one resource: records, or a reason why not, or out of scope. One of the three."""

from typing import Any

from msgspec import Struct

from fhir_msct.records import SetAside


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
