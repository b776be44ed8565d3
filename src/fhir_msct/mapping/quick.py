"""The quick reader of measurements: of the bodies in which nothing is unusual, which is nearly all of them.

It is the function that `generate` makes, with three savings. There is no room for `_` members of
primitives; lists that come again and again are read once for each text they come in; and what is the same
for all results of one code, unit and range is kept in a frame. Whatever is unusual comes back as an `Aside`
or an error that only means no: what it is, and each reason, comes from the careful reader. Of a list that
stands in a resource twice it looks at the last alone: no pull lets such a resource in.
"""

from collections.abc import Callable, Iterable
from typing import Any

from fhir_msct.mapping.context import origin
from fhir_msct.mapping.frames import FRAMED, remember
from fhir_msct.mapping.generate import Generated, names_of
from fhir_msct.mapping.measured import HANDED, result
from fhir_msct.mapping.remembered import Remembered
from fhir_msct.mapping.structs import part_type, remembered
from fhir_msct.mapping.template import Field, Items, Template, holes_of


class Quick(Generated):
    """The quick reading function of one template: a Measurement, or an `Aside` that only means no."""

    parameters = "o, ctx, known, says, resource, context"
    siblings = False

    def __init__(self, template: Template, tables: dict[str, Any], also: Iterable[str]) -> None:
        self.kept = remembered(template)
        super().__init__(template, tables, also)

    def compiled(self) -> Callable[..., Any]:
        """The function, with what it remembers."""
        self.scope |= {"origin": origin, "remember": remember, "result": result}
        read = super().compiled()
        for field in self.kept:
            part = Remembered(part_type(field), self.scope[f"read_{field.key}"])
            self.scope |= {f"seen_{field.key}": part.seen, f"first_{field.key}": part.first}
        return read

    def who(self) -> str:
        """Nobody, where no step is left that is not remembered."""
        return "None" if self.kept else super().who()

    def end(self) -> None:
        """Finds the frame, and makes the record at once."""
        framed, handed = (", ".join(f"h_{name}" for name in names) for names in (FRAMED, HANDED))
        self.say(1, f"key = (says, {framed})")
        self.say(1, f"frame = context.frames.get(key) or remember(key, {self.found()}, says, context)")
        self.say(1, f"at = origin(resource, {self.template.kind!r}, o.f_id, o.f_meta)")
        self.say(1, f"return result(frame, at, context, o, why, {handed})")

    def items(self, field: Field, node: Items, x: str, at: str, depth: int) -> None:
        """A list that comes again and again is read by a function of its own, once for each text."""
        if field not in self.kept:
            super().items(field, node, x, at, depth)
            return
        holes = [name for name in self.names if name in set(names_of(holes_of(field)))]
        values = "".join(f"h_{name}, " for name in holes)
        outer, self.lines = self.lines, []
        self.say(0, f"def read_{field.key}(v, who):")
        self.say(1, " = ".join(f"h_{name}" for name in holes) + " = None; why = ()")
        super().items(field, node, "v", at, 1)
        self.say(1, f"return ({values}why)")
        self.parts += self.lines
        self.lines = outer
        about = ", ".join(f"h_{name}" if name in self.names else "None" for name in ("subject", "when"))
        kept = f"seen_{field.key}.get(b'' + {x}) or first_{field.key}({x}, ctx, {about})"
        self.say(depth, f"if {x} is not None:")
        self.say(depth + 1, f"if (part := {kept}).__class__ is Aside: return part")
        self.say(depth + 1, f"{values}more = part")
        self.say(depth + 1, "if more: why += more")
