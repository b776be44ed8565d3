"""Which list item and which alternative a template means: one answer, for the reader and for the editor.

If the two decided separately they would drift apart, and an edit would land in another item than the
value was read from.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from fhir_msct.mapping.template import Constant, Field, Hole, Items, Object

Pick = Callable[..., "int | None"]
"""A list of items, and who they are about -> the index of the one that is meant."""


class Ambiguous(Exception):
    """Two items of a list fit, and nothing says which is meant."""


def conditions(o: Object, x: str) -> Iterator[str]:
    """Python conditions that the constants, allowed values and code tables of an item put on it."""
    for field in o.fields:
        yield from _field_conditions(field, f"{x}.f_{field.key}")


def _field_conditions(field: Field, x: str) -> Iterator[str]:
    node = field.node
    if isinstance(node, Constant):
        yield f"{x} == {node.value!r}"
    elif isinstance(node, Hole):
        yield from hole_conditions(node, x)
        if field.key != "reference" and not node.optional and (node.before or node.after):
            yield f"({x} or '').startswith({node.before!r}) and ({x} or '').endswith({node.after!r})"
    elif isinstance(node, Object):
        if inner := " and ".join(conditions(node, x)):
            yield f"({x} is not None and {inner})"
    elif not node.step:
        for item in node.items:
            w = re.sub(r"\W", "_", x)
            if inner := " and ".join(item_conditions(item, w)):
                yield f"any({inner} for {w} in {x} or ())"


def hole_conditions(hole: Hole, x: str) -> Iterator[str]:
    """The conditions of one hole: a value from its list, or a coding from its table.

    A hole that may be absent selects nothing.
    """
    if hole.optional:
        return
    if hole.allowed:
        yield f"{x} in {hole.allowed!r}"
    elif hole.table:
        listed = f"(c.f_system or '') in T_{hole.table}.get(c.f_code, ())"
        yield f"any({listed} for c in ({x} and {x}.f_coding) or ())"


def item_conditions(item: Object | Hole, x: str) -> list[str]:
    """The conditions that select one item of a list."""
    return [*(hole_conditions(item, x) if isinstance(item, Hole) else conditions(item, x))]


def picker(item: Object | Hole, scope: dict[str, Any]) -> Pick:
    """items -> index of the one that is meant, None if there is none; raises Ambiguous for two.

    An item without any condition means the only item there is.
    """
    text = " and ".join(item_conditions(item, "i")) or "True"
    fits: Callable[[Any], bool] = eval(f"lambda i: {text}", scope)  # noqa: S307  built from checked names and repr

    def pick(items: Any, who: Any = None) -> int | None:
        hits = [n for n, candidate in enumerate(items or ()) if fits(candidate)]
        if len(hits) > 1:
            raise Ambiguous
        return hits[0] if hits else None

    return pick


def chooser(alternatives: tuple[Object, ...], scope: dict[str, Any]) -> Pick:
    """object -> index of the first alternative that is present and whose constants match."""
    return eval(f"lambda v: {choice(alternatives, 'v')}", scope)  # type: ignore[no-any-return]  # noqa: S307  as above


def choice(alternatives: tuple[Object, ...], x: str) -> str:
    """The Python expression that says which alternative of the object `x` is meant."""
    tests = []
    for alternative in alternatives:
        present = " or ".join(_present(field, x) for field in alternative.fields)
        tests.append(" and ".join([*conditions(alternative, x), f"({present})"]))
    return " else ".join(f"{n} if {test}" for n, test in enumerate(tests)) + " else None"


def _present(field: Field, x: str) -> str:
    return f"{x}.f_{field.key}" if isinstance(field.node, Items) else f"{x}.f_{field.key} is not None"
