"""What a pull has to do and what came of it, as the archive writes it down."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from fhir_msct.records import Resource


class Asked(NamedTuple):
    """A window to be opened: type, patients, and half-open bounds of lastUpdated."""

    type: str
    patients: tuple[str, ...]
    lo: str = ""
    hi: str = ""
    whole: bool = True
    """Whether its count is part of the count of everything."""


class Since(Struct, frozen=True, kw_only=True):
    """What a pull asks for, on which complete one it builds, and where the next may begin."""

    question: str = ""
    basis: int | None = None
    watermark: str | None = None
    types: dict[str, tuple[str, str]] = {}
    """Per type the instant since which it is asked for (empty: everything), and the key of the newest one."""


class Window(Struct, frozen=True, kw_only=True):
    """A window that is still open: readings that proved nothing, and how far the one that goes on came."""

    id: int
    type: str
    patients: tuple[str, ...]
    lo: str = ""
    hi: str = ""
    whole: bool = True
    tried: int = 0
    count_before: int | None = None
    next_url: str | None = None


class Arrived(Struct, frozen=True, kw_only=True):
    """One page: what to keep of it, and what to remember of the page itself."""

    resources: Sequence[Resource]
    quarantined: Sequence["Quarantined"] = ()
    next_url: str | None = None
    url_sha256: str = ""
    sha256: str = ""
    bytes: int = 0
    included: int = 0


class Quarantined(Struct, frozen=True, kw_only=True):
    """Bytes that are counted and hashed, and not kept as a resource; `lost` where the run is not complete."""

    sha256: str
    reason: str
    type: str = ""
    place: str = ""
    length: int = 0
    lost: bool = True
