"""From a template to a Python function: what it reads is spelled out once, when the mapping is loaded.

The generated function takes a decoded resource and gives back what stands in the holes, or an `Aside`.
Only names from the R4 table and `repr` of constants enter the text, so a mapping file cannot inject code.
"""

import linecache
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from fhir_msct.mapping import hole_lines, r4, ranges, selection
from fhir_msct.mapping.absence import absent_reason
from fhir_msct.mapping.reading import Aside
from fhir_msct.mapping.structs import NUMBERS
from fhir_msct.mapping.subjects import local_id
from fhir_msct.mapping.template import Field, Hole, Items, Object, Template
from fhir_msct.records import When

STEPS: dict[str, selection.Pick] = {"normal": ranges.normal}
"""The named steps that pick a list item."""


class Generated:
    """The reading function of one template, with the picks and choices that the editor shares."""

    parameters = "o, ctx, known"
    """Of the generated function: the resource, the patients, and what its code means."""
    siblings = True
    """Whether it looks at the `_` members of primitives."""

    def __init__(self, template: Template, tables: dict[str, Any], also: Iterable[str] = ()) -> None:
        self.template = template
        self.scope: dict[str, Any] = {
            "Aside": Aside,
            "When": When,
            "Decimal": Decimal,
            "absent_reason": absent_reason,
            "Ambiguous": selection.Ambiguous,
            "local_id": local_id,
            **{f"T_{name}": table.by_code for name, table in tables.items()},
        }
        self.picks: dict[int, selection.Pick] = {}
        self.choices: dict[int, selection.Pick] = {}
        self.lines: list[str] = []
        self.parts: list[str] = []
        """Lines of other functions, which the reading function calls."""
        self.names = list(dict.fromkeys((*names_of(template.root.holes()), *also)))
        self.Found = msgspec.defstruct(
            "Found",
            [
                *((name, Any, None) for name in self.names),
                ("why", tuple, ()),
                ("item", int, 0),
                ("o", Any, None),
            ],
            frozen=True,
            gc=False,
        )
        self.count = 0
        self.read: Callable[..., Any] = self.compiled()

    def say(self, depth: int, text: str) -> None:
        """One line of the generated function."""
        self.lines.append("    " * depth + text)

    def say_all(self, depth: int, lines: Iterable[str]) -> None:
        """Several lines, which bring their own further depth."""
        for text in lines:
            self.say(depth, text)

    def fresh(self, letter: str) -> str:
        """A variable name that no other part of the function uses."""
        self.count += 1
        return f"{letter}{self.count}"

    def compiled(self) -> Callable[..., Any]:
        """The function whose lines have been said."""
        template, kind = self.template, self.template.kind
        self.say(0, f"def read({self.parameters}):")
        self.begin()
        if template.scope_field is not None:
            self.say(1, f"h_{_hole(template.scope_field).name} = known")
        if r4.has_element(kind, "implicitRules"):
            self.say(
                1, f"if o.f_implicitRules is not None: return Aside('implicit-rules', '{kind}.implicitRules')"
            )
        self.say(1, f"who = {self.who()}")
        needed = self.object(template.root, "o", kind, 1)
        if template.each is None:
            self.require(needed, 1)
            self.end()
        else:
            self.each(template.each, needed)
        source = "\n".join((*self.parts, *self.lines))
        self.scope["Found"] = self.Found
        file = f"<mapping {template.name}>"
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        exec(compile(source, file, "exec"), self.scope)  # noqa: S102  built from checked names and repr
        return self.scope["read"]  # type: ignore[no-any-return]

    def begin(self) -> None:
        """Nothing is found yet."""
        self.say(1, " = ".join(f"h_{name}" for name in self.names) + " = None; why = (); item = 0")

    def who(self) -> str:
        """Whom the resource is about, asked by a step that picks a list item."""
        depends = {"subject", "when"} <= set(self.names) and self.template.steps
        return "lambda: ctx.who(h_subject, h_when)" if depends else "None"

    def end(self) -> None:
        """What the function gives back."""
        self.say(1, f"return ({self.found()},)")

    def found(self) -> str:
        """The call that makes the result."""
        return f"Found({', '.join(f'h_{name}' for name in self.names)}, why, item, o)"

    def each(self, field: Field, needed: list[tuple[str, str]]) -> None:
        """One result for each item of a list whose code is listed; the others are somebody else's."""
        assert isinstance(field.node, Items)  # noqa: S101  Template.each says so
        item, path = field.node.items[0], f"{self.template.kind}.{field.key}[]"
        assert isinstance(item, Object)  # noqa: S101  the grammar says so
        self.require(needed, 1)
        outer = set(self.names) - {hole.name for _, hole in item.holes()}
        inner = [name for name in self.names if name not in outer]
        self.say(1, "every = []; shared = why")
        self.say(1, f"for item, i in enumerate(o.f_{field.key} or ()):")
        self.say(2, " = ".join(f"h_{name}" for name in inner) + " = None; why = shared")
        if tests := " and ".join(selection.conditions(item, "i")):
            self.say(2, f"if not ({tests}): continue")
        self.require(self.object(item, "i", path, 2, selected=True), 2)
        self.say(2, f"every.append({self.found()})")
        self.say(1, "return tuple(every)")

    def require(self, needed: list[tuple[str, str]], depth: int) -> None:
        """Sets the resource aside where a hole without `?` stayed empty."""
        for name, path in needed:
            reason = "subject-unresolved" if path.endswith("reference") else "missing"
            self.say(depth, f"if h_{name} is None: return Aside({reason!r}, {path!r})")

    def object(
        self, o: Object, v: str, path: str, depth: int, *, selected: bool = False, shared: bool = False
    ) -> list[tuple[str, str]]:
        """Reads one template object out of the variable `v`; returns the holes that must not stay empty.

        `selected`: constants have already chosen this item. `shared`: an alternative, whose place `v`
        has been guarded before.
        """
        needed: list[tuple[str, str]] = []
        if not shared:
            self.guards(o, v, path, depth)
        for field in o.fields:
            at, node = f"{path}.{field.key}", field.node
            if isinstance(node, Hole):
                needed += self.hole(field, node, v, at, depth, selected)
            elif isinstance(node, Object):
                needed += self.part(field, node, v, at, depth, selected, shared)
            elif isinstance(node, Items):
                if node.step != "each":
                    self.items(field, node, f"{v}.f_{field.key}", at, depth)
            elif not selected:
                x = f"{v}.f_{field.key}"
                self.say(
                    depth, f"if {x} is not None and {x} != {node.value!r}: return Aside('constant', {at!r})"
                )
        if o.alternatives:
            self.alternatives(o, v, path, depth)
        return needed

    def guards(self, o: Object, v: str, path: str, depth: int) -> None:
        """What a reader of named fields would not see: modifiers, reasons for absence, another kind."""
        if r4.has_element(o.kind, "modifierExtension"):
            at = f"{path}.modifierExtension"
            self.say(depth, f"if {v}.f_modifierExtension is not None: return Aside('modifier', {at!r})")
        if r4.has_element(o.kind, "dataAbsentReason"):
            x = f"{v}.f_dataAbsentReason"
            self.say(depth, f"if {x} is not None: why += (('', absent_reason({x}) or 'unknown'),)")
        named = {field.key for part in o.parts() for field in part.fields}
        bases = {field.element.base for part in o.parts() for field in part.fields if field.element.kinds}
        for base in sorted(bases):
            kinds = next(f.element.kinds for p in o.parts() for f in p.fields if f.element.base == base)
            others = [key for kind in kinds if (key := r4.named(base, kind)) not in named]
            if others and f"{base}[x]" not in named:
                test = " or ".join(f"{v}.f_{key} is not None" for key in others)
                self.say(depth, f"if {test}: return Aside('value-kind', '{path}.{base}')")

    def part(
        self, field: Field, o: Object, v: str, at: str, depth: int, selected: bool, shared: bool
    ) -> list[tuple[str, str]]:
        """A single element with elements of its own."""
        w = self.fresh("v")
        self.say(depth, f"if ({w} := {v}.f_{field.key}) is not None:")
        needed = self.object(o, w, at, depth + 1, selected=selected)
        first = next((f for f in o.fields if isinstance(f.node, Hole)), None)
        if o.kind == "Quantity" and first is not None and not _hole(first).private:
            name = _hole(first).name
            test = (
                f"h_{name} is None and {w}.f_extension is not None and (r := absent_reason({w}.f_extension))"
            )
            self.say(depth + 1, f"if {test}: why += (({name!r}, r),)")
        self.say(depth + 1, "pass")
        if shared:
            self.require(needed, depth + 1)
            return []
        return needed

    def items(self, field: Field, node: Items, x: str, at: str, depth: int) -> None:
        """The items of the list `x` that are meant."""
        for item in node.items:
            self.item(node, item, x, at, depth)

    def item(self, node: Items, item: Object | Hole, x: str, at: str, depth: int) -> None:
        """One item of a list: found by its constants, or by a named step."""
        pick = STEPS[node.step] if node.step else selection.picker(item, self.scope)
        name, w, n = f"P{len(self.picks)}", self.fresh("v"), self.fresh("n")
        self.picks[id(item)] = self.scope[name] = pick
        self.say(depth, f"if ({w} := {x}):")
        self.say(depth + 1, f"try: {n} = {name}({w}, who)")
        self.say(depth + 1, f"except Ambiguous: return Aside('ambiguous', {at!r})")
        self.say(depth + 1, f"if {n} is not None:")
        self.say(depth + 2, f"{w} = {w}[{n}]")
        if isinstance(item, Hole):
            self.say_all(depth + 2, hole_lines.concept(item, w, at))
        else:
            self.require(self.object(item, w, f"{at}[]", depth + 2, selected=True), depth + 2)

    def alternatives(self, o: Object, v: str, path: str, depth: int) -> None:
        """The first alternative that is there and whose constants match; never two."""
        n = self.fresh("n")
        self.choices[id(o)] = selection.chooser(o.alternatives, self.scope)
        self.say(depth, f"{n} = {selection.choice(o.alternatives, v)}")
        for number, part in enumerate(o.alternatives):
            self.say(depth, f"{'if' if not number else 'elif'} {n} == {number}:")
            self.require(self.object(part, v, path, depth + 1, selected=True, shared=True), depth + 1)
            self.say(depth + 1, "pass")

    def hole(
        self, field: Field, hole: Hole, v: str, at: str, depth: int, selected: bool
    ) -> list[tuple[str, str]]:
        """One hole; returns it where it must not stay empty."""
        if field is self.template.scope_field or hole.name not in self.names:
            return []
        lines = hole_lines.read(field, hole, v, at, selected)
        if self.siblings:
            lines += hole_lines.siblings(field, hole, v)
        self.say_all(depth, lines)
        return [] if hole.optional else [(hole.name, at)]


def _hole(field: Field) -> Hole:
    assert isinstance(field.node, Hole)  # noqa: S101  callers chose a field with a hole
    return field.node


def names_of(holes: Iterable[tuple[Field, Hole]]) -> Iterator[str]:
    """The variables of a reading: every hole once, and the text of every number."""
    seen = set()
    for field, hole in holes:
        raw = field.element.many or (r4.is_complex(field.element.kind) and not hole.table)
        if hole.name in seen or (hole.private and raw) or not re.fullmatch(r"\w+", hole.name):
            continue
        seen.add(hole.name)
        yield hole.name
        if field.element.kind in NUMBERS and not hole.private:
            yield f"{hole.name}_text"
