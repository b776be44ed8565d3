"""A mapping as a SQL-on-FHIR v2 ViewDefinition: the same holes, as raw columns, for any conformant engine.

https://sql-on-fhir.org/ig/latest/StructureDefinition-ViewDefinition.html
Only the shareable subset of FHIRPath is used. What needs a judgement (words in text, units, statuses)
is not in the view: it gives what the resources say, our reader says what that means.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fhir_msct.mapping import r4
from fhir_msct.mapping.shape import Shape
from fhir_msct.mapping.template import Constant, Field, Hole, Items, Object

Coding = tuple[str, str, str]
"""Element, system and code that put a resource in scope."""

NORMAL = (
    "(type.exists().not() or type.coding.where(code = 'normal').exists())"
    " and appliesTo.exists().not() and age.exists().not()"
)
"""The part of the step `normal` that FHIRPath can say: the patient's sex and age are elsewhere."""


def view(shape: Shape, scope: Iterable[Coding] = ()) -> dict[str, Any]:
    """The ViewDefinition of one mapping; `scope` lists the codings of a mapping without a code table."""
    return _View(shape, tuple(scope)).document()


class _View:
    def __init__(self, shape: Shape, scope: tuple[Coding, ...]) -> None:
        self.shape, self.scope = shape, scope
        self.names: Counter[str] = Counter()
        self.each: list[dict[str, Any]] = []

    def document(self) -> dict[str, Any]:
        template = self.shape.template
        columns = [*self.columns(template.root, "")]
        where = [*self.where()]
        return {
            "resourceType": "ViewDefinition",
            "status": "active",
            "name": template.name.replace("-", "_"),
            "resource": template.kind,
            "select": [{"column": columns}, *self.each],
            **({"where": where} if where else {}),
        }

    def where(self) -> Iterator[dict[str, str]]:
        field = self.shape.template.scope_field
        if field is not None and isinstance(field.node, Hole):
            yield {"path": f"{_step(field)}.coding.where({self.listed(field.node)}).exists()"}
        if self.scope:
            tests = [f"{e}.coding.where({_coding(system, code)}).exists()" for e, system, code in self.scope]
            yield {"path": " or ".join(tests)}

    def listed(self, hole: Hole) -> str:
        """The codings of a hole's table, aliases of a system included."""
        by_code = self.shape.tables[hole.table].by_code
        return " or ".join(_coding(system, code) for code in by_code for system in by_code[code])

    def columns(self, o: Object, path: str) -> Iterator[dict[str, str]]:
        for part in o.parts():
            for field in part.fields:
                yield from self.field_columns(field, ".".join(filter(None, (path, _step(field)))), path)

    def field_columns(self, field: Field, at: str, path: str) -> Iterator[dict[str, str]]:
        node = field.node
        if isinstance(node, Object):
            yield from self.columns(node, at)
        elif isinstance(node, Items) and node.step == "each":
            (item,) = node.items
            assert isinstance(item, Object)  # noqa: S101  the grammar says so
            self.each.append({"forEach": at, "column": [*self.columns(item, "")]})
        elif isinstance(node, Items):
            for item in node.items:
                yield from self.item_columns(node, item, at)
        elif isinstance(node, Hole) and not node.private and not _raw(field, node):
            yield from self.hole_columns(field, node, at, path)

    def item_columns(self, node: Items, item: Object | Hole, at: str) -> Iterator[dict[str, str]]:
        if isinstance(item, Hole):
            yield from self.concept_columns(item, f"{at}.coding")
            return
        tests = NORMAL if node.step else " and ".join(self.tests(item))
        yield from self.columns(item, at + (f".where({tests})" if tests else "") + ".first()")

    def hole_columns(self, field: Field, hole: Hole, at: str, path: str) -> Iterator[dict[str, str]]:
        if hole.table:
            yield from self.concept_columns(hole, f"{at}.coding")
        elif field.key.endswith("[x]"):
            dates = "Period" in field.element.kinds
            for kind in field.element.kinds if not dates else r4.DATE_KINDS:
                if kind not in field.element.kinds:
                    continue
                here = ".".join(filter(None, (path, f"{field.element.base}.ofType({kind})")))
                if kind == "Period":
                    yield {"name": self.name(f"{hole.name}_Period_start"), "path": f"{here}.start"}
                    yield {"name": self.name(f"{hole.name}_Period_end"), "path": f"{here}.end"}
                elif not r4.is_complex(kind):
                    yield {"name": self.name(f"{hole.name}_{kind}"), "path": here}
        elif field.key == "reference" and hole.before:
            yield {"name": self.name(hole.name), "path": f"{path}.getReferenceKey({hole.before[:-1]})"}
        else:
            yield {"name": self.name(hole.name), "path": at}

    def concept_columns(self, hole: Hole, codings: str) -> Iterator[dict[str, str]]:
        first = f"{codings}.where({self.listed(hole)}).first()"
        name = self.name(hole.name)
        for part in ("system", "code"):
            yield {"name": f"{name}_{part}", "path": f"{first}.{part}"}

    def tests(self, o: Object) -> Iterator[str]:
        """What selects a list item, as FHIRPath."""
        for field in o.fields:
            node, at = field.node, _step(field)
            if isinstance(node, Constant):
                yield _equal(at, node.value)
            elif isinstance(node, Hole) and not node.optional and node.allowed:
                yield "(" + " or ".join(_equal(at, value) for value in node.allowed) + ")"
            elif isinstance(node, Hole) and not node.optional and node.table:
                yield f"{at}.coding.where({self.listed(node)}).exists()"
            elif isinstance(node, Object):
                yield from (f"{at}.{test}" for test in self.tests(node))
            elif isinstance(node, Items):
                for item in node.items:
                    inner = " and ".join(self.tests(item)) if isinstance(item, Object) else ""
                    if inner:
                        yield f"{at}.where({inner}).exists()"

    def name(self, wanted: str) -> str:
        """A column name that is used once: a hole that stands twice gets a number."""
        self.names[wanted] += 1
        return wanted if self.names[wanted] == 1 else f"{wanted}_{self.names[wanted]}"


def _step(field: Field) -> str:
    """An element in FHIRPath: `value.ofType(Quantity)` for `valueQuantity`."""
    kinds = field.element.kinds
    kind = next((kind for kind in kinds if r4.named(field.element.base, kind) == field.key), None)
    return f"{field.element.base}.ofType({kind})" if kind else field.key


def _raw(field: Field, hole: Hole) -> bool:
    """A whole list or a complex element as one hole: no column of a view can hold it."""
    return (
        not hole.table
        and not field.key.endswith("[x]")
        and (field.element.many or r4.is_complex(field.element.kind))
    )


def _coding(system: str, code: str) -> str:
    return f"({_equal('system', system)} and {_equal('code', code)})"


def _equal(path: str, value: Any) -> str:
    if not isinstance(value, str):
        return f"{path} = {json.dumps(value)}"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{path} = '{escaped}'"
