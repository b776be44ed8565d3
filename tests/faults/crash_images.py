"""The archive as a kill between two commits leaves it: copied there, and put in the place of what came later.

SQLite tells which statements it runs; the code that is tested knows nothing of it. What the process did
to the server after the moment of the copy stays done: nobody can take that back.
"""

import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_watching: list["Image"] = []


class Image:
    """A copy of an archive's folder, taken when a transaction begins or ends for the n-th time."""

    def __init__(self, folder: Path, number: int) -> None:
        self._archive, self._copy, self._left = folder / "archive", folder / "as it was", number
        self.opened: list[Any] = []
        """Connections to databases that nobody listens to yet: they are told of before they work."""
        self.taken = False

    def listen(self) -> None:
        """Begins to hear what is done over connections that were opened meanwhile."""
        while self.opened:
            self.opened.pop().set_trace_callback(self.said)

    def said(self, statement: str) -> None:
        """A statement begins to run."""
        if statement.startswith(("begin", "commit")) and not self.taken:
            self._left -= 1
            if self._left < 0:
                self.taken = True
                soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # the copy is no part of the story
                shutil.copytree(self._archive, self._copy)
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def put_back(self) -> None:
        """From now on the archive is what it was at that moment."""
        shutil.rmtree(self._archive)
        self._copy.rename(self._archive)


@contextmanager
def image(folder: Path, number: int | None) -> Iterator[Image | None]:
    """Watches what is done to the archive of a folder; without a number it does not."""
    if number is None:
        yield None
        return
    _watching.append(Image(folder, number))
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect/handle" and _watching:
        _watching[-1].opened.append(arguments[0])


sys.addaudithook(_heard)
