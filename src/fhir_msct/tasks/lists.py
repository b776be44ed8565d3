"""Whether a search for several patients finds what searches for each of them find.

A server may take the first of a list and leave the others, in its counts as in its pages: then every count
proves what came, and all that is of the others is missing.
"""

from collections.abc import Callable, Iterable

from fhir_msct.client.windows import Window

LOOKED_AT = 30
"""Patients who are counted alone, where nobody's data show that more than one of a list was heeded."""


def heeded(count: Callable[[Window], int | None], windows: Iterable[Window]) -> bool:
    """False where several patients are counted as less than some of them alone; raises as `count` does."""
    left = LOOKED_AT
    for one in windows:
        whole, together, found = count(one), 0, 0
        for part in _ends_first(one) if whole is not None else ():
            number = count(part) or 0
            together, found, left = together + number, found + (number > 0), left - 1
            if together > (whole or 0) and together > (
                count(one) or 0
            ):  # or something came between the counts
                return False
            if found > 1 or not left:
                return True
    return True


def _ends_first(window: Window) -> list[Window]:
    """Each patient alone; the first and the last before the others, since one of these would be heeded."""
    parts = window.parts(len(window.patients))
    return [parts[0], parts[-1], *parts[1:-1]] if len(parts) > 1 else []
