"""What can be said beforehand of the server that outcomes are pushed to: from its own statement only."""

from collections.abc import Iterator

from fhir_msct.client.capability import Capability
from fhir_msct.client.probes import Sign
from fhir_msct.client.scopes import Access
from fhir_msct.tasks.push import WRITTEN


def access(base: str, source: str) -> Access:
    """What a push wants to be allowed; a server that is not the source is asked for the patients."""
    return Access(read=() if base == source else ("Patient",), write=WRITTEN)


def signs(says: Capability) -> Iterator[Sign]:
    """What stands in the way of a push."""
    for type_ in WRITTEN:
        said = says.types.get(type_)
        if says.absent(type_) or (said is not None and said.interactions and not said.writes):
            yield Sign("push-read-only", type_)
        elif said is not None and said.update_create is False:
            yield Sign("push-conditional" if said.conditional_create else "push-read-only", type_)
    if says.interactions and "transaction" not in says.interactions:
        yield Sign("push-no-transaction")
