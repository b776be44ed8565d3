"""Work side by side: threads fetch, and the one that called writes down what they bring.

What a thread fetches next waits in a short queue while the last of it is written, so that neither the
server nor the disk is idle; the archive is written by one thread only. What waits is written together:
a disk that has to be sure of what it holds takes as long for one page as for eight.
"""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, Full, Queue
from typing import TypeAlias, TypeVar

T = TypeVar("T")
E = TypeVar("E")

_Brought: TypeAlias = tuple[T, E | None, BaseException | None]
"""A piece of work with an event of it; without one it has ended, well or with an error."""

AHEAD = 2
"""Events of each thread that may wait to be written down."""

_GLANCE = 0.05
"""Seconds after which a thread that cannot hand over looks whether anybody still wants it."""


def side_by_side(
    following: Callable[[Collection[T]], T | None],
    events: Callable[[T], Iterator[E]],
    apply: Callable[[T, E], None],
    threads: int,
    together: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Returns when nothing follows and everything that was begun is applied.

    `following` gives the next piece of work, told which are under way; `events` runs in a thread of its
    own, `following` and `apply` in the caller's. What waits at the same time is applied inside one
    `together()`. Raises what any of them raises, once all threads ended.
    """
    queue: Queue[_Brought[T, E]] = Queue(threads * AHEAD)
    stop = threading.Event()
    busy: list[tuple[T, threading.Thread]] = []

    def hand_over(piece: T, event: E | None, error: BaseException | None = None) -> bool:
        while not stop.is_set():
            try:
                queue.put((piece, event, error), timeout=_GLANCE)
            except Full:
                continue
            return True
        return False

    def run(piece: T) -> None:
        error: BaseException | None = None
        try:
            for event in events(piece):
                if not hand_over(piece, event):
                    return
        except BaseException as raised:
            error = raised
        hand_over(piece, None, error)

    try:
        while True:
            while len(busy) < threads and (piece := following([one for one, _ in busy])) is not None:
                thread = threading.Thread(target=run, args=(piece,), daemon=True)
                busy.append((piece, thread))
                thread.start()
            if not busy:
                return
            brought = _waiting(queue)
            with together():
                for piece, event, _ in brought:
                    if event is not None:
                        apply(piece, event)
            for piece, event, error in brought:
                if error is not None:
                    raise error
                if event is None:
                    busy = [(one, thread) for one, thread in busy if one is not piece]
            brought.clear()  # none of it stays in memory while the next is awaited
    finally:
        stop.set()
        _emptied(queue)
        for _, thread in busy:
            thread.join()


def _waiting(
    queue: "Queue[tuple[T, E | None, BaseException | None]]",
) -> "list[tuple[T, E | None, BaseException | None]]":
    """Everything that waits to be applied, and at least one."""
    brought = [queue.get()]
    while len(brought) < queue.maxsize:
        try:
            brought.append(queue.get_nowait())
        except Empty:
            break
    return brought


def _emptied(queue: "Queue[_Brought[T, E]]") -> None:
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return
