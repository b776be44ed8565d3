"""Whether a search for several patients finds what searches for each of them find.

A server may take the first or the last ones of a list and leave the others, in its counts as in its pages:
then every count proves what came, and all that is of the others is missing.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from fhir_msct.client.windows import Window

Count = Callable[[Window], int | None]

LOOKED_AT = 50
"""Patients who are counted alone where nothing came of anybody."""


def heeded(count: Count, chunk: Window, met: Collection[str]) -> bool:
    """Whether a list is heeded to its end, given the patients of whom something came.

    Those of whom nothing came have to have nothing; and a list has to count the same with them before the
    others and behind them: a server that leaves out what is last, or first, would miss some of those who
    have something. Asked twice, as something may come between two counts; raises as `count` does.
    """
    with_some = tuple(id_ for id_ in chunk.patients if id_ in met)
    without = tuple(id_ for id_ in chunk.patients if id_ not in met)
    before, behind = (*without, *with_some), (*with_some, *without) if without else with_some[::-1]
    for _ in range(2):
        none = count(_of(chunk, without)) if without else 0
        counts = count(_of(chunk, before)), count(_of(chunk, behind))
        if none is None or None in counts:
            return True  # no list is proved by its count then, this one or any other
        if none == 0 and counts[0] == counts[1] != 0:
            return True
    return False


def nobody_has_any(count: Count, chunks: Iterable[Window]) -> bool:
    """Whether nothing is there of some patients, from all over the cohort, each counted alone."""
    alone = [part for chunk in chunks for part in chunk.parts(len(chunk.patients))]
    return not any(count(one) for one in alone[:: -(-len(alone) // LOOKED_AT) or 1])


def _of(chunk: Window, patients: Sequence[str]) -> Window:
    return msgspec.structs.replace(chunk, patients=tuple(patients))
