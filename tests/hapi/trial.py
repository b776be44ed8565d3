"""The synthetic trial as a server takes it: PUT under its own ids, in transactions, subjects first."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from fhir_msct import data
from fhir_msct.client.rest import Client
from fhir_msct.tasks.demo import resources

LARGEST = 200
"""Resources of one transaction: HAPI takes 100 to 500 equally fast."""

_FIRST = ("Patient", "Group", "ResearchStudy")
"""What others refer to; a server that checks references wants it in the same transaction, or before."""


def lines() -> list[bytes]:
    """Every resource of the synthetic trial, as the fixture files have it."""
    return list(resources(data.fixtures() / "resources"))


def load(client: Client, bodies: Iterable[bytes]) -> int:
    """Writes resources under their own ids, two bodies of one id as two versions; how many were sent."""
    known = [(json.loads(body), body) for body in bodies]
    known.sort(key=lambda one: _rank(one[0]["resourceType"]))
    sent = 0
    for bundle in _bundles(known):
        client.transaction(transaction(bundle))
        sent += len(bundle)
    return sent


def transaction(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """A transaction Bundle of PUTs: (`Type/id`, the resource)."""
    put = b",".join(
        b'{"resource":%b,"request":{"method":"PUT","url":"%b"}}' % (body.strip(), place.encode())
        for place, body in entries
    )
    return b'{"resourceType":"Bundle","type":"transaction","entry":[' + put + b"]}"


def _bundles(known: Iterable[tuple[Any, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    bundle: dict[str, bytes] = {}
    for tree, body in known:
        place = f"{tree['resourceType']}/{tree['id']}"
        if place in bundle or len(bundle) == LARGEST:
            yield list(bundle.items())
            bundle = {}
        bundle[place] = body
    if bundle:
        yield list(bundle.items())


def _rank(type_: str) -> int:
    return _FIRST.index(type_) if type_ in _FIRST else len(_FIRST)
