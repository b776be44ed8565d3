"""The words that the code can put into a reason or a flag column, found in its source."""

import re
from pathlib import Path

import fhir_msct

SOURCE = Path(fhir_msct.__file__).parent


def source(*rooms: str) -> str:
    """The text of every module in these rooms."""
    paths = [path for room in rooms for path in sorted((SOURCE / room).rglob("*.py"))]
    assert paths
    return "\n".join(path.read_text("utf-8") for path in paths)


def found(patterns: str, text: str) -> set[str]:
    """The words that any of these patterns (one a line) shows; one that goes on ends with an ellipsis."""
    words = [word for pattern in patterns.split() for word in re.findall(pattern, text)]
    return {f"{word}…" if word.endswith(("-", ":")) else word for word in words}


def aside_reasons() -> set[str]:
    """What a resource can be set aside for; some stand in texts of generated code."""
    return found(
        r"""
        Aside\(\s*f?['"]([a-z0-9-]+)
        \breason\s=\s"([a-z-]+)"\sif
        \breason\s=\s"[a-z-]+"\sif.*else\s"([a-z-]+)"
        """,
        source("mapping"),
    ) | found(r"""f"(absent-)\{ "(no-value)"\)""", source("mapping"))


def damage_reasons() -> set[str]:
    """What bytes can be left out of the archive for."""
    return found(
        r"""
        Unusable\(\s*"([a-z0-9-]+)"
        \breason\s?=\s?"([a-z0-9-]+)"
        _damage\(.*?,\s"([a-z-]+)"
        _of_file\(\w+,\s"([a-z-]+)"
        broken\.append\(.*,\s"([a-z-]+)"
        """,
        source("client", "tasks"),
    )


def flags(*rooms: str) -> set[str]:
    """Flags: appended, alone in a tuple, added to others, or with a count."""
    return found(
        r"""
        flags\.append\("([a-z_]+)"\)
        \("([a-z]+_[a-z0-9_]+)",\)
        \(\*(?:\w+\.)?flags,\s"([a-z_]+)"\)
        f"([a-z]+:)\{
        """,
        source(*rooms),
    )


def endpoint_reasons() -> set[str]:
    """Reasons of an answer that is none, where they are given by name."""
    return found(r""" "reason":\s"([a-z_]+)" \breason="([a-z_]+)" """, source("outcomes"))


def is_said(word: str, *rooms: str) -> bool:
    """Whether a word stands somewhere in the code of these rooms as a text, or as the beginning of one."""
    text, stem = source(*rooms), word.removesuffix("…")
    return f'"{stem}' in text or f"'{stem}" in text
