"""A search, from its parameters to SQL: what it asks for, and which of it was understood.

https://hl7.org/fhir/R4/search.html. As on HAPI, a parameter that is not known is refused, whatever was
preferred, but one that begins with `_`, or has no value, is ignored, and so is absent from the `self` link.
A modifier is always refused.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fhir_msct.sandbox.index import literal
from fhir_msct.sandbox.moments import Moment, moment
from fhir_msct.sandbox.outcome import Rejected
from fhir_msct.sandbox.parameters import CONTROLS, DIGITS, PARAMETERS, RESULTS, Parameter, token

_IGNORED = ("_format", "_pretty")
_UNDONE = ("_include", "_revinclude", "_has", "_filter", "_text", "_content", "_list", "_query", "_contained")
"""Parameters of FHIR that would change what comes, and that this server does not do: refused, not ignored."""

_PREFIX = re.compile(r"(eq|ne|gt|ge|lt|le|sa|eb|ap)?(.*)", re.DOTALL)

_RANGE = {
    "eq": "({start} >= ? and {stop} <= ?)",
    "ne": "not ({start} >= ? and {stop} <= ?)",
    "gt": "{stop} > max(?, ?)",
    "ge": "{stop} > min(?, ?)",
    "lt": "{start} < min(?, ?)",
    "le": "{start} < max(?, ?)",
    "sa": "{start} >= max(?, ?)",
    "eb": "{stop} <= min(?, ?)",
}
"""How a prefix compares a value's range with the one that was asked for (its two ends are the marks)."""


class Clause(NamedTuple):
    """A condition on `current c`, and its arguments."""

    sql: str
    args: tuple[Any, ...]
    by_terms: bool = False
    """Whether it names keys: then the index by type would be the longer way."""


class Query(NamedTuple):
    """A search that can be run: its conditions, its order, and how the answer is wanted."""

    type: str
    clauses: tuple[Clause, ...]
    order: str
    size: int | None
    total: str
    count_only: bool
    elements: tuple[str, ...]
    used: tuple[tuple[str, str], ...]
    """The parameters that were understood, as sent: the `self` link."""

    def sql(self, what: str) -> tuple[str, tuple[Any, ...]]:
        """The statement that selects `what` of the matches, and its arguments."""
        where = "".join(f" and {clause.sql}" for clause in self.clauses)
        args = tuple(arg for clause in self.clauses for arg in clause.args)
        of_type = "+c.type" if any(clause.by_terms for clause in self.clauses) else "c.type"
        sql = f"select {what} from current c where {of_type} = ? and c.deleted = 0{where}"  # noqa: S608  (our own words)
        return sql, (self.type, *args)


def query(type_: str, pairs: Iterable[tuple[str, str]], *, base: str) -> Query:
    """What these parameters ask of a type; raises Rejected for what cannot be answered.

    `base` is the server's own address: a reference that names it is one of ours.
    """
    clauses: list[Clause] = []
    controls: dict[str, str] = {}
    used: list[tuple[str, str]] = []
    for name, value in pairs:
        if name in CONTROLS:
            controls[name] = value
        elif name in _IGNORED or not value.strip(","):
            continue
        else:
            clause = _clause(type_, name, value, base)
            if clause is None and name.startswith("_") and name.partition(":")[0] not in _UNDONE:
                continue
            if clause is None:
                raise Rejected(400, f"unknown search parameter {name!r} for {type_}")
            clauses.append(clause)
        used.append((name, value))
    summary = controls.get("_summary", "false")
    if summary not in ("false", "count"):
        raise Rejected(400, "_summary: this server answers count or false")
    if summary == "count" and "_elements" in controls:
        raise Rejected(400, "_summary and _elements: only one of them, as on a HAPI server")
    count = _whole("_count", controls["_count"]) if "_count" in controls else None
    return Query(
        type=type_,
        clauses=tuple(clauses),
        order=_order(type_, controls.get("_sort", "")),
        size=count,
        total=controls.get("_total", ""),
        count_only=summary == "count" or count == 0,
        elements=tuple(name for name in controls.get("_elements", "").split(",") if name),
        used=tuple(used),
    )


def split(value: str, at: str = ",") -> list[str]:
    """A value's alternatives; a backslash keeps the character after it from splitting."""
    parts, part, escaped = [], "", False
    for char in value:
        if not escaped and char == at:
            parts.append(part)
            part = ""
            continue
        part += char
        escaped = char == "\\" and not escaped
    return [*parts, part]


def _clause(type_: str, name: str, value: str, base: str) -> Clause | None:
    plain, _, modifier = name.partition(":")
    parameter = PARAMETERS.get(type_, {}).get(plain)
    if parameter is None and plain not in RESULTS:
        return None
    if modifier:
        raise Rejected(400, f"search modifier :{modifier} is not supported")
    values = [part for part in split(value) if part]
    if plain == "_id":
        ids = [_plain(part) for part in values]
        return Clause("c.id in (select value from json_each(?))", (json.dumps(ids),))
    if plain == "_lastUpdated":
        return _either([_last_updated(part) for part in values])
    parameter = parameter or token("meta.tag")
    param = f"{type_}.{plain}"
    if parameter.kind == "date":
        return _either([_date(param, part) for part in values])
    if parameter.kind == "reference":
        return _reference(param, parameter, values, base)
    return _token(param, values)


def _either(clauses: Sequence[Clause]) -> Clause:
    sql = " or ".join(clause.sql for clause in clauses)
    return Clause(f"({sql})", tuple(arg for clause in clauses for arg in clause.args))


def _in_terms(*conditions: tuple[str, tuple[Any, ...]]) -> Clause:
    """With a term that meets one of these conditions; in one list, since an `or` of lists is no way in."""
    keys = " union all ".join("select t.key from term t where " + condition for condition, _ in conditions)  # noqa: S608
    return Clause(f"c.key in ({keys})", tuple(arg for _, args in conditions for arg in args), by_terms=True)


def _in_values(
    param: str, pairs: Sequence[Sequence[str]], values: Sequence[str], systems: Sequence[str] = ()
) -> Clause:
    """With a term of one of these (system, value), values whatever their system, or systems."""
    exact = (
        "t.param = ? and (t.value, t.system) in"
        " (select json_extract(value, '$[1]'), json_extract(value, '$[0]') from json_each(?))"
    )
    found = [(exact, pairs)] if pairs else []
    among = "t.param = ? and t.{} in (select value from json_each(?))"
    found += [(among.format(name), some) for name, some in (("value", values), ("system", systems)) if some]
    return _in_terms(*((condition, (param, json.dumps(listed))) for condition, listed in found))


def _token(param: str, values: list[str]) -> Clause:
    anywhere, exact, systems = [], [], []
    for value in values:
        parts = [_plain(part) for part in split(value, "|")]
        if len(parts) == 1:
            anywhere.append(parts[0])
        elif parts[1]:
            exact.append(parts[:2])
        else:
            systems.append(parts[0])
    return _in_values(param, exact, anywhere, systems)


def _reference(param: str, parameter: Parameter, values: list[str], base: str) -> Clause:
    wanted: list[tuple[str | None, str]] = []
    for value in map(_plain, values):
        own = value.removeprefix(base + "/")
        named = literal(own)
        if named:
            wanted += [named, ("", f"{base}/{named[0]}/{named[1]}")]
        elif "/" in own or ":" in own:
            wanted.append(("", own))
        elif parameter.target:
            wanted += [(parameter.target, own), ("", f"{base}/{parameter.target}/{own}")]
        else:
            wanted.append((None, own))
    pairs = [(system, value) for system, value in wanted if system is not None]
    return _in_values(param, pairs, [value for system, value in wanted if system is None])


def _date(param: str, text: str) -> Clause:
    prefix, asked = _asked(text)
    clock = "" if asked.timed else "wall_"
    condition = _RANGE[prefix].format(start=f"t.{clock}start", stop=f"t.{clock}stop")
    ends = (asked.start, asked.stop) if asked.timed else (asked.wall_start, asked.wall_stop)
    return _in_terms((f"t.param = ? and {condition}", (param, *ends)))


def _last_updated(text: str) -> Clause:
    prefix, asked = _asked(text)
    return Clause(_RANGE[prefix].format(start="c.at", stop="(c.at + 1)"), (asked.start, asked.stop))


def _asked(text: str) -> tuple[str, Moment]:
    found = _PREFIX.fullmatch(_plain(text))
    prefix = (found and found[1]) or "eq"
    asked = moment(found[2]) if found else None
    if asked is None or prefix not in _RANGE:
        raise Rejected(400, "a date in the search is none, or its prefix is not supported")
    return prefix, asked


def _order(type_: str, sort: str) -> str:
    columns = []
    for name in filter(None, sort.split(",")):
        plain, way = name.removeprefix("-"), " desc" if name.startswith("-") else ""
        parameter = PARAMETERS.get(type_, {}).get(plain)
        if plain in ("_lastUpdated", "_id"):
            columns.append({"_lastUpdated": "c.at", "_id": "c.id"}[plain] + way)
        elif parameter is not None and parameter.kind == "date":
            end = "max(t.stop)" if way else "min(t.start)"
            term = f"(select {end} from term t where t.key = c.key and t.param = '{type_}.{plain}')"  # noqa: S608
            columns.append(f"{term}{way} nulls last")
        else:
            raise Rejected(400, f"cannot sort {type_} by {plain!r}")
    return " order by " + ", ".join([*columns, "c.key"])


def _whole(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > DIGITS:
        raise Rejected(400, f"{name}: not a whole number")
    return int(text)


def _plain(text: str) -> str:
    """The text with its escapes undone (https://hl7.org/fhir/R4/search.html#escaping)."""
    return re.sub(r"\\([\\,|$])", r"\1", text)
