"""Many reads in one request: the batch Bundle that asks, and what its answer says of each.

https://hl7.org/fhir/R4/http.html#transaction
"""

from collections.abc import Sequence

import msgspec

from fhir_msct.client import bundle as bundles
from fhir_msct.client.failures import Unusable
from fhir_msct.records import Resource

Key = tuple[str, str]


def reads(keys: Sequence[Key]) -> bytes:
    """A Bundle that reads these resources (type and id), each for itself."""
    entries = [{"request": {"method": "GET", "url": f"{type_}/{id_}"}} for type_, id_ in keys]
    return msgspec.json.encode({"resourceType": "Bundle", "type": "batch", "entry": entries})


def read(answer: bytes, keys: Sequence[Key]) -> dict[Key, Resource | None]:
    """What is there of each, None for what is not; left out what got no plain answer.

    Raises Unusable (`shape`) for what is no answer to so many reads.
    """
    if bundles.head(answer).type != "Bundle":
        raise Unusable("shape", "[batch]: the server answers with no Bundle")
    entries = bundles.cut(answer).entries
    if len(entries) != len(keys):
        raise Unusable("shape", "[batch]: the answer has another number of entries")
    said = ((key, _one(entry, key)) for key, entry in zip(keys, entries, strict=True))
    return {key: found for key, (plain, found) in said if plain}


def _one(entry: bundles.Entry, key: Key) -> tuple[bool, Resource | None]:
    """Whether an entry answers plainly, and what is there."""
    status = (entry.status or "")[:3]
    if status in ("404", "410"):
        return True, None
    if entry.body is None or status != "200":
        return False, None
    try:
        known = bundles.incoming(entry.body)
    except Unusable:
        return False, None
    return (known.type, known.id) == key, bundles.resource(entry.body, known)
