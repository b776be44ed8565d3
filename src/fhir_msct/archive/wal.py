"""Whether the log that a killed process left beside its database is whole.

SQLite plays such a log back as far as its checksums hold and silently forgets the rest: a damaged byte there
would take committed transactions with it. https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

_HEADER, _FRAME = struct.Struct(">8I"), struct.Struct(">6I")
_BIG, _LITTLE = 0x377F0683, 0x377F0682

Sum = tuple[int, int]


class Frame(Struct, frozen=True):
    """One page in the log: how its salts stand to those of the log, and whether its checksum holds."""

    number: int
    salts_equal: int
    """0: of an earlier use of the same file; 2: of this one; 1: cannot be."""
    chained: bool
    """Whether it fits the checksum that the frame before it carries."""
    commits: bool
    """Whether it is the last of a transaction."""
    last: bool


def damage(path: Path) -> str:
    """What is damaged in a log, or the empty text; an unfinished write at its end is no damage.

    Nor is what a transaction left that found no room, where a shorter one was written over its beginning.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size < _HEADER.size:
        return ""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        magic, _, page, _, *salts, one, two = _HEADER.unpack(head)
        order = {_BIG: ">", _LITTLE: "<"}.get(magic)
        if order is None or _summed(head[:24], (0, 0), order) != (one, two):
            return "the log's head"
        return _judged(_frames(file, size, page, salts, order, (one, two)))


def _judged(frames: Iterator[Frame]) -> str:
    broken = 0
    for frame in frames:
        fits = frame.chained and frame.salts_equal == 2
        if frame.salts_equal == 1 or (broken and fits and frame.commits):
            return f"frame {broken or frame.number} of the log"
        if not fits and not broken:
            broken = frame.number
            if frame.salts_equal == 2 and frame.last:
                return f"frame {broken} of the log"
    return ""


def _frames(
    file: BinaryIO, size: int, page: int, salts: list[int], order: str, before: Sum
) -> Iterator[Frame]:
    count = (size - _HEADER.size) // (_FRAME.size + page)
    exact = (size - _HEADER.size) % (_FRAME.size + page) == 0
    for number in range(1, count + 1):
        head, body = file.read(_FRAME.size), file.read(page)
        _, pages, salt_1, salt_2, one, two = _FRAME.unpack(head)
        equal = (salt_1 == salts[0]) + (salt_2 == salts[1])
        chained = equal == 2 and _summed(head[:8] + body, before, order) == (one, two)
        before = (one, two)
        yield Frame(number, equal, chained, pages != 0, exact and number == count)


def _summed(data: bytes, start: Sum, order: str) -> Sum:
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
