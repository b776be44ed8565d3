"""What a server no longer lists: whether it is gone, and what its history says of that."""

from collections.abc import Iterable, Sequence
from typing import Any

from fhir_msct.archive import proofs
from fhir_msct.archive.runs import Run
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.rest import Client
from fhir_msct.client.windows import Gauge, Window, history_supported, patient_of
from fhir_msct.tasks.proving import STOPS

CONFIRMED = 25
"""Patients of whom one resource of a type is read before it is believed that what is not listed is gone."""

MOST_HISTORIES = 200
"""Resources of one type whose history is asked for; what else is no longer listed is taken as gone."""


def is_still_there(
    client: Client, run: Run, gauge: Gauge, type_: str, codes: tuple[str, ...], gone: Iterable[str]
) -> bool:
    """Whether the server gives what it does not list, and it is what was asked for, as far as is known.

    One of each patient is read: a server may list what is of one, and not what is of another. Raises
    Declined where the server lets nobody in any more, or fails.
    """

    def owner(key: str, body: bytes) -> str | None:
        return key if type_ == "Patient" else patient_of(body, client.base_url)

    cohort, asked = frozenset(run.patients), Window(type=type_, patients=(), codes=codes)
    one_of = {owner(key, body): key for key, body in proofs.bodies_of(run, type_, gone)}
    for key in sorted(one_of.values())[:CONFIRMED]:
        try:
            found = client.read(type_, key)
        except Unusable:
            continue
        except Declined as error:
            if error.status == STOPS or error.status >= 500:
                raise
            continue
        if found and owner(key, found.body) in cohort and gauge.outside(asked, found) is None:
            return True
    return False


def keep_deletions(
    client: Client, run: Run, capability: dict[str, Any], type_: str, gone: Sequence[str]
) -> int:
    """Keeps the deletions that the server's history tells of; their number."""
    if not history_supported(capability, type_):
        return 0
    asked = [client.deletion(type_, id_) for id_ in gone[:MOST_HISTORIES]]
    deletions = [found for found in asked if found is not None]
    run.lines(deletions, (), None)
    return len(deletions)
