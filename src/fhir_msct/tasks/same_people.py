"""Whether a server that was not pulled from knows the people that results are about.

An id means another person on another server, or nobody. So before anything is written there, each Patient
that is referred to must be there; and where both servers know identifiers of one system, they must agree.
"""

from collections.abc import Iterable, Mapping

import msgspec

from fhir_msct.errors import Conflict, UsageError
from fhir_msct.tasks.holdings import Holdings, Wanted

SHOWN = 10


def require_same_people(holdings: Holdings, shall: Iterable[Wanted], known: Mapping[str, bytes]) -> None:
    """Returns where every Patient referred to is there; `known`: Patients of the archive, by id.

    Raises UsageError for those that are not, Conflict where identifiers say that it is another person.
    """
    about = sorted({patient for one in shall if (patient := _patient(one.body))})
    there = holdings.fetch([("Patient", one) for one in about])
    origin = holdings.client.origin
    if missing := [one for one in about if ("Patient", one) not in there]:
        raise UsageError(
            f"{origin} does not hold {_named(missing)}, whom results are about: nothing was written; bring "
            "the patients there under the same ids, or push to the server that was pulled from"
        )
    others = [one for one in about if one in known and _differ(known[one], there["Patient", one].body)]
    if others:
        raise Conflict(
            f"{origin} holds another person as {_named(others)}: identifiers of the same system differ; "
            "nothing was written"
        )


def _patient(body: bytes) -> str | None:
    subject = msgspec.json.decode(body).get("subject")
    kind, _, own = str(subject.get("reference") if isinstance(subject, dict) else "").partition("/")
    return own.partition("/")[0] if kind == "Patient" else None


def _differ(one: bytes, other: bytes) -> bool:
    """Whether two Patients have identifiers of one system, and none of those in common."""
    mine, theirs = _identifiers(one), _identifiers(other)
    shared = mine.keys() & theirs.keys()
    return bool(shared) and not any(mine[system] & theirs[system] for system in shared)


def _identifiers(body: bytes) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    listed = msgspec.json.decode(body).get("identifier")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("system") and one.get("value"):
            found.setdefault(str(one["system"]), set()).add(str(one["value"]))
    return found


def _named(patients: list[str]) -> str:
    more = f" and {len(patients) - SHOWN} more" if len(patients) > SHOWN else ""
    return ", ".join(f"Patient/{one}" for one in patients[:SHOWN]) + more
