"""Derived outcomes to a server: the plan first, and with `apply` the writing, each result exactly once.

Pushing twice writes nothing; a result whose input changed is a new version of the same resource, a
result that is no longer produced is retracted. Nothing without our tag is ever overwritten.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from fhir_msct import data
from fhir_msct.archive import ledger, token_places
from fhir_msct.archive.request_log import Sent
from fhir_msct.archive.store import Archive
from fhir_msct.client.connect import connect
from fhir_msct.client.origin import same_server
from fhir_msct.client.scopes import Access
from fhir_msct.errors import ConfigError, UsageError
from fhir_msct.mapping import outgoing
from fhir_msct.plan import Plan, names_its_study
from fhir_msct.tasks.ability import Ability
from fhir_msct.tasks.as_guest import wire_of
from fhir_msct.tasks.deciding import CONFLICT, LEFT, RETRACT, UNCHANGED, Decider, Step, Wanted
from fhir_msct.tasks.noting import Noted
from fhir_msct.tasks.same_people import require_same_people
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
    """Resources under our ids that do not carry our tag, or are there more than once."""
    refused: tuple[str, ...] = ()
    """What the server refused alone and so does not hold: place, status, issue codes."""
    kept: tuple[str, ...] = ()
    """Hand-entered values that stay here, because the server chooses the ids of new resources."""
    notes: tuple[str, ...] = ()
    """What was left as it is on the server, or could not be looked for there; neither is an error."""
    differing: tuple[str, ...] = ()
    """What the server, read back, does not hold as it was sent."""
    ids: tuple[str, ...] = ()
    """`Type/id` of everything written or retracted, in the order of sending."""

    @property
    def read_back_equal(self) -> bool:
        """Whether everything written was read back as it was sent."""
        return self.applied and not self.differing and not self.refused


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
    stale or rest on a partial pull, for a plan that is no longer the one of `plan_hash` and for patients
    that another server than the one pulled from does not hold, Conflict (nothing is written then) for
    what is not ours or is there twice, and what the client raises.
    """
    url, noted = _ready(folder, plan), Noted()
    with Archive.open(folder) as archive, noted.kept_in(archive), wire_of(folder, url, transport) as wire:
        sources = _sources(plan, archive)
        elsewhere = _check_target(plan, url, sources)
        held_at = sources[0] if elsewhere and sources else ""
        shall = list(wanted(folder, plan, archive, held_at, nowhere=not sources))
        types = tuple(sorted({*WRITTEN, *(one.type for one in shall)}))
        access = Access(read=("Patient",) if elsewhere else (), write=types)
        known = token_places.known(archive, url.rstrip("/"))
        with connect(
            url, plan, access=access, pushing=True, transport=wire, on_sent=noted, tokens_from=known
        ) as client:
            ability = Ability.said(client.metadata(), types, str(client.origin))
            token_places.keep(archive, client.base_url, client.tokens_from)
            people = {one.id: one.body for one in archive.current("Patient") if one.id} if elsewhere else None
            own = folder / "mappings"
            return bring(
                client,
                archive.connection,
                plan.study.id,
                shall,
                protocol=protocol_hash(folder),
                own=own if own.is_dir() else None,
                ability=ability,
                people=people,
                apply=apply,
                plan_hash=plan_hash,
                sent=noted.sent,
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
    ability: Ability | None = None,
    people: Mapping[str, bytes] | None = None,
    apply: bool,
    plan_hash: str | None = None,
    sent: list[Sent] | None = None,
    say: Say,
) -> PushReport:
    """Brings a server to hold what it shall, by way of a ledger; without `apply` only the plan of it.

    `people`: the Patients that results may be about, by id; given, the server must hold them as well.
    `sent`: the requests that are in no log yet; what is committed on the way logs them, and takes them off.
    Raises UsageError where the plan is not the one of `plan_hash`, Conflict, and what the client raises.
    """
    decider = Decider(client, db, study, ability)
    if people is not None:
        require_same_people(decider.holdings, shall, people)
    say(f"push: comparing {len(shall)} resources with {client.origin}")
    steps = decider.decide(shall)
    sender = Sender(decider, protocol=protocol, own=own, plan_hash=plan_hash, sent=sent)
    report = msgspec.structs.replace(
        _planned(steps, client.base_url),
        kept=decider.holdings.places.kept,
        notes=tuple(_notes(steps, decider)),
    )
    for note in report.notes:
        say(f"push: note: {note}")
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
        written=sum(step.action != RETRACT for step in _to_do(steps)),
        unchanged=sum(step.action == UNCHANGED for step in steps),
        retracted=sum(step.action == RETRACT for step in steps),
        conflicts=tuple(step.wanted.place for step in steps if step.action == CONFLICT),
    )


def _to_do(steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if step.action not in (UNCHANGED, CONFLICT, LEFT)]


def _notes(steps: Iterable[Step], decider: Decider) -> Iterator[str]:
    for step in steps:
        if step.action == LEFT:
            there = "says something else there since" if step.held else "is no longer there"
            yield f"{step.wanted.place} ({step.wanted.label}) was delivered and {there}: left so, pull first"
    if decider.holdings.is_blind:
        yield (
            "this server refuses a search by _tag: what is no longer produced could only be looked for "
            "where this folder's own ledger knows of it"
        )
    results = ledger.results(decider.db)
    elsewhere = Counter(target for target, _ in results if not same_server(target, decider.target))
    for target, number in elsewhere.items():
        yield f"{number} results were pushed to {target} and not taken back from this folder: left so"
    known = ledger.entries(decider.db, decider.target)
    if any(own != outgoing.device_id(decider.study) for kind, own in known if kind == "Device"):
        ours = {step.wanted.id for step in steps}
        if number := sum(target == decider.target and id_ not in ours for target, id_ in results):
            yield (
                f"{number} results were pushed here under another [study] id and not taken back from this "
                "folder: they are another study's now, and left so"
            )


def _applied(steps: list[Step], report: PushReport, sender: Sender, say: Say) -> PushReport:
    if foreign := [step for step in steps if step.action == CONFLICT]:
        sender.refuse(foreign)
    sender.delivery.settle(step for step in steps if step.action == UNCHANGED)
    sender.resolve()
    todo, sent = _to_do(steps), list[Step]()
    for batch in sender.send(todo):
        sent += batch
        say(f"push: {len(sent)} resources sent")
    differing = sender.differing(sent) if sent else []
    places, refusals = sender.holdings.places, sender.refusals
    retracted = sum(step.wanted.retract for step in sent)
    written = sum(_is_result(step) for step in sent) - retracted
    return msgspec.structs.replace(
        report,
        applied=True,
        written=written,
        unchanged=report.unchanged + len(todo) - written - retracted - refusals.results,
        retracted=retracted,
        refused=tuple(refusals.lines()),
        kept=places.kept,
        differing=tuple(differing),
        ids=tuple(places.place(step.wanted.key) for step in sent),
    )


def _is_result(step: Step) -> bool:
    return step.wanted.type != "Provenance"


# --- whether and where to ------------------------------------------------------------------------------


def _ready(folder: Path, plan: Plan) -> str:
    """The address to push to, when the outcomes may be pushed at all."""
    if plan.push.url is None:
        raise ConfigError(
            f"{folder / 'study.toml'}: push.url: not set, so nothing is pushed; name a server there"
        )
    if not names_its_study(folder):
        raise ConfigError(
            f"{folder / 'study.toml'}: study.id: not set, so nothing is pushed: results are named and found "
            "by it, and two studies without one would retract each other's"
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


def _sources(plan: Plan, archive: Archive) -> list[str]:
    """Addresses of the server pulled from: that of the last pull (files have none), that of `[server]`."""
    pull = archive.last_pull()
    places = (pull.base_url if pull else None, plan.server.url)
    return [one.rstrip("/") for one in places if one and one.startswith(("http://", "https://"))]


def _check_target(plan: Plan, url: str, sources: Iterable[str]) -> bool:
    """Whether it is another server than the one pulled from, which is written to only by the plan's leave."""
    if not any(same_server(url, source) for source in sources):
        return True
    if not plan.push.same_as_source:
        raise ConfigError(
            "push.url: this is the server that was pulled from; to write to it, set same_as_source = true"
        )
    return False


def protocol_hash(folder: Path) -> str:
    """The hash of plan and mappings, shipped and own: what a Provenance names as the rules that were used."""
    homes = [data.mappings(), folder / "mappings"]
    files = [path for home in homes if home.is_dir() for path in sorted(home.iterdir()) if path.is_file()]
    files += [path for path in (folder / "study.toml", folder / "reviews.csv") if path.is_file()]
    said = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
