"""The synthetic trial on a real HAPI: there, pulled, computed, pushed back and pulled again."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from msgspec import Struct

from fhir_msct import data
from fhir_msct.tasks.pull import PullReport
from fhir_msct.tasks.push import PushReport
from hapi.copies import Copy, archived, tables, without
from hapi.keeper import Shared
from push.wires import Wire

OF_THE_SERVER = ("versionId", "lastUpdated", "source")
"""What a server says of a resource in its meta."""


class Story(Struct):
    """What happened to one copy of the trial, step by step."""

    url: str
    bodies: list[bytes]
    """What was put on the server."""
    pulled: PullReport
    held: dict[str, bytes]
    """What the first pull brought."""
    first: dict[str, bytes]
    pushed: PushReport
    entries: list[list[Any]]
    """The entries of each transaction of the push."""
    headers: list[tuple[str, dict[str, str]]]
    """Method and headers of each request of the push."""
    versions: dict[str, str | None]
    again: PushReport
    versions_again: dict[str, str | None]
    pulled_again: PullReport
    second: dict[str, bytes]
    last: PushReport


@pytest.fixture(scope="session")
def story(shared: Shared, hapi: str, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Told once, whichever process tests it."""
    return shared.once("story", lambda: tell(tmp_path_factory.mktemp("story"), hapi))


def tell(folder: Path, url: str) -> Story:
    """Server to outcomes to server, and round once more."""
    copy = Copy(folder, url, f"s{uuid4().hex[:10]}")
    assert copy.load() == len(copy.bodies)
    pulled = copy.study.pull()
    held = archived(folder)
    copy.compute()
    first = copy.tables()
    with Wire() as wire:
        pushed = copy.push(wire)
    versions = copy.versions(pushed.ids)
    again = copy.push()
    versions_again = copy.versions(pushed.ids)
    pulled_again = copy.study.pull()
    copy.compute()
    return Story(
        url=url,
        bodies=copy.bodies,
        pulled=pulled,
        held=held,
        first=first,
        pushed=pushed,
        entries=wire.transactions,
        headers=[(request.method, dict(request.headers)) for request in wire.sent],
        versions=versions,
        again=again,
        versions_again=versions_again,
        pulled_again=pulled_again,
        second=copy.tables(),
        last=copy.push(),
    )


def canonical(body: bytes) -> bytes:
    """What a resource says, without all that HAPI is allowed to write in its own way, and nothing else is:

    - what it says of a resource in `meta`: version, time and source;
    - the versions that references name;
    - numbers with an exponent, written out (`1e3` as `1000`) and zero without a sign;
    - the order of members and the white space, which say nothing in JSON (RFC 8259).
    """
    tree = as_sent(json.loads(body, parse_float=Digits, parse_int=Digits))
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


class Digits(str):
    """A number as it is written, but for an exponent."""

    def __new__(cls, text: str) -> "Digits":
        if "e" in text.lower():
            text = format(Decimal(text), "f")
        return super().__new__(cls, text.removeprefix("-") if Decimal(text).is_zero() else text)


def as_sent(tree: Any) -> Any:
    """A tree without what a server says in meta, and without the versions in its references."""
    if isinstance(tree, list):
        return [as_sent(part) for part in tree]
    if isinstance(tree, Digits):
        return {"number": str(tree)}
    if not isinstance(tree, dict):
        return tree
    parts = {key: as_sent(part) for key, part in tree.items() if key != "meta"}
    if "meta" in tree:
        parts["meta"] = {key: tree["meta"][key] for key in tree["meta"] if key not in OF_THE_SERVER}
    if isinstance(parts.get("reference"), str):
        parts["reference"] = parts["reference"].partition("/_history/")[0]
    return parts


def test_everything_that_is_on_the_server_is_pulled_and_counted(story: Story) -> None:
    assert story.pulled.complete, story.pulled.problems
    assert (story.pulled.received, story.pulled.patients) == (story.pulled.counted, 11)
    assert story.pulled.received > 1000
    assert story.pulled.software == "HAPI FHIR Server 8.8.0"


def test_every_resource_comes_back_byte_for_byte_but_for_the_differences_that_are_allowed(
    story: Story,
) -> None:
    """Which these are, `canonical` says."""
    sent = {place(body): canonical(body) for body in story.bodies}
    assert set(story.held) <= set(sent)
    differing = [where for where, body in story.held.items() if canonical(body) != sent[where]]
    assert differing == []


def place(body: bytes) -> str:
    tree = json.loads(body)
    return f"{tree['resourceType']}/{tree['id']}"


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        (b'{"value":1e3}', b'{ "value": 1000 }'),
        (b'{"value":-0.0}', b'{"value":0.0}'),
        (b'{"reference":"Observation/a/_history/2"}', b'{"reference":"Observation/a"}'),
        (b'{"id":"a","meta":{"tag":[]}}', b'{"meta":{"versionId":"1","tag":[],"source":"#x"},"id":"a"}'),
    ],
)
def test_these_differences_are_allowed(sent: bytes, held: bytes) -> None:
    assert canonical(sent) == canonical(held)


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        (b'{"value":5.40}', b'{"value":5.4}'),
        (b'{"value":1000}', b'{"value":"1000"}'),
        (b'{"value":-1.0}', b'{"value":1.0}'),
        (b'{"meta":{"tag":[1]}}', b'{"meta":{"tag":[]}}'),
        (b'{"reference":"Observation/a"}', b'{"reference":"Observation/b"}'),
    ],
)
def test_and_these_are_not(sent: bytes, held: bytes) -> None:
    assert canonical(sent) != canonical(held)


def test_the_records_are_those_of_the_exported_files_but_for_the_servers_time(story: Story) -> None:
    golden = tables(data.fixtures())
    assert set(story.first) == set(golden)
    for name in [name for name in golden if name.startswith("records/")]:
        assert without("lastupdated", story.first[name]) == without("lastupdated", golden[name]), name
    for name in ("records/subjects.csv", "records/set_aside.csv"):
        assert story.first[name] == golden[name], name


def test_the_outcomes_are_those_of_the_exported_files_byte_for_byte(story: Story) -> None:
    for name, table in tables(data.fixtures()).items():
        if name.startswith("outcomes/"):
            assert story.first[name] == table, name


def test_everything_pushed_is_read_back_as_it_was_sent(story: Story) -> None:
    assert story.pushed.read_back_equal, story.pushed.differing
    assert (story.pushed.written, story.pushed.unchanged) == (
        len(set(story.versions)) - provenances(story),
        0,
    )
    assert story.pushed.written > 100
    assert set(story.versions.values()) == {"1"}


def provenances(story: Story) -> int:
    """What is written beside the results."""
    return sum(place.startswith("Provenance/") for place in story.pushed.ids)


def test_a_second_push_writes_nothing_and_no_version_changes(story: Story) -> None:
    assert (story.again.written, story.again.retracted, story.again.ids) == (0, 0, ())
    assert story.versions_again == story.versions


def test_what_was_pushed_changes_no_outcome_when_it_is_pulled(story: Story) -> None:
    """The loop law: pull, outcomes, push, pull, outcomes, push gives equal outcomes and no write."""
    assert story.pulled_again.complete, story.pulled_again.problems
    assert story.pulled_again.received > story.pulled.received
    assert story.second == story.first
    assert (story.last.written, story.last.retracted) == (0, 0)


def test_hapi_drops_the_versions_from_references_and_the_extension_still_names_them(story: Story) -> None:
    place = next(place for place in story.pushed.ids if place.startswith("Observation/"))
    (sent,) = [entry["resource"] for entry in entries(story) if entry["request"]["url"] == place]
    held = httpx.get(f"{story.url}/{place}", trust_env=False).json()
    assert held["derivedFrom"]
    for was, now in zip(sent["derivedFrom"], held["derivedFrom"], strict=True):
        assert now["reference"] == was["reference"].partition("/_history/")[0]
        assert now["extension"] == was["extension"]
        assert "/_history/" in now["extension"][0]["valueString"]


def test_a_push_names_each_resource_by_its_id_and_never_by_a_condition(story: Story) -> None:
    """Conditional updates double resources when eight write at once: measured on this server."""
    requests = [entry["request"] for entry in entries(story)]
    assert len(requests) == len(story.pushed.ids)
    assert {request["method"] for request in requests} == {"PUT"}
    assert [request for request in requests if "?" in request["url"] or "ifNoneExist" in request] == []
    assert [names for _, names in story.headers if "if-none-exist" in names] == []


def entries(story: Story) -> list[Any]:
    """The entries of all transactions of the push."""
    return [entry for transaction in story.entries for entry in transaction]


def test_no_search_forbids_the_server_to_store_its_result(story: Story) -> None:
    """`no-store` would cut it after one page, without a word."""
    asked = {names.get("cache-control", "") for method, names in story.headers if method == "GET"}
    assert "no-cache" in asked
    assert not any("no-store" in one for one in asked)
