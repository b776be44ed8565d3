"""Reads and deletions of resources by their ids: in batches where a server takes them, else one by one.

https://hl7.org/fhir/R4/http.html#transaction: each entry of a batch stands for itself.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from fhir_msct.client import bundle as bundles
from fhir_msct.client.answer import Answer
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.rest import Client

LARGEST = 100
"""Entries of one batch."""


class One(Struct, frozen=True):
    """One resource that is asked for, or to be deleted in the version that was seen."""

    type: str
    id: str
    version: str | None = None


class _Entry(Struct):
    resource: Raw = Raw(b"")
    response: dict[str, object] = {}


class _Bundle(Struct):
    entry: list[_Entry] = []


class Many:
    """Asks a client for many resources at once. Up to LARGEST of them a call."""

    def __init__(self, client: Client, *, batches: bool) -> None:
        """`batches`: whether the server may take them; where it then refuses one, it gets none again."""
        self.client, self.batches = client, batches

    def read(self, ones: Sequence[One]) -> list[Answer]:
        """What the server holds of each now: 200 with body and version, else what it says instead."""
        return self._done("GET", ones)

    def delete(self, ones: Sequence[One]) -> list[Answer]:
        """What the server says to each deletion; none is tried again here."""
        return self._done("DELETE", ones)

    def _done(self, method: str, ones: Sequence[One]) -> list[Answer]:
        if self.batches and len(ones) > 1:
            try:
                return self._batch(method, ones)
            except Declined as error:
                if error.is_conflict or error.status in (401, 403) or error.status >= 500:
                    raise
                self.batches = False
        return list(self._each(method, ones))

    def _each(self, method: str, ones: Sequence[One]) -> Iterator[Answer]:
        for one in ones:
            if method == "DELETE":
                yield self.client.delete(one.type, one.id, if_match=one.version)
                continue
            try:
                held = self.client.read(one.type, one.id)
            except Declined as error:
                if error.status in (401, 403) or error.status >= 500:
                    raise
                yield Answer(status=error.status)
                continue
            yield (
                Answer(status=404)
                if held is None
                else Answer(status=200, version=held.version, body=held.body)
            )

    def _batch(self, method: str, ones: Sequence[One]) -> list[Answer]:
        entries = []
        for one in ones:
            request = {"method": method, "url": f"{one.type}/{one.id}"}
            if one.version and method == "DELETE":
                request["ifMatch"] = f'W/"{one.version}"'
            entries.append({"request": request})
        sent = msgspec.json.encode({"resourceType": "Bundle", "type": "batch", "entry": entries})
        answer = self.client.batch(sent, repeat=method == "GET")
        try:
            got = msgspec.json.decode(answer, type=_Bundle).entry
        except msgspec.ValidationError:
            raise Unusable("shape", "[batch]: the answer is no batch-response") from None
        if len(got) != len(ones):
            raise Unusable("shape", "[batch]: the answer has another number of entries")
        return [_answer(one, entry, method) for one, entry in zip(ones, got, strict=True)]


def _answer(one: One, entry: _Entry, method: str) -> Answer:
    said = str(entry.response.get("status", ""))[:3]
    status = int(said) if said.isdecimal() else 0
    if method == "DELETE" or status != 200:
        return Answer(status=status)
    known = bundles.head(bytes(entry.resource))
    if (known.type, known.id) != (one.type, one.id):
        raise Unusable("shape", f"[batch]: no answer that fits {one.type}/{one.id}")
    return Answer(status=200, version=bundles.resource(b"", known).version, body=bytes(entry.resource))
