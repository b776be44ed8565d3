"""A second engine for our ViewDefinitions: every column's FHIRPath evaluated by fhirpathpy.

It runs views, not ours alone; it knows nothing of templates. Decimals stay the text that they are.
"""

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import fhirpathpy
from fhirpathpy.models import models


@functools.cache
def compiled(path: str) -> Callable[[Any], list[Any]]:
    return fhirpathpy.compile(path, models["r4"])


def evaluate(path: str, node: Any, kind: str) -> list[Any]:
    """The values of a path; `getReferenceKey`, which is no FHIRPath, is worked out here."""
    head, call, tail = path.partition(".getReferenceKey(")
    if call:
        wanted = tail.rstrip(")")
        references = [text for text in evaluate(f"{head}.reference", node, kind) if text]
        parts = [text.partition("/_history/")[0].split("/")[-2:] for text in references]
        return [part[1] for part in parts if len(part) == 2 and part[0] == wanted]
    return compiled(f"{kind}.{path}" if kind and not path.startswith("(") else path)(node)


def rows(view: dict[str, Any], body: bytes) -> Iterator[dict[str, Any]]:
    """The rows that a view gives of one resource."""
    resource = json.loads(body)
    if resource["resourceType"] != view["resource"]:
        return
    if any(evaluate(f"({where['path']})", resource, "") != [True] for where in view.get("where", ())):
        return
    (select,) = view["select"]
    yield {c["name"]: _single(evaluate(c["path"], resource, "")) for c in select["column"]}


def _single(values: list[Any]) -> Any:
    assert len(values) < 2, values
    return values[0] if values else None
