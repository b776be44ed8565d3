"""A FHIR server that remembers: versions, deletions, transactions, searches that live on while data change.

It pages as HAPI was measured to do: the ids of a search are found as its pages are asked for, so what is
created in between appears, and what is deleted vanishes. Its clock is the virtual time of the schedule.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

import httpx

from lib.fake_fhir import FakeFhir, bundle, matches, read, status
from lib.virtual_time import VirtualTime

BASE = "https://fhir.hospital.test/r4"
_NAMES = "_id _count _summary _total _sort _elements _lastUpdated _tag patient subject individual study code"
KNOWN = frozenset([*_NAMES.split(), "identifier", "target"])
"""Search parameters that the model understands: anything else in a request is an error of the test."""

Tree = dict[str, Any]
Key = tuple[str, str]


class Written:
    """One version: what it says, who wrote it; no body where it says that the resource is gone."""

    def __init__(self, body: bytes | None, ours: bool) -> None:
        self.body, self.ours = body, ours


class ModelServer(FakeFhir):
    """In memory, and nothing is forgotten: the oracle reads its history."""

    def __init__(self, time: VirtualTime, *, morning: datetime, base: str = BASE) -> None:
        super().__init__(base=base)
        self.time, self._morning, self._begun = time, morning, time.now
        self.history: dict[Key, list[Written]] = {}
        self.stale_status = 412
        self.totals = True
        self.strips_versions = self.bare_etags = False
        self.knows_tags = self.minds_updated = True
        self.takes_ids = self.takes_transactions = self.takes_batches = True
        """What it can do: PUT to an unknown id, all or nothing, many reads at once."""
        self.refuses: Callable[[Tree], bool] = lambda tree: False
        """What it never takes."""
        self._numbers = itertools.count(1)
        self.shown: Callable[[], None] = lambda: None
        """Called when a late version is seen at last."""
        self.keeps: Callable[[Tree], Tree] = lambda tree: tree
        """What becomes of a resource that is sent."""
        self.blindly: list[Key] = []
        """What was overwritten by somebody who did not say which version they had read."""
        self.lists: list[tuple[list[Key], str, dict[str, str]]] = []
        self._pending: list[tuple[float, datetime, Tree]] = []
        self._pairs: list[tuple[str, str]] = []

    @property
    def now(self) -> datetime:
        return self._morning + timedelta(seconds=self.time.now - self._begun)

    def write_late(self, tree: Tree, seconds: float) -> None:
        """A version that has its time now, and is seen only so much later: a long transaction."""
        stamp = self.now
        self._pending.append((self.time.now + seconds, stamp, tree))

    def _show(self) -> None:
        due = [one for one in self._pending if one[0] <= self.time.now]
        self._pending = [one for one in self._pending if one[0] > self.time.now]
        for _, stamp, tree in due:
            self.write(tree, stamp=stamp)
        if due:
            self.shown()

    def wait(self, seconds: float) -> None:
        """Nobody asks anything for so long; transactions that are open end meanwhile."""
        self.time.now += seconds
        self._show()

    def say_able(self, types: Iterable[str], *, since: bool, history: bool) -> None:
        """What the CapabilityStatement promises of each type."""
        one = {
            "interaction": [{"code": "search-type"}, *([{"code": "history-instance"}] if history else [])],
            "searchParam": [{"name": "_lastUpdated", "type": "date"}] if since else [],
        }
        self.metadata["rest"] = [{"mode": "server", "resource": [{"type": type_, **one} for type_ in types]}]

    def write(self, tree: Tree, *, ours: bool = False, stamp: datetime | None = None) -> int:
        """A new version of a resource; gives its number."""
        key = (tree["resourceType"], tree["id"])
        number = len(self.history.setdefault(key, [])) + 1
        self.time.now += 0.001
        said = (stamp or self.now).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        meta = {**tree.get("meta", {}), "versionId": str(number), "lastUpdated": said}
        body = json.dumps({**tree, "meta": meta}).encode()
        self.history[key].append(Written(body, ours))
        self.held[key] = body
        return number

    def erase(self, key: Key) -> None:
        """A deletion."""
        self.history[key].append(Written(None, False))
        del self.held[key]

    def tree(self, key: Key) -> Tree:
        """A resource as it stands."""
        found: Tree = json.loads(self.held[key])
        return found

    def answer(self, request: httpx.Request) -> httpx.Response:
        self._show()
        self._pairs = _pairs(request)
        if request.method == "POST" and str(request.url).rstrip("/") == self.base:
            return self._sent(request, json.loads(request.read()))
        path = str(request.url)[len(self.base) :].strip("/")
        if request.method == "POST" and re.fullmatch("[A-Za-z]+", path):
            condition = request.headers.get("if-none-exist")
            asked = {"method": "POST", "url": path} | ({"ifNoneExist": condition} if condition else {})
            return self._alone({"request": asked, "resource": json.loads(request.read())})
        return super().answer(request)

    # --- searching ----------------------------------------------------------------------------------------

    def _search(self, type_: str, asked: dict[str, str]) -> httpx.Response:
        if "_tag" in asked and not self.knows_tags:
            return status(400, "not-supported")(httpx.Request("GET", self.base))
        asked = asked | {
            "_lastUpdated": " ".join(text for name, text in self._pairs if name == "_lastUpdated")
        }
        assert not (unknown := asked.keys() - KNOWN), f"the model knows no {unknown}"
        asked = self._heed(asked)
        if asked.get("_summary") == "count":
            total = f',"total":{self.counted(len(self._found(type_, asked)))}' if self.totals else ""
            return self._json(200, f'{{"resourceType":"Bundle","type":"searchset"{total}}}'.encode())
        self.lists.append(([], type_, asked))
        return self._page(len(self.lists) - 1, 0)

    def counted(self, true: int) -> int:
        """What the server says it counted; a transport may bend it."""
        return true

    def _found(self, type_: str, asked: dict[str, str]) -> list[Key]:
        return [
            key
            for key, body in sorted(self.held.items())
            if key[0] == type_
            and matches(body, asked)
            and _tagged(body, asked.get("_tag"))
            and _identified(body, asked.get("identifier"))
            and _about(body, asked.get("target"))
            and (not self.minds_updated or _updated(body, asked.get("_lastUpdated", "").split()))
        ]

    def _page(self, search: int, offset: int) -> httpx.Response:
        ids, type_, asked = self.lists[search]
        met = set(ids)
        ids += [key for key in self._found(type_, asked) if key not in met]
        size = int(asked.get("_count", "20"))
        bend = _subsetted if "_elements" in asked else bytes
        shown = [bend(self.held[key]) for key in ids[offset : offset + size] if key in self.held]
        link = f"{self.base}?_getpages={search}&_getpagesoffset={offset + size}"
        more = offset + size < len(ids)
        return self._json(200, self.paged(shown, ids[:offset], link if more else None))

    def beginning(self, following: str | None) -> str:
        """The link to the first page of the newest search."""
        return f"{self.base}?_getpages={len(self.lists) - 1}&_getpagesoffset=0"

    def paged(self, bodies: list[bytes], before: list[Key], following: str | None) -> bytes:
        """The Bundle of a page; `before` are the ids of the pages before it."""
        return bundle(bodies, following)

    # --- writing ------------------------------------------------------------------------------------------

    def _one(self, request: httpx.Request, type_: str, id_: str) -> httpx.Response:
        if request.url.path.endswith("/_history"):
            if (type_, id_) not in self.history:
                return status(404, "not-found")(request)
            return self._json(200, self._ended((type_, id_)))
        if request.method == "GET":
            if self.history.get((type_, id_)) and (type_, id_) not in self.held:
                return status(410, "deleted")(request)
            return super()._one(request, type_, id_)
        assert request.method == "PUT", f"the model knows no {request.method} of a single resource"
        match = request.headers.get("if-match")
        asked = {"method": "PUT", "url": f"{type_}/{id_}"} | ({"ifMatch": match} if match else {})
        return self._alone({"request": asked, "resource": json.loads(request.read())})

    def _alone(self, entry: Tree) -> httpx.Response:
        """One write by itself."""
        if (no := self._no([entry])) is not None:
            return no
        response = self._apply(entry, {})
        place, version = response["location"].split("/_history/")
        body = self.history[tuple(place.split("/"))][int(version) - 1].body  # type: ignore[index]
        assert body is not None
        headers = {"ETag": response["etag"], "Location": f"{self.base}/{response['location']}"}
        return self._json(int(response["status"][:3]), body, **headers)

    def _ended(self, key: Key) -> bytes:
        """The newest entry of a history."""
        written = self.history[key][-1]
        version = {"response": {"status": "200", "etag": f'W/"{len(self.history[key])}"'}}
        entry = (
            b'{"resource":' + written.body + b"}"
            if written.body
            else json.dumps({"request": {"method": "DELETE", "url": "/".join(key)}, **version}).encode()
        )
        return b'{"resourceType":"Bundle","type":"history","entry":[' + entry + b"]}"

    def _sent(self, request: httpx.Request, sent: Tree) -> httpx.Response:
        if sent["type"] == "batch":
            if not self.takes_batches:
                return status(405, "not-supported")(request)
            return self._bundled("batch", [self._got(entry) for entry in sent["entry"]])
        if not self.takes_transactions:
            return status(405, "not-supported")(request)
        return self._transaction(sent["entry"])

    def _got(self, entry: Tree) -> Tree:
        assert entry["request"]["method"] == "GET", "only reads are sent in a batch"
        type_, id_ = entry["request"]["url"].split("/")
        if (type_, id_) in self.held:
            return {"resource": self.tree((type_, id_)), "response": {"status": "200 OK"}}
        gone = (type_, id_) in self.history
        return {"response": {"status": "410 Gone" if gone else "404 Not Found"}}

    def _transaction(self, entries: list[Tree]) -> httpx.Response:
        """All of it or nothing; an unchanged PUT makes a new version, as on most servers."""
        if (no := self._no(entries)) is not None:
            return no
        found = {id(entry): self._there(entry) for entry in entries}
        links = {}
        for entry in entries:
            if full := entry.get("fullUrl"):
                there = found[id(entry)] or (entry["resource"]["resourceType"], f"s{next(self._numbers)}")
                entry["place"], links[full] = there, "/".join(there)
        return self._bundled("transaction", [{"response": self._apply(one, links)} for one in entries])

    def _bundled(self, kind: str, entries: list[Tree]) -> httpx.Response:
        answer = {"resourceType": "Bundle", "type": f"{kind}-response", "entry": entries}
        return self._json(200, json.dumps(answer).encode())

    def _no(self, entries: list[Tree]) -> httpx.Response | None:
        """Why none of this can be done."""
        post = httpx.Request("POST", self.base)
        for entry in entries:
            if self.refuses(entry["resource"]):
                return status(422, "invariant")(post)
            if entry["request"]["method"] == "POST":
                continue
            held, stale = self.held.get(_key(entry)), entry["request"].get("ifMatch")
            if not held and not self.takes_ids:
                return status(405, "not-supported")(post)
            if stale and held and json.loads(held)["meta"]["versionId"] != stale[3:-1]:
                return status(self.stale_status, "conflict")(post)
        return None

    def _there(self, entry: Tree) -> Key | None:
        """What the condition of a create finds."""
        condition = entry["request"].get("ifNoneExist")
        if entry["request"]["method"] != "POST" or not condition:
            return None
        asked = dict(parse_qsl(condition))
        assert asked.keys() <= {"identifier", "_tag"}, f"the model knows no condition {condition}"
        assert self.knows_tags or "_tag" not in asked, "a condition on a tag that cannot be searched for"
        found = self._found(entry["resource"]["resourceType"], asked)
        assert len(found) < 2, f"doubled: {found}"
        return found[0] if found else None

    def _apply(self, entry: Tree, links: dict[str, str]) -> Tree:
        """Does one write; its part of the answer."""
        tree = json.loads(_linked(json.dumps(entry["resource"]), links))
        if entry["request"]["method"] == "POST":
            there = self._there(entry)
            key = there or entry.get("place") or (tree["resourceType"], f"s{next(self._numbers)}")
            if there is not None:
                return self._said("200 OK", key, len(self.history[key]))
            tree["id"] = key[1]
        else:
            key = _key(entry)
            if key in self.held and "ifMatch" not in entry["request"]:
                self.blindly.append(key)
        code = "200 OK" if key in self.held else "201 Created"
        return self._said(code, key, self.write(self._kept(tree), ours=True))

    def _said(self, code: str, key: Key, number: int) -> Tree:
        etag = f'"{number}"' if self.bare_etags else f'W/"{number}"'
        return {"status": code, "location": f"{key[0]}/{key[1]}/_history/{number}", "etag": etag}

    def _kept(self, tree: Tree) -> Tree:
        return self.keeps(_without_versions(tree) if self.strips_versions else tree)

    def _json(self, code: int, body: bytes, **headers: str) -> httpx.Response:
        date = format_datetime(self.now.astimezone(UTC).replace(microsecond=0), usegmt=True)
        return super()._json(code, body, **{"Date": date} | headers)


def versions(server: ModelServer) -> Iterable[tuple[Key, int, bytes]]:
    """Every body that was ever true."""
    for key, written in server.history.items():
        for number, one in enumerate(written, start=1):
            if one.body is not None:
                yield key, number, one.body


def _key(entry: Tree) -> Key:
    type_, id_ = entry["request"]["url"].split("/")
    assert entry["request"]["method"] == "PUT"
    assert (entry["resource"]["resourceType"], entry["resource"]["id"]) == (type_, id_)
    return type_, id_


def _pairs(request: httpx.Request) -> list[tuple[str, str]]:
    """The parameters of a search, from its address or its body."""
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return parse_qsl(request.read().decode() if form else request.url.query.decode())


def _updated(body: bytes, bounds: list[str]) -> bool:
    """Whether a resource was last updated within these bounds (ge, gt, le, lt)."""
    stamp = datetime.fromisoformat(read(body)["meta"]["lastUpdated"]) if bounds else None
    for bound in bounds:
        assert stamp is not None
        limit = datetime.fromisoformat(bound[2:])
        fits = {"ge": stamp >= limit, "gt": stamp > limit, "le": stamp <= limit, "lt": stamp < limit}
        if not fits[bound[:2]]:
            return False
    return True


def _subsetted(body: bytes) -> bytes:
    tree = read(body)
    tags = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]
    kept = {name: tree[name] for name in ("resourceType", "id")}
    return json.dumps({**kept, "meta": {**tree["meta"], "tag": tags}}).encode()


def _tagged(body: bytes, wanted: str | None) -> bool:
    if wanted is None:
        return True
    tags = read(body).get("meta", {}).get("tag", [])
    return not {f"{tag.get('system')}|{tag.get('code')}" for tag in tags}.isdisjoint(wanted.split(","))


def _identified(body: bytes, wanted: str | None) -> bool:
    if wanted is None:
        return True
    named = read(body).get("identifier", [])
    return not {f"{one.get('system')}|{one.get('value')}" for one in named}.isdisjoint(wanted.split(","))


def _about(body: bytes, wanted: str | None) -> bool:
    if wanted is None:
        return True
    targets = [one["reference"].partition("/_history/")[0] for one in read(body).get("target", [])]
    return not set(targets).isdisjoint(wanted.split(","))


def _linked(text: str, links: dict[str, str]) -> str:
    """What refers to another entry of the same transaction, with the place that it was given."""
    for full, place in links.items():
        text = text.replace(f'"{full}"', f'"{place}"')
    assert "urn:uuid:" not in text, "a reference to an entry that is not there"
    return text


def _without_versions(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _without_versions(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_versions(inner) for inner in value]
    return value.partition("/_history/")[0] if key == "reference" else value
