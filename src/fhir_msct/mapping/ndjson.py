"""Lines of an NDJSON file, split at the byte 0x0A and nowhere else."""

from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 18


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line with its number from 1; its end, if it has one, is white space of the JSON text."""
    with path.open("rb", buffering=BLOCK) as file:
        yield from enumerate(file, 1)


def is_utf8(body: bytes) -> bool:
    """Whether every byte belongs to a character; a decoder does not look into what it skips."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
