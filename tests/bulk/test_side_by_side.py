"""Threads fetch, and the one that called writes down what they bring."""

import threading
from collections.abc import Collection, Iterator

import pytest

from fhir_msct.tasks.threads import side_by_side


class Work:
    """Pieces that are numbers; each brings as many events as its number says."""

    def __init__(self, *pieces: int) -> None:
        self.left, self.applied = list(pieces), list[tuple[int, int]]()
        self.writers, self.most = set[int](), 0

    def following(self, busy: Collection[int]) -> int | None:
        self.most = max(self.most, len(busy) + bool(self.left))
        return self.left.pop(0) if self.left else None

    def events(self, piece: int) -> Iterator[int]:
        yield from range(piece)

    def apply(self, piece: int, event: int) -> None:
        self.writers.add(threading.get_ident())
        self.applied.append((piece, event))


@pytest.mark.parametrize("threads", [1, 2, 4, 9])
def test_every_event_is_applied_once_and_in_order_by_the_caller(threads: int) -> None:
    work = Work(3, 0, 50, 7, 1, 20)
    side_by_side(work.following, work.events, work.apply, threads)
    assert sorted(work.applied) == [(piece, event) for piece in (1, 3, 7, 20, 50) for event in range(piece)]
    for piece in (3, 50, 7, 20):
        assert [event for one, event in work.applied if one == piece] == [*range(piece)]
    assert work.writers == {threading.get_ident()}
    assert work.most <= threads


def test_work_that_follows_from_work_is_done_too() -> None:
    work = Work(2)

    def apply(piece: int, event: int) -> None:
        work.apply(piece, event)
        if piece == 2 and event == 1:
            work.left.append(5)

    side_by_side(work.following, work.events, apply, 3)
    assert (5, 4) in work.applied


@pytest.mark.parametrize("where", ["events", "apply", "following"])
def test_what_any_of_them_raises_is_raised_and_no_thread_is_left(where: str) -> None:
    work, before = Work(9, 9, 9, 9), threading.active_count()

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    def events(piece: int) -> Iterator[int]:
        yield from work.events(piece)
        if where == "events":
            broken()

    def following(busy: Collection[int]) -> int | None:
        if where == "following" and len(busy) == 2:
            broken()
        return work.following(busy)

    apply = broken if where == "apply" else work.apply
    with pytest.raises(KeyboardInterrupt):
        side_by_side(following, events, apply, 3)
    assert threading.active_count() == before
