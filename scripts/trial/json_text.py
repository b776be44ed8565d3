"""JSON as different servers write it: the same tree, other bytes. Numbers keep their digits."""

import json
from random import Random
from typing import Any


class Number(str):
    """A number exactly as it is to be written: `5.40` stays `5.40`."""


STYLES = ("compact", "spaced", "escaped", "shuffled")


def line(tree: dict[str, Any], style: str, chance: Random) -> str:
    """One line of JSON in a server's own style.

    compact: no spaces. spaced: a space after comma and colon. escaped: a slash as `\\/`, and
    characters beyond ASCII as `\\uXXXX`. shuffled: keys in any order.
    """
    return _text(tree, style, chance)


def _text(value: Any, style: str, chance: Random) -> str:
    if isinstance(value, Number):
        return str(value)
    comma, colon = (", ", ": ") if style == "spaced" else (",", ":")
    if isinstance(value, dict):
        items = list(value.items())
        if style == "shuffled":
            items = [
                pair for _, pair in sorted([(chance.random(), pair) for pair in items], key=lambda x: x[0])
            ]
        return "{" + comma.join(_string(k, style) + colon + _text(v, style, chance) for k, v in items) + "}"
    if isinstance(value, list):
        return "[" + comma.join(_text(item, style, chance) for item in value) + "]"
    if isinstance(value, str):
        return _string(value, style)
    return json.dumps(value)


def _string(text: str, style: str) -> str:
    if style == "escaped":
        return json.dumps(text).replace("/", "\\/")
    return json.dumps(text, ensure_ascii=False)
