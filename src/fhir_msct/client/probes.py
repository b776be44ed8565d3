"""How a server really behaves, asked inside one search: read only, nothing kept.

Each probe gives signs: the names of quirks that were seen. What follows from them for a study is said
elsewhere; a probe knows REST and nothing of the trial.
"""

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import parse_qsl

from msgspec import Struct

from fhir_msct.client.failures import Declined, PageGone, Unusable
from fhir_msct.client.looking import Look, Looker, Params
from fhir_msct.client.origin import shown

UNKNOWN = ("fhir-msct-no-such-parameter", "x")
NOBODY = "fhir-msct-nobody"
"""The id of no patient."""

EPOCH = "1970-01-01T00:00:00Z"
FEW = 2
SKEW = 120
"""Seconds between two clocks that are worth a word."""

PLAIN = 2_000
"""Bytes of an answer that a server which can compress would have compressed."""


class Sign(Struct, frozen=True):
    """A quirk that was seen, by its name; `detail` holds counts and parameters, nothing of a patient."""

    name: str
    detail: str = ""


class Behaviour(Struct, frozen=True, kw_only=True):
    """What the probes of one search found."""

    signs: tuple[Sign, ...]
    page: Look
    """A page of the size that a pull asks for."""


def behaviour(looker: Looker, type_: str, params: Params, size: int) -> Behaviour:
    """Everything that one search can show. Raises Spent, ServerUnfit and Unreachable."""
    counted = looker.count(type_, params).total
    asked = (*params, ("_count", str(FEW)), ("_total", "accurate"))
    few = looker.look(type_, asked)
    if not few.is_answer:  # some refuse _total, which `pull` does not need
        asked = asked[:-1]
        few = looker.look(type_, asked)
    page = looker.look(type_, (*params, ("_count", str(size))))
    if not (few.is_answer and page.is_answer):
        return Behaviour(signs=(Sign("search-refused", f"{type_}: {page.status or 'no Bundle'}"),), page=page)
    signs = [
        *_totals(counted, few, page),
        *_pages(looker, type_, few, page, size),
        *_answer(page, params),
        *_strictness(looker, type_, params, counted),
        *_last_updated(looker, type_, params, counted),
        *_post(looker, type_, params, counted),
        *_by_address(looker, type_, params, counted),
        *_freshness(looker, type_, asked, few),
    ]
    return Behaviour(signs=tuple(signs), page=page)


def matching(looker: Looker, type_: str, params: Params, *, counts: bool) -> Look:
    """How many match: by count, or where the server does not count, whether any come."""
    if counts:
        return looker.count(type_, params)
    return looker.look(type_, (*params, ("_count", "1")))


def skew(date: datetime | None, now: datetime) -> Iterator[Sign]:
    """What the server's clock says beside ours."""
    if date is None:
        yield Sign("no-date")
    elif abs((date - now).total_seconds()) > SKEW:
        yield Sign("clock-skew", f"{(date - now).total_seconds():+.0f} s")


def _totals(counted: int | None, few: Look, page: Look) -> Iterator[Sign]:
    came = len(page.ids)
    if counted is None:
        yield Sign("no-count")
    elif few.next is None and len(few.ids) < counted and len(few.ids) >= FEW:
        yield Sign("no-paging", f"{counted} match, {len(few.ids)} came and no next link")
    elif (page.next is None and came != counted) or came > counted:
        yield Sign("count-differs", f"it counts {counted}, {came} different ones came")
    if few.total is None:
        yield Sign("no-total")
    elif counted is not None and few.total != counted:
        yield Sign("totals-differ", f"total says {few.total}, the count {counted}")
    if len(page.resources) > came or len(few.resources) > len(few.ids):
        yield Sign("repeats")


def _pages(looker: Looker, type_: str, few: Look, page: Look, size: int) -> Iterator[Sign]:
    if len(few.ids) > FEW:
        yield Sign("page-size-ignored", f"{FEW} asked for, {len(few.ids)} came")
    if page.next and len(page.ids) < size:
        yield Sign("page-capped", f"{size} asked for, at most {len(page.ids)} come")
    if few.next is None:
        return
    if not looker.client.origin.holds(few.next):
        yield Sign("next-foreign", shown(few.next))
    elif few.next == few.own:
        yield Sign("next-cycle")
    else:
        yield from _following(looker, type_, few)


def _following(looker: Looker, type_: str, few: Look) -> Iterator[Sign]:
    looker.budget.ask()
    try:
        after = next(looker.client.search(type_, (), start=few.next))
    except PageGone:
        yield Sign("page-gone")
    except (Declined, Unusable):
        yield Sign("next-broken")
    else:
        if {found.id for found in after.resources} & few.ids:
            yield Sign("next-cycle")


def _answer(page: Look, params: Params) -> Iterator[Sign]:
    if page.media != "application/fhir+json":
        yield Sign("plain-json", page.media)
    if page.encoding != "gzip" and page.bytes > PLAIN:
        yield Sign("no-gzip")
    if page.messages:
        yield Sign("outcome-entries", ", ".join(sorted(set(page.messages))))
    if page.bare:
        yield Sign("bare-entries")
    if page.own is None:
        yield Sign("no-self")
        return
    query = page.own.partition("?")[2].partition("#")[0]
    understood = {name: value.replace(" ", "+") for name, value in parse_qsl(query)}
    lost = [name for name, value in params if understood.get(name) != value.replace(" ", "+")]
    if lost:
        yield Sign("self-differs", ", ".join(lost))


def _strictness(looker: Looker, type_: str, params: Params, counted: int | None) -> Iterator[Sign]:
    found = matching(looker, type_, (*params, UNKNOWN), counts=counted is not None)
    if found.status == 0 or found.status >= 500:
        yield Sign("unknown-fails", str(found.status or "no Bundle"))
    elif found.is_answer and found.matches:
        yield Sign("lenient")
    elif found.is_answer and counted:
        yield Sign("unknown-empties")


def _last_updated(looker: Looker, type_: str, params: Params, counted: int | None) -> Iterator[Sign]:
    counts = counted is not None
    before, since = (
        matching(looker, type_, (*params, ("_lastUpdated", prefix + EPOCH)), counts=counts)
        for prefix in ("lt", "ge")
    )
    if not (before.is_answer and since.is_answer):
        yield Sign("no-last-updated", "refused")
    elif before.matches or (counts and since.matches != counted):
        yield Sign("no-last-updated", "not heeded")


def _post(looker: Looker, type_: str, params: Params, counted: int | None) -> Iterator[Sign]:
    found = looker.look(type_, (*params, ("_summary", "count")), form=True)
    if not found.is_answer:
        yield Sign("no-post", str(found.status or "no Bundle"))
    elif counted is not None and found.total != counted:
        yield Sign("post-differs", f"{counted} by GET, {found.total} by POST")


def _by_address(looker: Looker, type_: str, params: Params, counted: int | None) -> Iterator[Sign]:
    """HAPI finds a reference that was written with its own address by that address alone."""
    (name, ids), *others = params
    if counted is None or name == "_id":
        return
    who = [id_.removeprefix("Patient/") for id_ in ids.split(",")]
    either = ",".join([ids, *(f"{looker.client.base_url}/Patient/{id_}" for id_ in who)])
    found = looker.count(type_, ((name, either), *others))
    if found.is_answer and found.matches > counted:
        yield Sign("hidden-references", f"{type_}: {counted} by id, {found.matches} by id or address")


def _freshness(looker: Looker, type_: str, asked: Params, few: Look) -> Iterator[Sign]:
    plain = looker.look(type_, asked, fresh=False)
    same = (len(plain.ids), plain.next is None) == (len(few.ids), few.next is None)
    if plain.is_answer and not same:
        yield Sign("no-cache-cuts", f"{len(few.ids)} entries with no-cache, {len(plain.ids)} without")
