"""Whether a search for several patients finds what searches for each of them find.

A server may take the first or the last ones of a list and leave the others, in its counts as in its pages:
then every count proves what came, and all that is of the others is missing.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from fhir_msct.archive import proofs
from fhir_msct.archive.runs import Run
from fhir_msct.client.windows import TRIES, Window, patient_of
from fhir_msct.tasks.proving import Proving

Count = Callable[[Window], int | None]

LOOKED_AT = 50
"""Patients who are counted alone where nothing came of anybody."""


def all_heeded(
    run: Run, proving: Proving, base_url: str, windows: Callable[[str], Collection[Window]]
) -> bool:
    """Whether each type is known to come whole where several patients are asked for at once.

    `windows` gives those of a type. Raises what a count raises.
    """
    types, known = proofs.asked_whole(run) if len(run.patients) > 1 else (), False
    for type_ in types:
        every = windows(type_)
        longest = _longest(every)
        if any(proving.gauge.has_met_all(one) for one in longest):
            known = True
            continue
        fullest, met = _fullest(longest, run, proving, base_url)
        heeded = None if met.isdisjoint(fullest.patients) else _is_heeded(proving.count, fullest, met)
        if heeded is None:  # nobody of them is known to have anything
            heeded = not any(proving.count(_of(one, one.patients[::-1])) for one in every)
        else:
            known = known or heeded
        if not heeded:
            return False
    return known or all(_nobody_has_any(proving.count, windows(type_)) for type_ in types)


def _longest(windows: Collection[Window]) -> list[Window]:
    """The windows of the most patients: that a short list is heeded says nothing of a longer one."""
    most = max(len(one.patients) for one in windows)
    return [one for one in windows if len(one.patients) == most]


def codes_heeded(count: Count, window: Window) -> bool:
    """Whether as many have one of the codes asked for whatever the order in which they are asked for.

    Asked twice, as something may come between two counts. Raises what a count raises.
    """
    turned = msgspec.structs.replace(window, codes=window.codes[::-1])
    return len(window.codes) < 2 or any(count(window) == count(turned) for _ in range(2))


def _fullest(
    longest: Sequence[Window], run: Run, proving: Proving, base_url: str
) -> tuple[Window, frozenset[str]]:
    """The window of whose patients the most are known to have something, and who these are.

    What a search for several has brought says so; where none has, or not in this process, all that is here
    of a type is looked through for the patients of one window.
    """
    met = proving.gauge.met(longest[0].type)
    fullest = max(longest, key=lambda one: len(met.intersection(one.patients)))
    if met and not run.resumed:
        return fullest, met
    found, wanted = set(met), set(fullest.patients)
    for body in proofs.bodies(run, fullest.type):
        if (owner := patient_of(body, base_url)) is not None:
            found.add(owner)
            if found >= wanted:
                break
    return fullest, frozenset(found)


def _is_heeded(count: Count, window: Window, met: Collection[str]) -> bool | None:
    """Whether a list is heeded to its end, given the patients of whom something came; None if that is gone.

    Those of whom nothing came (else one half) and the others are counted apart, and together in both orders:
    a server that leaves out what is last, or first, misses some of those who have something, and counts less
    than the sum. Asked again, as something may come or go between two counts.
    """
    without = tuple(id_ for id_ in window.patients if id_ not in met)
    some = tuple(id_ for id_ in window.patients if id_ in met)
    one, other = (without, some) if without else (some[: len(some) // 2], some[len(some) // 2 :])
    for _ in range(TRIES):
        counts = [count(_of(window, ids)) for ids in (one, other, one + other, other + one)]
        known = [number for number in counts if number is not None]
        if len(known) < len(counts):
            return True  # no list is proved by its count then, this one or any other
        of_one, of_other, together, turned = known
        if not of_other:
            return None
        if together >= of_one + of_other <= turned:
            return True
    return False


def _nobody_has_any(count: Count, windows: Iterable[Window]) -> bool:
    """Whether nothing is there of some patients, from all over the cohort, each counted alone."""
    alone = [part for window in windows for part in window.parts(len(window.patients))]
    return not any(count(one) for one in alone[:: -(-len(alone) // LOOKED_AT) or 1])


def _of(window: Window, patients: Sequence[str]) -> Window:
    return msgspec.structs.replace(window, patients=tuple(patients))
