"""The lines of Python that read one hole of a template, by the kind of its element.

`v` is the variable of the object that the hole stands in, `at` its FHIR path; the value goes into
`h_<name>`.
"""

from fhir_msct.mapping import r4
from fhir_msct.mapping.structs import NUMBERS
from fhir_msct.mapping.template import Field, Hole


def read(field: Field, hole: Hole, v: str, at: str, selected: bool) -> list[str]:
    """The lines for one hole; `selected`: a constant or a value has already chosen this place."""
    x = f"{v}.f_{field.key}"
    if field.key.endswith("[x]"):
        return choice(field, hole, v, at[:-3])
    if hole.table:
        return concept(hole, x, at)
    if field.key == "reference" and hole.before.endswith("/"):
        return reference(hole, v, x, at)
    if field.element.many or r4.is_complex(field.element.kind):
        return [f"if {x} is not None: h_{hole.name} = str({x}, 'utf-8')"]
    if field.element.kind in NUMBERS:
        return number(hole, x, at)
    return text(hole, x, at, selected)


def siblings(field: Field, hole: Hole, v: str) -> list[str]:
    """The `_` members beside a primitive, where a sender may say why it is not there."""
    if field.key.endswith("[x]"):
        kinds = [kind for kind in field.element.kinds if not r4.is_complex(kind)]
        names = [r4.named(field.element.base, kind) for kind in kinds]
    elif hole.private or hole.table or field.element.many or r4.is_complex(field.element.kind):
        names = []
    else:
        names = [field.key]
    found = []
    for name in names:
        y = f"{v}.f__{name}"
        found.append(f"if {y} is not None and (r := absent_reason({y})): why += (({hole.name!r}, r),)")
    return found


def number(hole: Hole, x: str, at: str) -> list[str]:
    """A number, digit for digit, with its text beside it: `Decimal` keeps digits, not spelling."""
    return [
        f"if {x} is not None:",
        f"    try: h_{hole.name} = Decimal(t := str({x}, 'ascii'))",
        f"    except (ArithmeticError, UnicodeDecodeError): return Aside('not-a-number', {at!r})",
        f"    h_{hole.name}_text = t",
    ]


def text(hole: Hole, x: str, at: str, selected: bool) -> list[str]:
    """A primitive with, perhaps, constant text round the hole."""
    h = f"h_{hole.name}"
    lines = [f"{h} = {x}"]
    if hole.before or hole.after:
        fits = f"{h}.startswith({hole.before!r}) and {h}.endswith({hole.after!r})"
        lines += [
            f"if {h} is not None:",
            f"    if not ({fits}): return Aside('constant', {at!r})",
            f"    {h} = {h}[{len(hole.before)}:{-len(hole.after) or None}]",
        ]
    if hole.allowed and not (selected and not hole.optional):
        wrong = f"{h} is not None and {h} not in {hole.allowed!r}"
        lines.append(f"if {wrong}: return Aside('not-allowed', {at!r})")
    return lines


def reference(hole: Hole, v: str, x: str, at: str) -> list[str]:
    """A reference in every shape that can be resolved."""
    kind, h = hole.before[:-1], f"h_{hole.name}"
    if kind == "Patient":
        return [
            f"{h} = ctx.resolve({x}, {v}.f_identifier, o)",
            f"if {h} is None: return Aside('subject-unresolved', {at!r})",
        ]
    return [
        f"if {x} is not None and ({h} := local_id({kind!r}, {x}, ctx.base)) is None:",
        f"    return Aside('constant', {at!r})",
    ]


def concept(hole: Hole, x: str, at: str) -> list[str]:
    """A coding that its table lists; two that mean different things contradict each other."""
    h = f"h_{hole.name}"
    return [
        f"if {x} is not None:",
        f"    for c in {x}.f_coding or ():",
        f"        if (m := T_{hole.table}.get(c.f_code)) and (m := m.get(c.f_system or '')):",
        f"            if {h} is not None and {h} != m.value: return Aside('codes-contradict', {at!r})",
        f"            {h} = m.value",
    ]


def choice(field: Field, hole: Hole, v: str, at: str) -> list[str]:
    """Any kind that R4 allows there; of something with dates only a date, an instant or a period."""
    h, kinds, lines = f"h_{hole.name}", field.element.kinds, []
    for kind in kinds:
        y = f"{v}.f_{r4.named(field.element.base, kind)}"
        lines.append(f"if {y} is not None:")
        if "Period" in kinds and kind not in r4.DATE_KINDS:
            lines.append(f"    return Aside('date-kind', '{r4.named(at, kind)}')")
            continue
        lines.append(f"    if {h} is not None: return Aside('choice-twice', {at!r})")
        if kind == "Period":
            lines.append(f"    if {y}.f_start is None: return Aside('no-date', '{at}Period.start')")
            lines.append(f"    {h} = When('Period', {y}.f_start, {y}.f_end)")
        else:
            value = f"str({y}, 'utf-8')" if r4.is_complex(kind) else y
            lines.append(f"    {h} = When({kind!r}, {value})")
    return lines
