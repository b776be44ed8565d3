"""The pages of README and docs as tests see them: fenced blocks, tables under their headings, inline code."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, *sorted(DOCS.rglob("*.md")))


class Block(NamedTuple):
    """A fenced block: its language, what stands behind that, its text."""

    language: str
    info: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = re.findall(r"^```(\S+) ?(.*)\n((?:.*\n)*?)^```$", page.read_text("utf-8"), re.MULTILINE)
    return [Block(*parts) for parts in found]


def inline(page: Path) -> list[str]:
    """Every piece of inline code of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    parts = re.split(r"^(#+ .*)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return next(
        text for head, text in zip(parts[1::2], parts[2::2], strict=True) if head.lstrip("# ") == heading
    )


def table(page: Path, heading: str) -> list[tuple[str, ...]]:
    """The rows of the one table under a heading, its head left out, code marks taken off a first cell."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("|")]
    rows = [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines[2:]]
    return [(first.strip("`"), *rest) for first, *rest in rows]


def first_cells(page: Path, heading: str) -> list[str]:
    """The first column of a table."""
    return [row[0] for row in table(page, heading)]
