"""Lines in batches: one transaction each."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

BATCH = 2000
"""Lines of one transaction."""


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """The items in their order, so many at a time."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
