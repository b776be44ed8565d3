"""Steps as requests, and what a server says it did with each: PUT to a known place, else conditional create.

A new resource goes to our own id by PUT. Where the server chooses ids it is created, unless one with our
identifier is there already: a POST with If-None-Exist. What else is in the same transaction refers to it
by a urn:uuid. https://hl7.org/fhir/R4/http.html#transaction
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

import msgspec
from msgspec import Raw, Struct

from fhir_msct.client.bundle import etag_version
from fhir_msct.client.failures import Unusable
from fhir_msct.mapping import outgoing
from fhir_msct.tasks.deciding import Step
from fhir_msct.tasks.holdings import Holdings

_LOCATION = re.compile(
    r"(?:^|/)([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?$"
)


class Done(Struct, frozen=True):
    """What became of one step: where it is, in which version; `found` where it was there already."""

    server_id: str | None
    version: str | None
    found: bool = False


class Entries:
    """Requests in the words of one server."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    def creates(self, step: Step) -> bool:
        """Whether the server has to choose an id for it."""
        return self._holdings.assigns and step.version is None and not step.held

    def body(self, step: Step, fresh: Mapping[str, str] | None = None) -> bytes:
        """What is sent: in the server's names, findable where it has no identifier of its own."""
        body = self._holdings.places.to_server(step.body, fresh or {})
        if not self._holdings.assigns:
            return body
        return _as_new(body, self._holdings.tag(step.wanted), keeps_id=not self.creates(step))

    def condition(self, step: Step) -> str | None:
        """What finds the resource if it is there already."""
        asked = self._holdings.question(step.wanted)
        return f"{asked[0]}={quote(asked[1], safe='')}" if asked else None

    def transaction(self, batch: Sequence[Step], guard: str | None = None) -> bytes:
        """All of it, or nothing; `guard`: the version that a PUT names where nothing may be there yet."""
        fresh = {step.wanted.place: _urn(step) for step in batch if self.creates(step)}
        entries = [self._entry(step, fresh, guard) for step in batch]
        return msgspec.json.encode({"resourceType": "Bundle", "type": "transaction", "entry": entries})

    def _entry(self, step: Step, fresh: Mapping[str, str], guard: str | None) -> dict[str, Any]:
        body = Raw(self.body(step, fresh))
        if self.creates(step):
            request = {"method": "POST", "url": step.wanted.type}
            if condition := self.condition(step):
                request["ifNoneExist"] = condition
            return {"fullUrl": fresh[step.wanted.place], "resource": body, "request": request}
        request = {"method": "PUT", "url": self._holdings.places.place(step.wanted.key)}
        if version := step.version or guard:
            request["ifMatch"] = f'W/"{version}"'
        return {"resource": body, "request": request}

    def done(self, answer: bytes, batch: Sequence[Step]) -> list[Done]:
        """What became of each entry, matched by position and location; Unusable where they disagree."""
        responses = responses_of(answer)
        if len(responses) != len(batch):
            raise Unusable("shape", "[transaction]: the answer has another number of entries")
        return [self._one(step, response) for step, response in zip(batch, responses, strict=True)]

    def _one(self, step: Step, response: Mapping[str, Any]) -> Done:
        place = self._holdings.places.place(step.wanted.key)
        new, status = self.creates(step), str(response.get("status", ""))
        location = str(response.get("location") or ("" if new else place))
        fits = _LOCATION.search(location)
        is_right = fits and (fits[1] == step.wanted.type if new else place == f"{fits[1]}/{fits[2]}")
        if not fits or not is_right or not status.startswith("2"):
            raise Unusable("shape", f"[transaction]: no answer that fits {step.wanted.place}")
        version = fits[3] or etag_version(response.get("etag"))
        return Done(fits[2] if new else None, version, found=new and not status.startswith("201"))


def _urn(step: Step) -> str:
    return f"urn:uuid:{uuid5(NAMESPACE_URL, step.wanted.place)}"


def responses_of(answer: bytes) -> list[dict[str, Any]]:
    """What a server says of each entry of a transaction; Unusable where that is no Bundle of such answers."""
    tree = json.loads(answer)
    entries = (tree.get("entry") or []) if isinstance(tree, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Unusable("shape", "[transaction]: the answer is no Bundle of entries")
    responses = [entry.get("response") or {} for entry in entries]
    if not all(isinstance(response, dict) for response in responses):
        raise Unusable("shape", "[transaction]: the answer is no Bundle of responses")
    return responses


def _as_new(body: bytes, tag: tuple[str, str] | None, *, keeps_id: bool) -> bytes:
    """Without an id where the server chooses it; with a tag of its own where nothing else names it."""
    tree = outgoing.exact(body)
    if not keeps_id:
        tree.pop("id", None)
    if tag is not None:
        tree["meta"]["tag"] = [*tree["meta"]["tag"], {"system": tag[0], "code": tag[1]}]
    return msgspec.json.encode(tree)
