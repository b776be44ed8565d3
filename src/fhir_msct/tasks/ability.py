"""What a server says it can do with what is pushed to it."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from fhir_msct.client.capability import capability
from fhir_msct.errors import ServerUnfit


class Ability(Struct, frozen=True):
    """What a server says it can do. None where it does not say: then it is tried."""

    transactions: bool | None = None
    batches: bool | None = None
    takes_ids: bool | None = None
    """Whether a PUT to an unknown id creates the resource (update-as-create)."""

    @classmethod
    def said(cls, statement: dict[str, Any], types: Iterable[str], where: str) -> "Ability":
        """What a CapabilityStatement claims; raises ServerUnfit where nothing could be written safely.

        https://hl7.org/fhir/R4/capabilitystatement.html
        """
        found = capability(statement)
        told = [found.types[type_] for type_ in types if type_ in found.types]
        if shut := [one.type for one in told if one.interactions and not one.writes]:
            raise ServerUnfit(
                f"{where} says that it takes no {', '.join(shut)} from anybody, so nothing was sent: "
                "name another server as push.url, or ask this one's owner"
            )
        takes = [one.update_create for one in told]
        if False in takes and any(one.conditional_create is False for one in told):
            raise ServerUnfit(
                f"{where} lets nobody choose the id of a new resource (updateCreate), and knows no "
                "conditional create: a result could be doubled, so nothing was sent"
            )
        does = found.interactions
        return cls(
            transactions="transaction" in does if does else None,
            batches="batch" in does if does else None,
            takes_ids=False if False in takes else (True if takes and all(takes) else None),
        )
