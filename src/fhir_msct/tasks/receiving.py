"""What can be said beforehand of the server that outcomes are pushed to: from its own statement only."""

from collections.abc import Iterator

from fhir_msct.client.capability import Capability
from fhir_msct.client.probes import Sign
from fhir_msct.tasks.push import WRITTEN


def signs(says: Capability) -> Iterator[Sign]:
    """What stands in the way of a push."""
    for type_ in WRITTEN:
        said = says.types.get(type_)
        if says.absent(type_) or (said is not None and said.interactions and not said.writes):
            yield Sign("push-read-only", type_)
        elif said is not None and said.update_create is False:
            way = said.conditional_update or said.conditional_create
            yield Sign("push-conditional" if way else "push-read-only", type_)
    if says.interactions and "transaction" not in says.interactions:
        yield Sign("push-no-transaction")
