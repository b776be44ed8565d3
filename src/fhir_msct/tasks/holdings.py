"""What a server holds of a study's own resources, asked for in few requests, each under our own name.

A search may be older than the truth and may miss what is there, so nothing is absent because a search did
not show it: it is then read, many in one batch. On a server that chooses ids, where a resource is follows
from the ledger, or from a search for our identifier; two that answer to one identifier are never written to.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct.archive import ledger
from fhir_msct.archive.digest import digest
from fhir_msct.client.failures import Declined, PageGone, Unusable
from fhir_msct.client.rest import Client
from fhir_msct.errors import ServerFailed
from fhir_msct.mapping import outgoing
from fhir_msct.records import Resource
from fhir_msct.tasks.ability import Ability
from fhir_msct.tasks.batches import batches
from fhir_msct.tasks.places import Key, Places

PAGE = "100"

TRIES = 3
"""How often a search is sent whose later pages are gone before they are read."""

READS = 100
"""Reads of one batch; identifiers of one search are half as many, so that none grows beyond a page."""


class Wanted(Struct, frozen=True):
    """What one resource on the server shall say."""

    type: str
    id: str
    body: bytes
    label: str = ""
    """What it is about, for the plan: endpoint, subject, course, visit."""
    subject: str = ""
    sources: tuple[str, ...] = ()
    derived: bool = False
    """Whether a Provenance goes with it."""
    retract: bool = False
    """Whether it shall be taken back; `body` is then what the server holds."""

    @property
    def key(self) -> Key:
        """Type and id."""
        return self.type, self.id

    @property
    def place(self) -> str:
        """Type and id, as FHIR writes them; on a server that chooses ids it has another one beside."""
        return f"{self.type}/{self.id}"


class Holdings:
    """One study's resources on one server."""

    def __init__(self, client: Client, db: Connection, study: str, ability: Ability | None = None) -> None:
        self.client, self.db, self.target = client, db, client.base_url
        self.ability = ability or Ability()
        self.system = outgoing.system(study)
        self.places = Places(self.target, self.system, ledger.places(db, self.target))
        self.assigns = self.ability.takes_ids is False
        """Whether the server chooses the ids of new resources."""
        self._learn_way()
        self.doubled: dict[Key, list[str]] = {}
        """What answers to one identifier more than once, and where."""
        self._batches = self.ability.batches is not False
        self._searches_tags = True
        self.is_blind = False
        """Whether what the ledger does not know could not be looked for: a search for tags is refused."""

    # --- the ways to ask ----------------------------------------------------------------------------------

    def survey(self, wanted: Sequence[Wanted]) -> dict[Key, Resource]:
        """What is there of what is wanted, and every other derived Observation of the study."""
        found = self.derived()
        found |= self.look([one for one in wanted if one.key not in found])
        remembered = [
            key
            for key, entry in ledger.entries(self.db, self.target).items()
            if key[0] == "Observation" and entry.state != ledger.RETRACTED and key not in found
        ]
        asked = {one.key for one in wanted}
        more = self.look([self.remembered(key) for key in remembered if key not in asked])
        return found | {key: one for key, one in more.items() if self._is_derived(_tree(one))}

    def kept_back(self, wanted: Wanted) -> bool:
        """Whether it is not brought to this server: a hand-entered value where the server chooses ids.

        It would come back with the next pull under another id than it has here, and count twice.
        """
        if not self.assigns or wanted.type == "Provenance" or self.tag(wanted) is None:
            return False
        self.places.keep(wanted.place)
        return True

    def remembered(self, key: Key) -> Wanted:
        """What a search needs of a result or a Provenance of which only the ledger knows."""
        named = [{"system": self.system, "value": key[1]}] if key[0] == "Observation" else []
        return Wanted(*key, msgspec.json.encode({"identifier": named}))

    def look(self, wanted: Sequence[Wanted]) -> dict[Key, Resource]:
        """What is there of what is wanted now: a search by identifier where the server chose the ids."""
        if not self.assigns:
            return self.fetch([one.key for one in wanted])
        found = self.seek([one for one in wanted if one.type != "Provenance"])
        found |= self.seek([one for one in wanted if one.type == "Provenance"])
        known = ledger.entries(self.db, self.target)
        settled = {key for key, entry in known.items() if entry.state in (ledger.APPLIED, ledger.RETRACTED)}
        left = [one.key for one in wanted if one.key not in found]
        return found | self.fetch([key for key in left if key in settled or self.places.id(key)])

    def fetch(self, keys: Sequence[Key]) -> dict[Key, Resource]:
        """What is there under these keys, read and not searched for: what is missing here is not there."""
        said: dict[Key, Resource | None] = {}
        if self._batches and len(keys) > 1:
            for some in batches(keys, READS):
                said |= self._batch(some)
        for key in keys:
            if key not in said:
                said[key] = self.client.read(key[0], self._server_id(key))
        return {key: one for key, one in said.items() if one is not None}

    def derived(self) -> dict[Key, Resource]:
        """Our derived Observations as a search finds them; on a server that cannot search for tags, none."""
        asked = {"_tag": f"{outgoing.TAGS}|{outgoing.DERIVED}", "_count": PAGE}
        found: dict[str, tuple[Key, Resource]] = {}
        try:
            for one in self._searched("Observation", asked):
                tree = _tree(one)
                if one.id and not one.subsetted and self._is_derived(tree):
                    found[one.id] = (("Observation", self._named(tree) or one.id), one)
        except Declined as error:
            self._without_tags(error)
            self.is_blind = True
        return self._single(found.values())

    def seek(self, wanted: Sequence[Wanted]) -> dict[Key, Resource]:
        """What a search for our identifiers finds, which may miss what was written a moment ago."""
        asked: dict[tuple[str, str], dict[str, None]] = {}
        for one in wanted:
            if question := self.question(one) or self._roundabout(one):
                asked.setdefault((one.type, question[0]), {})[question[1]] = None
        keys = {(one.type, self._code(one)): one.key for one in wanted}
        found: dict[str, tuple[Key, Resource]] = {}
        for (type_, name), values in asked.items():
            for some in batches(values, READS // 2):
                for hit in self._found(type_, name, ",".join(some)):
                    key = keys.get((hit.type, self._named(_tree(hit)) or ""))
                    if key is not None and hit.id:
                        found[f"{hit.type}/{hit.id}"] = (key, hit)
        return self._single(found.values())

    def _found(self, type_: str, name: str, value: str) -> list[Resource]:
        try:
            return self._searched(type_, {name: value, "_count": PAGE})
        except Declined as error:
            if name != "_tag":
                raise
            self._without_tags(error)
            return []

    def _searched(self, type_: str, asked: Mapping[str, str]) -> list[Resource]:
        """All that a search finds; one that expires under way is sent again, a few times.

        Raises ServerFailed where none comes to its end: no refusal, and no word of what is there.
        """
        for _ in range(TRIES):
            try:
                return [one for page in self.client.search(type_, asked) for one in page.resources]
            except PageGone as error:
                why = error
        raise ServerFailed(
            f"{why}, {TRIES} times: nothing is known of its later pages, so run this again later"
        )

    def _without_tags(self, error: Declined) -> None:
        """A search for tags that is refused is none, and not asked for again; one that fails may yet do."""
        if error.status in (401, 403) or (error.status >= 500 and error.status != 501):
            raise error
        self._searches_tags = self._searches_tags and error.status not in (400, 405, 422, 501)

    # --- names --------------------------------------------------------------------------------------------

    def question(self, wanted: Wanted) -> tuple[str, str] | None:
        """The search that finds one resource wherever it is: parameter and value.

        A Provenance has no identifier in R4: it carries a tag of its own instead. None where the server
        cannot search for that.
        """
        code = self._code(wanted)
        if self.tag(wanted) is None:
            return "identifier", f"{self.system}|{_escaped(code)}"
        return ("_tag", f"{self.system}|{code}") if self._searches_tags else None

    def _roundabout(self, wanted: Wanted) -> tuple[str, str] | None:
        """The search for a Provenance by what it is about, where tags cannot be searched for."""
        targets = _objects(msgspec.json.decode(wanted.body).get("target"))
        kind, _, own = str(targets[0].get("reference") if targets else "").partition("/")
        return ("target", self.places.place((kind, own))) if own else None

    def tag(self, wanted: Wanted) -> tuple[str, str] | None:
        """The tag that names what has no identifier of ours."""
        return None if self._identifier(msgspec.json.decode(wanted.body)) else (self.system, wanted.id)

    def digest(self, body: bytes) -> str:
        """The hash of what a resource says on this server, whoever chose its ids."""
        return digest(self.places.to_own(body), self.target)

    def _code(self, wanted: Wanted) -> str:
        return self._identifier(msgspec.json.decode(wanted.body)) or wanted.id

    def _named(self, tree: Mapping[str, Any]) -> str | None:
        """The name of ours that a resource carries: identifier, else tag."""
        own = self._identifier(tree)
        meta = tree.get("meta")
        tags = meta.get("tag") if isinstance(meta, dict) else None
        return own or next(
            (str(one.get("code")) for one in _objects(tags) if one.get("system") == self.system), None
        )

    def _identifier(self, tree: Mapping[str, Any]) -> str | None:
        named = (
            one.get("value") for one in _objects(tree.get("identifier")) if one.get("system") == self.system
        )
        return next((value for value in named if isinstance(value, str)), None)

    def _is_derived(self, tree: Mapping[str, Any]) -> bool:
        return self._identifier(tree) is not None and outgoing.DERIVED in outgoing.tags(tree)

    def _server_id(self, key: Key) -> str:
        return self.places.id(key) or key[1]

    # --- several answers ----------------------------------------------------------------------------------

    def _single(self, found: Iterable[tuple[Key, Resource]]) -> dict[Key, Resource]:
        """One resource for each key; of two, the one that was not taken back. More than one is a double."""
        copies: dict[Key, list[Resource]] = {}
        for key, one in found:
            copies.setdefault(key, []).append(one)
        chosen = {}
        for key, several in copies.items():
            live = [one for one in several if _tree(one).get("status") != "entered-in-error"]
            places = sorted(f"{one.type}/{one.id}" for one in live)
            self.doubled.pop(key, None)
            if len(live) > 1:
                self.doubled[key] = places
            usual = self._server_id(key)
            best = min(live or several, key=lambda one: (one.id != usual, one.id != key[1], one.id or ""))
            chosen[key] = best
            self.places.learn(key, best.id or key[1])
        self._learn_way()
        return chosen

    def _learn_way(self) -> None:
        """A server that chose ids before, and does not say that it takes ours, chooses them still."""
        self.assigns = self.assigns or (bool(self.places) and self.ability.takes_ids is None)

    def _batch(self, keys: Sequence[Key]) -> Mapping[Key, Resource | None]:
        """What one batch says; nothing where the server takes none."""
        there = [(key[0], self._server_id(key)) for key in keys]
        try:
            said = self.client.read_all(there)
        except Declined as error:
            if error.status == 401:
                raise
            self._batches = False
            return {}
        except Unusable:
            return {}
        return {key: said[place] for key, place in zip(keys, there, strict=True) if place in said}


def _escaped(text: str) -> str:
    """A value of a search, as https://hl7.org/fhir/R4/search.html#escaping wants it."""
    return re.sub(r"([\\,|$])", r"\\\1", text)


def _tree(resource: Resource) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.json.decode(resource.body)
    return tree


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
