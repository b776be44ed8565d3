"""The sandbox gives back the bytes it was given: only version and time are written, into `meta`."""

import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.errors import InputError
from fhir_msct.sandbox import Sandbox

STAMP = {"versionId": '"1"', "lastUpdated": '"2024-06-01T12:00:00.000+00:00"'}

spaces = st.sampled_from(["", "", " ", "\n  ", "\t", "\r\n"])
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
quoted = st.builds(lambda text, plain: json.dumps(text, ensure_ascii=not plain), texts, st.booleans())
escaped = st.sampled_from([r'"a\/b"', r'"é"', '"\\ud83d\\ude00"', '"\\u2028"', r'"\"meta\":{}"', '"}"'])
scalars = st.sampled_from(["true", "false", "null"]) | numbers | quoted | escaped


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str], members: list[tuple[str, str]] | None = None) -> str:
    if members is None:
        names = draw(st.lists(texts, max_size=3, unique=True))
        members = [(json.dumps(name), draw(values)) for name in names]
    gaps = [draw(spaces) for _ in range(4)]
    inside = f"{gaps[0]},{gaps[1]}".join(f"{key}{gaps[2]}:{gaps[3]}{value}" for key, value in members)
    return "{" + gaps[1] + inside + gaps[0] + "}"


def lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda items, gap: f"[{gap}{f',{gap}'.join(items)}]", st.lists(values, max_size=3), spaces)


values = st.recursive(scalars, lambda inner: lists(inner) | objects(inner), max_leaves=8)


@st.composite
def resources(draw: st.DrawFn) -> tuple[str, str]:
    """The text of a Basic, and the text that must come back."""
    taken = {"resourceType", "id", "meta"}
    names = draw(st.lists(texts.filter(lambda name: name not in taken), max_size=4, unique=True))
    sent = [(json.dumps(name), draw(values)) for name in names]
    sent += [('"resourceType"', '"Basic"'), ('"id"', '"law"')]
    metas = {"": "", "none": ""}
    if draw(st.booleans()):
        names = draw(st.lists(texts.filter(lambda name: name not in STAMP), max_size=2, unique=True))
        inside = [(json.dumps(name), draw(values)) for name in names]
        inside += [(f'"{name}"', '"9"') for name in draw(st.sets(st.sampled_from(list(STAMP))))]
        inside = draw(st.permutations(inside))
        metas = {"sent": draw(objects(values, inside)), "inside": inside}
        sent.append(('"meta"', "META"))
    whole = draw(objects(values, draw(st.permutations(sent))))
    if "sent" not in metas:
        stamp = ",".join(f'"{name}":{value}' for name, value in STAMP.items())
        at = whole.index('"law"') + len('"law"')
        return whole, whole[:at] + f',"meta":{{{stamp}}}' + whole[at:]
    return whole.replace("META", metas["sent"]), whole.replace("META", expected_meta(metas))


def expected_meta(metas: dict) -> str:
    """The meta that must come back: what was there replaced in place, what was not put first."""
    present = [key.strip('"') for key, _ in metas["inside"] if key.strip('"') in STAMP]
    text = metas["sent"]
    for name in present:
        at = text.index('"9"', text.index(f'"{name}"') + len(name) + 2)
        text = text[:at] + STAMP[name] + text[at + 3 :]
    missing = ",".join(f'"{name}":{value}' for name, value in STAMP.items() if name not in present)
    return "{" + missing + ("," if missing and metas["inside"] else "") + text[1:]
