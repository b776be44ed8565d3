"""What is written to a server of somebody else's by a run that will be taken away again.

A study folder with a guest book belongs to such a run: all it writes goes by a wire that tags it and has it
noted first.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fhir_msct.archive.guest_book import FILE, GuestBook
from fhir_msct.client.marking import Marked, Writing
from fhir_msct.errors import UsageError

if TYPE_CHECKING:
    import httpx


def marked(book: GuestBook, inner: "httpx.BaseTransport | None" = None) -> Marked:
    """The wire by which a run writes; it raises UsageError for an id that is not the run's."""

    def noted(writings: Sequence[Writing]) -> None:
        for one in writings:
            if one.id is not None and not book.is_own(one.type, one.id):
                raise UsageError(
                    f"{one.type}/{one.id} is no id of the run {book.run}, and would not be cleaned away "
                    f'again: nothing was sent (study.toml: is [study] id still "{book.run}"?)'
                )
        book.intend((one.type, one.mark, one.id) for one in writings)

    def answered(writings: Sequence[Writing], refused: bool) -> None:
        book.answered(((one.type, one.mark) for one in writings), refused=refused)

    return Marked(book.url, book.run, noted=noted, answered=answered, inner=inner)


@contextmanager
def wire_of(
    folder: Path, url: str, inner: "httpx.BaseTransport | None"
) -> "Iterator[httpx.BaseTransport | None]":
    """What a study folder writes to a server by: `inner`, unless the folder is a run's.

    Raises UsageError for a run that was taken away, and for another server than its own.
    """
    if not (folder / FILE).is_file():
        yield inner
        return
    with GuestBook.open(folder) as book:
        if book.is_clean:
            raise UsageError(f"{folder}: this demo was cleaned off its server: nothing more is written there")
        if url.rstrip("/") != book.url:
            raise UsageError(f"{folder}: this demo writes to no other server than the one it was begun on")
        yield marked(book, inner)
