"""Bytes of an export that are no resource: never lost silently, always with their place and their reason."""

from msgspec import Struct

NOT_FHIR = frozenset({"no-type", "not-an-object", "message", "no-resource", "file-type"})
"""Reasons that say: this was never FHIR data. All others say that something may be lost."""


class Damage(Struct, frozen=True, kw_only=True):
    """Bytes that are no resource: where they are, their hash, and why."""

    file: str
    offset: int
    length: int
    sha256: str
    reason: str
    type: str = ""
    in_bundle: bool = False

    @property
    def lost(self) -> bool:
        """Whether a resource may have been lost here. What stands in a Bundle was meant as one."""
        return self.reason not in NOT_FHIR or (self.in_bundle and self.reason in ("no-type", "not-an-object"))

    @property
    def where(self) -> str:
        """File and byte."""
        return f"{self.file}:{self.offset}"
