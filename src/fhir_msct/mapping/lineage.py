"""Who computed a result, for which study, and from what: Device, ResearchStudy and Provenance.

https://hl7.org/fhir/R4/provenance.html
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.mapping.outgoing import (
    DERIVED,
    TAGS,
    TOOL,
    device_id,
    identity,
    reference,
    research_study_id,
    system,
)

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"


def device(study: str, version: str) -> bytes:
    """The tool and its version as a Device, without anything that a single run knows."""
    return _encoded(
        "Device",
        device_id(study),
        identifier=[{"system": system(study), "value": device_id(study)}],
        status="active",
        deviceName=[{"name": TOOL, "type": "user-friendly-name"}],
        type={"text": "software"},
        version=[{"value": version}],
    )


def research_study(study: str, title: str) -> bytes:
    """The study as a ResearchStudy."""
    own = research_study_id(study)
    return _encoded(
        "ResearchStudy",
        own,
        identifier=[{"system": system(study), "value": study}],
        title=title or study,
        status="active",
    )


class Target(Struct, frozen=True):
    """One resource that a Provenance speaks of: its hash, what it came from, what it replaces."""

    id: str
    sha256: str
    sources: tuple[str, ...] = ()
    replaces: str = ""
    """Its version on the server before."""


def provenance_id(study: str, targets: Iterable[Target], retracted: bool) -> str:
    """The same change of the same targets has the same Provenance, however often it is sent."""
    said = sorted(f"{one.id} {one.sha256} {one.replaces}" for one in targets)
    return identity("provenance", study, "retract" if retracted else "derive", *said)


def provenance(
    study: str, targets: Sequence[Target], *, recorded: str, protocol: str, retracted: bool = False
) -> bytes:
    """Where resources came from, or that they were taken back. `protocol`: hash of plan and mappings."""
    code, text = ("NULLIFY", "retract") if retracted else ("CREATE", "derive")
    before = [one.replaces for one in targets if one.replaces]
    sources = sorted({source for one in targets for source in one.sources})
    entity = [{"role": "source", "what": reference(source)} for source in sources]
    entity += [{"role": "removal" if retracted else "revision", "what": reference(one)} for one in before]
    plan = {
        "identifier": {"system": "urn:fhir-msct:sha256", "value": protocol},
        "display": "plan and mappings",
    }
    return _encoded(
        "Provenance",
        provenance_id(study, targets, retracted),
        target=[{"reference": f"Observation/{one.id}"} for one in targets],
        recorded=recorded,
        activity={
            "coding": [{"system": f"{TERMINOLOGY}/v3-DataOperation", "code": code}],
            "text": text,
        },
        agent=[
            {
                "type": {
                    "coding": [{"system": f"{TERMINOLOGY}/provenance-participant-type", "code": "assembler"}]
                },
                "who": {"reference": f"Device/{device_id(study)}"},
            }
        ],
        entity=[*entity, {"role": "source", "what": plan}],
    )


def _encoded(kind: str, own: str, **elements: Any) -> bytes:
    meta = {"tag": [{"system": TAGS, "code": DERIVED}]}
    return msgspec.json.encode({"resourceType": kind, "id": own, "meta": meta, **elements})
