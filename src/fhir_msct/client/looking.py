"""One search looked at from outside: what came back, whatever it was. At most so many requests in all."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from fhir_msct.client import pages
from fhir_msct.client.exchange import Sent
from fhir_msct.client.failures import Unusable
from fhir_msct.client.reply import Reply
from fhir_msct.client.rest import Client
from fhir_msct.errors import MsctError
from fhir_msct.records import Resource

Params = Sequence[tuple[str, str]]


class Spent(MsctError):
    """No more requests may be sent."""

    exit_code = 2


class Budget:
    """How many requests may still be sent; every one counts, so a question needs room for all its tries.

    Redirects and renewed tokens come on top of those: a question that runs out of room is cut short.
    """

    def __init__(self, limit: int, tries: int) -> None:
        self.limit, self._tries, self.sent = limit, tries, 0

    def note(self, sent: Sent) -> None:
        """Counts a request that was sent."""
        self.sent += 1

    @property
    def is_spent(self) -> bool:
        """Whether there is no room for another question."""
        return self.sent + self._tries > self.limit

    def ask(self) -> None:
        """Returns where another question may be asked; raises Spent."""
        if self.is_spent:
            raise self._spent

    def may_send(self) -> None:
        """Returns where one more request may be sent; raises Spent."""
        if self.sent >= self.limit:
            raise self._spent

    @property
    def _spent(self) -> Spent:
        return Spent(f"the limit of {self.limit} requests is reached")


class Look(Struct, frozen=True, kw_only=True):
    """The answer to one search."""

    status: int
    codes: tuple[str, ...] = ()
    """Issue codes of a refusal."""
    total: int | None = None
    resources: tuple[Resource, ...] = ()
    next: str | None = None
    own: str | None = None
    """The `self` link: what the server understood."""
    messages: tuple[str, ...] = ()
    bare: bool = False
    """An entry without fullUrl."""
    media: str = ""
    encoding: str = ""
    bytes: int = 0
    date: datetime | None = None

    @property
    def ids(self) -> frozenset[str | None]:
        """The different ids that came."""
        return frozenset(found.id for found in self.resources)

    @property
    def matches(self) -> int:
        """How many match, as far as this answer says."""
        return len(self.ids) if self.total is None else self.total

    @property
    def is_answer(self) -> bool:
        """Whether the search was answered with a searchset."""
        return self.status == 200


class Looker:
    """Asks a client one question after another, within a budget."""

    def __init__(self, client: Client, budget: Budget) -> None:
        self.client, self.budget = client, budget

    def look(
        self, type_: str, params: Params, *, form: bool = False, strict: bool = True, fresh: bool = True
    ) -> Look:
        """What one search brings. Raises Spent, ServerUnfit (a page for people) and Unreachable.

        An answer that is no searchset has status 0.
        """
        self.budget.ask()
        headers = {"Prefer": "handling=strict"} if strict else {}
        headers |= {"Cache-Control": "no-cache"} if fresh else {}
        try:
            reply = self.client.probe(type_, params, form=form, headers=headers)
            return self._seen(reply, type_) if reply.status == 200 else _refused(reply)
        except Unusable:
            return Look(status=0)

    def count(self, type_: str, params: Params, *, form: bool = False) -> Look:
        """The server's count of what matches."""
        return self.look(type_, (*params, ("_summary", "count")), form=form)

    def _seen(self, reply: Reply, type_: str) -> Look:
        cut = pages.searchset(reply, type_)
        link = cut.links.get("next")
        page = pages.page(reply, cut, "", None if link is None else self.client.origin.resolve(link))
        return Look(
            status=200,
            total=cut.total,
            resources=page.resources,
            next=page.next,
            own=cut.links.get("self"),
            messages=page.messages,
            bare=any(entry.full_url is None for entry in cut.entries),
            media=reply.media,
            encoding=reply.encoding,
            bytes=len(reply.body),
            date=reply.date,
        )


def _refused(reply: Reply) -> Look:
    return Look(status=reply.status, codes=reply.codes, date=reply.date)
