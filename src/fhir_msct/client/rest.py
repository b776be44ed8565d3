"""FHIR R4 over HTTP: JSON bytes in and out. It knows REST and nothing of the trial.

https://hl7.org/fhir/R4/http.html and https://hl7.org/fhir/R4/search.html
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import httpx
import msgspec

from fhir_msct.client import batch, pages
from fhir_msct.client import bundle as bundles
from fhir_msct.client.answer import Answer, answer_of
from fhir_msct.client.auth import Auth
from fhir_msct.client.body import Limits
from fhir_msct.client.capability import statement
from fhir_msct.client.exchange import METADATA, Exchange, Sent
from fhir_msct.client.failures import PageGone, TooSlow, Unusable
from fhir_msct.client.following import followed
from fhir_msct.client.network import Network
from fhir_msct.client.origin import Origin, shown
from fhir_msct.client.pages import Page
from fhir_msct.client.reply import FHIR_JSON, REFUSED, Reply, declined
from fhir_msct.client.retry import FAILED, Patience
from fhir_msct.records import Resource

Params = Mapping[str, str] | Sequence[tuple[str, str]]

LONGEST_URL = 1800
"""Bytes of an address that every server and proxy takes; a longer search is sent as POST."""

FAILING = 3
"""Times that a next page fails before its search counts as gone: a HAPI that was killed while it searched
waits a minute at each link into that search, and fails, until the search expires (measured)."""

_FRESH = {"Cache-Control": "no-cache"}
"""Never `no-store`: HAPI then cuts the result and falsifies its total (measured)."""

_STRICT = {"Prefer": "handling=strict"}


class Client:
    """A FHIR R4 server. A context manager; not to be shared by threads."""

    def __init__(
        self,
        base_url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        token: str | None = None,
        user_agent: str = "fhir-msct",
        patience: Patience | None = None,
        limits: Limits | None = None,
        allow_http: bool = False,
        on_sent: Callable[[Sent], None] | None = None,
        auth: Auth | None = None,
        network: Network | None = None,
        section: str = "server",
        may_send: Callable[[], None] | None = None,
    ) -> None:
        """Raises ConfigError where the address cannot be one; sends nothing yet.

        `section` of study.toml describes the way to this server: messages name its keys. `may_send` is
        called before each request leaves, and keeps it here by raising.
        """
        self._url_key = f"[{section}] url"
        self.origin = Origin(base_url, allow_http=allow_http)
        self.base_url = self.origin.base
        self.date: datetime | None = None
        """The server's clock at its last answer."""
        self._exchange = Exchange(
            self.origin,
            transport=transport,
            token=token,
            user_agent=user_agent,
            patience=patience or Patience(),
            limits=limits or Limits(),
            on_sent=on_sent,
            auth=auth,
            network=network,
            section=section,
            may_send=may_send,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.__exit__(kind, error, trace)

    @property
    def exchange(self) -> Exchange:
        """The connection itself, for what is no REST: exports and their files."""
        return self._exchange

    @property
    def not_granted(self) -> tuple[str, ...]:
        """The types that the server does not let us use as asked, as far as it has said so yet."""
        return self._exchange.auth.missing

    @property
    def tokens_from(self) -> str:
        """The origin where tokens were asked for; empty where none was."""
        return self._exchange.auth.tokens_from

    def metadata(self) -> dict[str, Any]:
        """The server's CapabilityStatement.

        Raises ServerUnfit where this is no FHIR server, or one of another release than R4 (4.0.x).
        """
        reply = self._send("GET", f"{self.base_url}/metadata", METADATA, _FRESH)
        if reply.status in REFUSED or reply.status >= 500:
            raise declined(reply, METADATA)
        try:
            tree = msgspec.json.decode(reply.body) if reply.status == 200 else None
        except (msgspec.DecodeError, RecursionError):
            tree = None
        return statement(tree, f"{self.origin}", reply.status, self._url_key)

    def search(self, type_: str, params: Params, *, start: str | None = None) -> Iterator[Page]:
        """The pages of a search, each `next` link followed as the server wrote it.

        `start` is a `next` link to go on from. Raises PageGone (404 or 410 on a later page, or it fails each
        time: send the search again), Declined, and Unusable (`next-cycle`, `next-repeats`, `next-foreign`,
        `shape`).
        """
        page = self._next_page(type_, start) if start else self._first_page(type_, params)
        yield from followed(type_, page, lambda url: self._next_page(type_, url))

    def count(self, type_: str, params: Params) -> int | None:
        """How many resources match, as the server counts them now; None where it does not say."""
        asked = [(name, value) for name, value in _pairs(params) if name not in ("_count", "_elements")]
        reply = self._ask(type_, [*asked, ("_summary", "count")], f"{type_}?_summary=count")
        return pages.searchset(reply, type_).total

    def probe(
        self, type_: str, params: Params, *, form: bool = False, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """The answer to one search, whatever it is: by POST with `form`, with no headers but these."""
        query, said = urlencode(_pairs(params), quote_via=quote, safe=""), dict(headers or {})
        url = f"{self.base_url}/{type_}"
        if not form:
            return self._send("GET", f"{url}?{query}", f"{type_}?", said)
        said |= {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", f"{url}/_search", f"{type_}/_search", said, query.encode("ascii"))

    def read(self, type_: str, id_: str) -> Resource | None:
        """The current version of one resource; None where there is none, or it was deleted."""
        reply = self._send("GET", self._url(type_, id_), f"{type_}/[id]", _FRESH)
        if reply.status in (404, 410):
            return None
        if reply.status != 200:
            raise declined(reply, f"{type_}/[id]")
        known = bundles.incoming(reply.body)
        if known.type != type_:
            raise Unusable("shape", f"{type_}/[id]: the server answers with another type")
        return bundles.resource(reply.body, known)

    def read_all(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Resource | None]:
        """The current versions of many resources, in one batch; None for what is not there, or deleted.

        What the server gave no plain answer about is left out: read it alone. Raises Declined where it
        takes no batches, Unusable where its answer does not fit the question.
        """
        return batch.read(self.batch(batch.reads(keys), repeat=True), keys)

    def deletion(self, type_: str, id_: str) -> Resource | None:
        """The deletion of one resource, where its history ends with one; None where it does not say so.

        https://hl7.org/fhir/R4/http.html#history
        """
        url = f"{self._url(type_, id_)}/_history?_count=1"
        reply = self._send("GET", url, f"{type_}/[id]/_history", _FRESH)
        if reply.status != 200 or bundles.head(reply.body).type != "Bundle":
            return None
        newest = next(iter(bundles.cut(reply.body).entries), None)
        if newest is None or newest.body is not None or (newest.method or "").upper() != "DELETE":
            return None
        return Resource(type_, id_, b"", version=newest.version, lastupdated=newest.modified, deleted=True)

    def put(self, type_: str, id_: str, body: bytes, *, if_match: str | None = None) -> Answer:
        """Writes one resource under its id. Sent once: where no answer comes, read before trying again.

        409 and 412 are answers (a stale `if_match` gives either); raises Declined for every other no.
        """
        headers = {"Content-Type": FHIR_JSON} | ({"If-Match": f'W/"{if_match}"'} if if_match else {})
        return self._write("PUT", self._url(type_, id_), f"{type_}/[id]", headers, body)

    def create(self, type_: str, body: bytes, *, if_none_exist: str | None = None) -> Answer:
        """A new resource (201), or what `if_none_exist` finds there already (200). Sent once, as `put` is.

        https://hl7.org/fhir/R4/http.html#ccreate
        """
        headers = {"Content-Type": FHIR_JSON} | ({"If-None-Exist": if_none_exist} if if_none_exist else {})
        return self._write("POST", f"{self.base_url}/{quote(type_, safe='')}", type_, headers, body)

    def delete(self, type_: str, id_: str, *, if_match: str | None = None) -> Answer:
        """Deletes one resource; one that is not there is an answer too (404, 410)."""
        headers = {"If-Match": f'W/"{if_match}"'} if if_match else {}
        return self._write("DELETE", self._url(type_, id_), f"{type_}/[id]", headers, None)

    def transaction(self, bundle: bytes) -> bytes:
        """The transaction-response Bundle: all of it was done, or (Declined) nothing."""
        headers = {"Content-Type": FHIR_JSON}
        reply = self._send("POST", self.base_url, "[transaction]", headers, bundle, repeat=False)
        if reply.status != 200:
            raise declined(reply, "[transaction]")
        return reply.body

    def batch(self, bundle: bytes, *, repeat: bool) -> bytes:
        """The batch-response Bundle; `repeat` where nothing in it writes, so that it may be sent again."""
        headers = {"Content-Type": FHIR_JSON} | _FRESH
        reply = self._send("POST", self.base_url, "[batch]", headers, bundle, repeat=repeat)
        if reply.status != 200:
            raise declined(reply, "[batch]")
        return reply.body

    def _first_page(self, type_: str, params: Params) -> Page:
        reply = self._ask(type_, _pairs(params), f"{type_}?")
        query = urlencode(_pairs(params), quote_via=quote, safe="")
        return self._page(reply, type_, f"{self.base_url}/{type_}?{query}")

    def _next_page(self, type_: str, url: str) -> Page:
        if not self.origin.holds(url):
            leads = f"{type_}: the next link leads to {shown(url)}, not to {self.origin}"
            raise Unusable("next-foreign", f"{leads}: not followed, no token was sent there")
        try:
            reply = self._send("GET", url, f"{type_}? next page", {}, failing=FAILING)
        except TooSlow:
            raise PageGone(0, (), f"{type_}: a later page does not come in time") from None
        if reply.status in (404, 410):
            raise PageGone(reply.status, reply.codes, f"{type_}: the search expired at the server")
        if reply.status in FAILED:
            raise PageGone(reply.status, reply.codes, f"{type_}: the server fails at a later page")
        return self._page(reply, type_, url)

    def _ask(self, type_: str, params: list[tuple[str, str]], route: str) -> Reply:
        """A search by GET, or by POST with every parameter in the body where the address grows long."""
        query = urlencode(params, quote_via=quote, safe="")
        url, headers = f"{self.base_url}/{type_}", _FRESH | _STRICT
        if len(url) + 1 + len(query) <= LONGEST_URL:
            reply = self._send("GET", f"{url}?{query}", route, headers)
            if reply.status not in (413, 414, 431):
                return reply
        form = headers | {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", f"{url}/_search", f"{type_}/_search", form, query.encode("ascii"))

    def _page(self, reply: Reply, type_: str, url: str) -> Page:
        cut = pages.searchset(reply, type_)
        link = cut.links.get("next")
        return pages.page(reply, cut, url, None if link is None else self.origin.resolve(link))

    def _write(
        self, method: str, url: str, route: str, headers: dict[str, str], body: bytes | None
    ) -> Answer:
        reply = self._send(method, url, route, headers, body, repeat=False)
        taken = (200, 201, 202, 204, 409, 412) + ((404, 410) if method == "DELETE" else ())
        if reply.status not in taken:
            raise declined(reply, route)
        return answer_of(reply, route)

    def _url(self, type_: str, id_: str) -> str:
        return f"{self.base_url}/{quote(type_, safe='')}/{quote(id_, safe='')}"

    def _send(
        self,
        method: str,
        url: str,
        route: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        repeat: bool = True,
        failing: int | None = None,
    ) -> Reply:
        reply = self._exchange.send(
            method, url, route=route, headers=headers, content=content, repeat=repeat, failing=failing
        )
        self.date = reply.date or self.date
        return reply


def _pairs(params: Params) -> list[tuple[str, str]]:
    return list(params.items() if isinstance(params, Mapping) else params)
