"""The meaning of the files' codes in words for people, from `words.toml` beside this module."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("words.toml")


def word(group: str, code: str) -> str:
    """What a code means; `cens:2` and `status-draft` fill their part in; an unlisted code is itself."""
    head, tail = parted(group, code)
    return str(table(group).get(head, code)).format(tail)


def parted(group: str, code: str) -> tuple[str, str]:
    """A code as the group lists it, and the part of it that varies: "status" and "draft"."""
    words = table(group)
    for sign in (":", "-"):
        head, found, tail = code.partition(sign)
        if code not in words and found and head in words:
            return head, tail
    return code, ""


def unit(code: str) -> str:
    """A unit as people write it: points for a score."""
    return word("units", code)


def table(group: str) -> dict[str, Any]:
    """All words of one group."""
    words: dict[str, Any] = _all()[group]
    return words


@cache
def _all() -> dict[str, Any]:
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))
