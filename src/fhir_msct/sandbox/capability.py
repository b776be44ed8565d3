"""What the server says of itself: only what it does. https://hl7.org/fhir/R4/capabilitystatement.html"""

import json
from datetime import datetime
from importlib.metadata import version
from typing import Any

from fhir_msct.sandbox.faults import Faults
from fhir_msct.sandbox.moments import instant_text
from fhir_msct.sandbox.parameters import PARAMETERS, RESULTS, TYPES

NAME = "fhir-msct sandbox"
_INTERACTIONS = ("read", "vread", "update", "delete", "history-instance", "create", "search-type")
_COMMON = {"_id": "token", "_lastUpdated": "date", "_tag": "token"}


def capability_statement(base: str, started: datetime, faults: Faults) -> bytes:
    """The CapabilityStatement of a server at this address, running since `started`."""
    bundles = {"transaction": faults.no_transactions, "batch": faults.no_batches}
    statement = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant_text(started),
        "publisher": "fhir-msct",
        "kind": "instance",
        "software": {"name": NAME, "version": version("fhir-msct")},
        "implementation": {"description": "A small FHIR server for trying things on", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "resource": [_resource(type_, faults) for type_ in sorted(TYPES)],
                **({} if faults.silent else {"interaction": _codes(bundles)}),
                "operation": [_export("export")],
            }
        ],
    }
    return json.dumps(statement, separators=(",", ":")).encode()


def _codes(missing: dict[str, bool]) -> list[dict[str, str]]:
    return [{"code": code} for code, is_missing in missing.items() if not is_missing]


def _resource(type_: str, faults: Faults) -> dict[str, Any]:
    own = {name: parameter.kind for name, parameter in PARAMETERS.get(type_, {}).items()}
    kinds = {**{name: _COMMON[name] for name in RESULTS}, **own}
    return {
        "type": type_,
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned",
        "readHistory": True,
        **({} if faults.silent else {"updateCreate": not faults.no_update_create}),
        "conditionalCreate": faults.no_conditions != "denied",
        "conditionalRead": "not-match",
        "conditionalUpdate": True,
        "conditionalDelete": "not-supported",
        "searchParam": [{"name": name, "type": kind} for name, kind in kinds.items()],
        **({"operation": [_export(f"{type_.lower()}-export")]} if type_ in ("Group", "Patient") else {}),
    }


def _export(name: str) -> dict[str, str]:
    return {"name": "export", "definition": f"http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{name}"}
