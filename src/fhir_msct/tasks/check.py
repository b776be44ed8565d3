"""`check`: the server doctor. What the server claims, how it behaves, what it holds of the study; a verdict.

Read only, at most 60 requests, nothing stored. It never raises for what it was sent to find out: a wrong
setting, a server that is none, a refusal are lines of its report.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from fhir_msct.client.capability import Capability, capability
from fhir_msct.client.connect import connect
from fhir_msct.client.failures import Declined
from fhir_msct.client.looking import Budget, Looker, Spent
from fhir_msct.client.origin import Origin
from fhir_msct.client.probes import Sign
from fhir_msct.client.retry import Patience
from fhir_msct.client.scopes import Access
from fhir_msct.errors import ConfigError, ServerFailed, ServerUnfit, Unreachable
from fhir_msct.mapping.library import Mapping
from fhir_msct.mapping.lookalikes import LookAlikes
from fhir_msct.plan import Plan
from fhir_msct.tasks import receiving
from fhir_msct.tasks.discover import Discovered, Discovery
from fhir_msct.tasks.examining import CodeHeld, Examination, TypeHeld
from fhir_msct.tasks.pull_plan import access, pull_plan
from fhir_msct.tasks.push import WRITTEN
from fhir_msct.tasks.quirks import LEVELS, Remark, remark

MOST_REQUESTS = 60
TRIES = 2

LATER = 500
"""From this status on the server says that it failed: that is no finding, but a reason to ask again later."""

Verdict = Literal["ready", "decide", "blocked"]


class Scopes(Struct, frozen=True, kw_only=True):
    """What to ask the hospital for, in both versions of SMART's words."""

    v2: tuple[str, ...] = ()
    v1: tuple[str, ...] = ()


class CheckReport(Struct, frozen=True, kw_only=True):
    """What was found out."""

    verdict: Verdict
    base_url: str | None
    software: str
    patients: int
    counted_within: int
    """Patients within whom was counted: all of them, or the first so many."""
    types: tuple[TypeHeld, ...]
    codes: tuple[CodeHeld, ...]
    remarks: tuple[Remark, ...]
    """What blocks, then what has to be decided, then what to know."""
    how: str
    """In which way a pull would ask."""
    plan: tuple[str, ...]
    """The requests of a pull."""
    pull_requests: int | None
    """About how many that is, pages included; None where the server does not count."""
    scopes: Scopes
    push_scopes: Scopes
    not_granted: tuple[str, ...]
    discovered: Discovered | None
    requests: int


def check(
    folder: Path,
    plan: Plan,
    *,
    discover: bool = False,
    transport: Any = None,
    patience: Patience | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    say: Callable[[str], None],
) -> CheckReport:
    """Examines the servers of a study; `now` is the clock that theirs is held against.

    Raises MappingError for the study's own mappings; Unreachable and ServerFailed where the server gives no
    answer, or fails.
    """
    doctor = _Doctor(folder, plan, transport, patience or Patience(tries=TRIES), now, say)
    return doctor.report(discover)


class _Doctor:
    """One examination of one study."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        transport: Any,
        patience: Patience,
        now: Callable[[], datetime],
        say: Callable[[str], None],
    ) -> None:
        # Less access than was asked for is to be reported here, not to stop at.
        server = msgspec.structs.replace(plan.server, scopes_policy="partial")
        self._plan = msgspec.structs.replace(plan, server=server)
        self._folder, self._transport, self._patience, self._say = folder, transport, patience, say
        self._mapping = Mapping.load(folder, plan)
        self._wanted = self._mapping.wanted()
        self._budget = Budget(MOST_REQUESTS, patience.tries)
        self._now = now
        self._signs: list[Sign] = []
        self._found: Examination | None = None
        self._discovered: Discovered | None = None
        self._not_granted: tuple[str, ...] = ()
        self._push_access = Access(write=WRITTEN)

    def report(self, discover: bool) -> CheckReport:
        """Every part of the examination that can be made, and the verdict."""
        requests = self._settings()
        base = self._base()
        if base is not None:
            self._source(base, discover)
            self._push(base)
        found = self._found
        remarks = sorted((remark(sign) for sign in dict.fromkeys(self._signs)), key=_weight)
        return CheckReport(
            verdict=_verdict(remarks),
            base_url=base,
            software=f"{found.says.software} {found.says.version}".strip() if found else "",
            patients=len(found.patients) if found else 0,
            counted_within=found.counted_within if found else 0,
            types=found.types if found else (),
            codes=found.codes if found else (),
            remarks=tuple(remarks),
            how=found.how if found else "",
            plan=requests,
            pull_requests=found.expected_requests if found else None,
            scopes=_scopes(access(self._wanted)),
            push_scopes=_scopes(self._push_access) if self._plan.push.url else Scopes(),
            not_granted=self._not_granted,
            discovered=self._discovered,
            requests=self._budget.sent,
        )

    def _settings(self) -> tuple[str, ...]:
        """The requests that a pull would send; what forbids one is noted."""
        try:
            lines = pull_plan(self._plan, self._wanted)
        except ConfigError as error:
            self._signs.append(Sign("settings", str(error)))
            return ()
        return tuple(line for line in lines if not line.startswith("scopes:"))

    def _base(self) -> str | None:
        server = self._plan.server
        try:
            return Origin(server.url, allow_http=server.allow_http).base if server.url else None
        except ConfigError:
            return None  # which _settings has noted

    def _source(self, base: str, discover: bool) -> None:
        try:
            with self._connected(base, access(self._wanted)) as client:
                looker = Looker(client, self._budget)
                self._found = Examination(looker, self._plan, self._wanted, self._mapping, self._now)
                try:
                    self._examine(self._found, looker, discover)
                finally:
                    self._signs += self._found.signs
                    self._not_granted = client.not_granted
        except Spent as spent:
            self._signs.append(Sign("limit", str(spent)))
        except (ConfigError, ServerUnfit, ServerFailed) as error:
            if isinstance(error, Declined) and error.status >= LATER:
                raise
            self._signs.append(_refusal(error))
        if self._not_granted:
            self._signs.append(Sign("scopes-missing", ", ".join(self._not_granted)))

    def _examine(self, found: Examination, looker: Looker, discover: bool) -> None:
        self._say("what the server says of itself")
        found.claims()
        if any(sign.name == "settings" for sign in self._signs):
            return  # no patient may be asked for
        self._say("who is in the cohort")
        found.whom()
        if not found.patients:
            return
        self._say("how the server behaves")
        found.behaves()
        self._say("what the cohort has")
        found.holds()
        found.reads()
        if discover:
            self._say("what nothing maps")
            self._look_round(found, looker)

    def _look_round(self, found: Examination, looker: Looker) -> None:
        kept = MOST_REQUESTS - PUSH_REQUESTS
        own = Looker(looker.client, _Share(self._budget, kept))
        sounds = LookAlikes.load(self._folder)
        came = Discovery(own, self._wanted, self._mapping, sounds).look_round(found.patients)
        self._discovered = came
        if came.look_alikes:
            self._signs.append(Sign("look-alikes", f"{len(came.look_alikes)}"))
        if came.units:
            self._signs.append(Sign("unlisted-units", f"{len(came.units)}"))
        if came.free_texts:
            said = ", ".join(f"{kind} {count}" for kind, count in came.free_texts.items())
            self._signs.append(Sign("free-texts", said))
        if not came.whole:
            seen = f"{came.resources} resources of {came.patients} patients"
            self._signs.append(Sign("not-all-seen", f"it saw {seen}"))

    def _push(self, base: str) -> None:
        """What the push server says of itself, where there is one."""
        push = self._plan.push
        if not push.url:
            self._signs.append(Sign("push-none"))
            return
        try:
            target = Origin(push.url, allow_http=push.allow_http).base
            self._push_access = receiving.access(target, base)
            if target == base and not push.same_as_source:
                self._signs.append(Sign("push-same"))
            self._signs += receiving.signs(self._says(target, base))
        except Spent as spent:
            self._signs.append(Sign("limit", str(spent)))
        except (ConfigError, ServerUnfit, ServerFailed, Unreachable) as error:
            self._signs.append(Sign("push-unfit", str(error)))

    def _says(self, target: str, base: str) -> Capability:
        if target == base and self._found is not None:
            return self._found.says
        with self._connected(target, self._push_access, pushing=True) as client:
            self._budget.ask()
            return capability(client.metadata())

    def _connected(self, url: str, needed: Access, *, pushing: bool = False) -> Any:
        return connect(
            url,
            self._plan,
            access=needed,
            pushing=pushing,
            transport=self._transport,
            patience=self._patience,
            on_sent=self._budget.note,
            may_send=self._budget.may_send,
        )


PUSH_REQUESTS = 2 * TRIES
"""Kept back for the push server."""


class _Share(Budget):
    """A part of a budget."""

    def __init__(self, whole: Budget, limit: int) -> None:
        self._whole, self.limit = whole, limit

    @property
    def is_spent(self) -> bool:
        return self._whole.is_spent or self._whole.sent + TRIES > self.limit


def _scopes(needed: Access) -> Scopes:
    return Scopes(v2=needed.scopes(v2=True), v1=needed.scopes(v2=False))


def _refusal(error: Exception) -> Sign:
    if isinstance(error, ConfigError):
        return Sign("settings", str(error))
    if isinstance(error, Declined) and error.status in (401, 403):
        return Sign("no-access", str(error))
    return Sign("unfit" if isinstance(error, ServerUnfit) else "search-refused", str(error))


def _weight(one: Remark) -> int:
    return LEVELS.index(one.level)


def _verdict(remarks: list[Remark]) -> Verdict:
    levels = {one.level for one in remarks}
    return "blocked" if "block" in levels else "decide" if "decide" in levels else "ready"
