"""Puts the synthetic trial on a server that others use: in transactions, each noted before it is sent.

Under ids of our own choice, so that sending one again changes nothing; where a server lets nobody choose an
id, under those that it gives.
"""

import json
import re
from collections.abc import Iterator, Sequence

from fhir_msct.archive.guest_book import GuestBook
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.marking import Marked
from fhir_msct.client.rest import Client
from fhir_msct.errors import MsctError, ServerFailed, Unreachable
from fhir_msct.tasks.entries import responses_of
from fhir_msct.tasks.trial_copy import Key, Original

LARGEST = 100
"""Entries of one transaction."""

TRIES = 5


class Loader:
    """Brings the bodies of a trial to one server."""

    def __init__(self, client: Client, wire: Marked, book: GuestBook, *, choose: bool) -> None:
        """`client` sends by the `wire`; `choose`: whether the server may take ids of our choice."""
        self.client, self.wire, self.book, self.choose = client, wire, book, choose
        self.ids: dict[Key, str] = {}
        """The id on the server of each original that is there."""

    def load(self, bodies: Sequence[Original]) -> None:
        """Returns when the server holds all of them.

        Raises ServerFailed and Unreachable where it does not: what is there is in the guest book then.
        """
        for number, bundle in enumerate(bundles(bodies)):
            if number == 0 and self.choose:
                self.choose = self._takes_our_ids(bundle)
                if self.choose:
                    continue
            self._send(bundle)

    def _takes_our_ids(self, bundle: list[Original]) -> bool:
        """Sends the first transaction; False where the server refuses it, as one does that gives all ids."""
        try:
            self._send(bundle)
        except Declined as error:
            if error.status not in (400, 404, 405, 422):
                raise
            return False
        return True

    def _send(self, bundle: list[Original]) -> None:
        tried, content = 0, self._content(bundle)
        while True:
            tried += 1
            try:
                answer = self.client.transaction(content)
            except (Declined, Unreachable, Unusable) as error:
                if not self._may_repeat(error) or tried >= TRIES:
                    raise self._stopped(error) from None
                patience = self.client.exchange.patience
                patience.sleep(patience.backoff(tried))
                continue
            self._learn(bundle, answer)
            return

    def _may_repeat(self, error: MsctError) -> bool:
        """A PUT under our id may always be sent again; of a POST nobody knows whether it arrived."""
        return self.choose and not (
            isinstance(error, Declined) and error.status < 500 and not error.is_conflict
        )

    def _stopped(self, error: MsctError) -> MsctError:
        if isinstance(error, Declined) and error.status < 500:
            return error
        return ServerFailed(f"the trial is not whole on the server: {error}")

    def _content(self, bundle: list[Original]) -> bytes:
        entries = b",".join(self._entry(one) for one in bundle)
        return b'{"resourceType":"Bundle","type":"transaction","entry":[' + entries + b"]}"

    def _entry(self, one: Original) -> bytes:
        known = self.own(one.key) if self.choose else self.ids.get(one.key)
        method, url = ("PUT", f"{one.type}/{known}") if known else ("POST", one.type)
        request = json.dumps({"method": method, "url": url}).encode()
        return b'{"resource":%b,"request":%b}' % (one.own(self._now), request)

    def own(self, key: Key) -> str:
        """The id that we choose for an original."""
        return f"{self.book.run}-{key[1]}"

    def _now(self, key: Key) -> str:
        return self.ids.get(key) or self.own(key)

    def _learn(self, bundle: list[Original], answer: bytes) -> None:
        """Notes the ids of what was written; raises ServerFailed for an answer that does not fit."""
        responses = responses_of(answer)
        if len(responses) != len(bundle):
            raise ServerFailed("[transaction]: the answer has another number of entries")
        for one, writing, response in zip(bundle, self.wire.latest, responses, strict=True):
            named = re.search(
                rf"(?:^|/){one.type}/([A-Za-z0-9\-.]{{1,64}})", str(response.get("location", ""))
            )
            id_ = writing.id or (named[1] if named else None)
            if id_ is None or not str(response.get("status", "")).startswith("2"):
                raise ServerFailed(f"[transaction]: no answer that fits a {one.type}")
            self.ids[one.key] = id_
            if writing.id is None:
                self.book.learn(one.type, writing.mark, id_)


def bundles(bodies: Sequence[Original]) -> Iterator[list[Original]]:
    """The bodies in transactions, none with a resource beside one that it refers to."""
    bundle: list[Original] = []
    for one in bodies:
        if bundle and (len(bundle) == LARGEST or bundle[-1].floor != one.floor):
            yield bundle
            bundle = []
        bundle.append(one)
    if bundle:
        yield bundle
