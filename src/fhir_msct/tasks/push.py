"""Derived outcomes to a server: the plan first, and with `apply` the writing, each result exactly once.

Pushing twice writes nothing; a result whose input changed is a new version of the same resource, a
result that is no longer produced is retracted. Nothing without our tag is ever overwritten.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from fhir_msct import data
from fhir_msct.archive import token_places
from fhir_msct.archive.store import Archive
from fhir_msct.client.connect import connect
from fhir_msct.client.origin import Origin
from fhir_msct.client.scopes import Access
from fhir_msct.errors import ConfigError, ServerUnfit, UsageError
from fhir_msct.plan import Plan
from fhir_msct.tasks.deciding import CONFLICT, RETRACT, UNCHANGED, Decider, Step, Wanted
from fhir_msct.tasks.sending import Sender
from fhir_msct.tasks.stage import run_of, stale
from fhir_msct.tasks.wanted import wanted

if TYPE_CHECKING:
    from sqlite3 import Connection

    import httpx

    from fhir_msct.client.rest import Client

Say = Callable[[str], None]

WRITTEN = ("Device", "Observation", "Provenance", "ResearchStudy")
"""The types that a push writes, whatever the study; hand-entered values may add others."""


class PushReport(Struct, frozen=True, kw_only=True):
    """What a push would do, or did."""

    target: str
    plan: tuple[str, ...]
    """One line for each resource that is not as it should be: what is done to it, and what it is about."""
    hash: str
    """Of target and plan: `--apply HASH` writes this plan and no other."""
    applied: bool
    written: int = 0
    """Results, Device, ResearchStudy and hand-entered values written; to be written, before `apply`."""
    unchanged: int = 0
    """What the server holds already; also what another push has written while this one was under way."""
    retracted: int = 0
    conflicts: tuple[str, ...] = ()
    """Resources under our ids that do not carry our tag."""
    differing: tuple[str, ...] = ()
    """What the server, read back, does not hold as it was sent."""
    ids: tuple[str, ...] = ()
    """`Type/id` of everything written or retracted, in the order of sending."""

    @property
    def read_back_equal(self) -> bool:
        """Whether everything written was read back as it was sent."""
        return self.applied and not self.differing


def push(
    folder: Path,
    plan: Plan,
    *,
    apply: bool,
    plan_hash: str | None = None,
    transport: "httpx.BaseTransport | None" = None,
    say: Say,
) -> PushReport:
    """The plan of a push; with `apply` also carries it out.

    Raises ConfigError without a `[push] url` that may be written to, UsageError for outcomes that are
    stale or rest on a partial pull and for a plan that is no longer the one of `plan_hash`, Conflict
    (nothing is written then) for what is not ours, and what the client raises.
    """
    url = _ready(folder, plan)
    with Archive.open(folder) as archive:
        _check_target(plan, url, archive)
        shall = list(wanted(folder, plan, archive))
        access = Access(write=tuple(sorted({*WRITTEN, *(one.type for one in shall)})))
        known = token_places.known(archive, url.rstrip("/"))
        with connect(
            url, plan, access=access, pushing=True, transport=transport, tokens_from=known
        ) as client:
            _check_able(client.metadata(), str(client.origin))
            token_places.keep(archive, client.base_url, client.tokens_from)
            own = folder / "mappings"
            return bring(
                client,
                archive.connection,
                plan.study.id,
                shall,
                protocol=protocol_hash(folder),
                own=own if own.is_dir() else None,
                apply=apply,
                plan_hash=plan_hash,
                say=say,
            )


def bring(
    client: "Client",
    db: "Connection",
    study: str,
    shall: Sequence[Wanted],
    *,
    protocol: str,
    own: Path | None = None,
    apply: bool,
    plan_hash: str | None = None,
    say: Say,
) -> PushReport:
    """Brings a server to hold what it shall, by way of a ledger; without `apply` only the plan of it.

    Raises UsageError where the plan is not the one of `plan_hash`, Conflict, and what the client raises.
    """
    decider = Decider(client, db, study)
    say(f"push: comparing {len(shall)} resources with {client.origin}")
    steps = decider.decide(shall)
    sender = Sender(decider, protocol=protocol, own=own)
    report = _planned(steps, client.base_url)
    sender.check(_to_do(steps))
    if not apply:
        return report
    if plan_hash is not None and plan_hash != report.hash:
        raise UsageError(
            f"the plan is no longer {plan_hash}: it is {report.hash}; look at it again before --apply"
        )
    return _applied(steps, report, sender, say)


def _planned(steps: list[Step], target: str) -> PushReport:
    lines = [f"{step.line} {step.sha256[:12]}" for step in steps if step.action != UNCHANGED]
    said = json.dumps([target, *(f"{step.line} {step.sha256}" for step in _to_do(steps))])
    return PushReport(
        target=target,
        plan=tuple(lines),
        hash=hashlib.sha256(said.encode()).hexdigest()[:16],
        applied=False,
        written=sum(step.action not in (UNCHANGED, CONFLICT, RETRACT) for step in steps),
        unchanged=sum(step.action == UNCHANGED for step in steps),
        retracted=sum(step.action == RETRACT for step in steps),
        conflicts=tuple(step.wanted.place for step in steps if step.action == CONFLICT),
    )


def _to_do(steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if step.action not in (UNCHANGED, CONFLICT)]


def _applied(steps: list[Step], report: PushReport, sender: Sender, say: Say) -> PushReport:
    if foreign := [step for step in steps if step.action == CONFLICT]:
        sender.refuse(foreign)
    sender.settle(step for step in steps if step.action == UNCHANGED)
    sender.resolve()
    todo, sent = _to_do(steps), list[Step]()
    for batch in sender.send(todo):
        sent += batch
        say(f"push: {len(sent)} resources sent")
    differing = sender.differing(sent) if sent else []
    retracted = sum(step.action == RETRACT for step in sent)
    written = sum(step.wanted.type != "Provenance" for step in sent) - retracted
    return PushReport(
        target=report.target,
        plan=report.plan,
        hash=report.hash,
        applied=True,
        written=written,
        unchanged=report.unchanged + len(todo) - written - retracted,
        retracted=retracted,
        differing=tuple(differing),
        ids=tuple(step.wanted.place for step in sent),
    )


# --- whether and where to ------------------------------------------------------------------------------


def _ready(folder: Path, plan: Plan) -> str:
    """The address to push to, when the outcomes may be pushed at all."""
    if plan.push.url is None:
        raise ConfigError(
            f"{folder / 'study.toml'}: push.url: not set, so nothing is pushed; name a server there"
        )
    for name in ("records", "outcomes"):
        if run_of(folder, name).get("complete") is not True:
            raise UsageError(
                f"{folder / name} is PARTIAL: the last pull could not prove itself complete; "
                "pull again until it does, then run records and outcomes: nothing was pushed"
            )
        if changed := stale(folder, name):
            raise UsageError(
                f"{folder / name} is STALE: {changed[0]} changed since; run records and outcomes again: "
                "nothing was pushed"
            )
    return plan.push.url


def _check_target(plan: Plan, url: str, archive: Archive) -> None:
    """The server that was pulled from is only written to where the plan says so."""
    if plan.push.same_as_source:
        return
    pull = archive.last_pull()
    sources = [plan.server.url, pull.base_url if pull else None]
    if any(source and _same_server(url, source) for source in sources):
        raise ConfigError(
            "push.url: this is the server that was pulled from; to write to it, set same_as_source = true"
        )


def _same_server(one: str, other: str) -> bool:
    if not other.startswith(("http://", "https://")):
        return False
    return Origin(one, allow_http=True).base.lower() == Origin(other, allow_http=True).base.lower()


def _check_able(capability: dict[str, Any], where: str) -> None:
    """Raises ServerUnfit where a server says that it cannot take what a push sends.

    https://hl7.org/fhir/R4/capabilitystatement.html; what it does not say is tried.
    """
    for rest in capability.get("rest") or ():
        verbs = [one.get("code") for one in rest.get("interaction") or ()]
        if verbs and "transaction" not in verbs:
            raise ServerUnfit(
                f"{where} takes no transactions, so a push there could be cut in half: nothing was sent"
            )
        for one in rest.get("resource") or ():
            if one.get("type") == "Observation" and one.get("updateCreate") is False:
                raise ServerUnfit(
                    f"{where} lets nobody choose the id of a new Observation (updateCreate): "
                    "a result could be doubled, so nothing was sent"
                )


def protocol_hash(folder: Path) -> str:
    """The hash of plan and mappings, shipped and own: what a Provenance names as the rules that were used."""
    homes = [data.mappings(), folder / "mappings"]
    files = [path for home in homes if home.is_dir() for path in sorted(home.iterdir()) if path.is_file()]
    files += [path for path in (folder / "study.toml", folder / "reviews.csv") if path.is_file()]
    said = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
