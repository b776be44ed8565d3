"""The synthetic trial on a real HAPI: there, pulled, computed, pushed back and pulled again."""

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
from hapi.ground import exact
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


def as_sent(tree: Any) -> Any:
    """A resource without what HAPI writes or leaves out: version, time and source in its meta, and the
    versions that its references name."""
    if isinstance(tree, list):
        return [as_sent(part) for part in tree]
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


def test_every_resource_comes_back_as_it_was_sent_but_for_meta_and_versions_of_references(
    story: Story,
) -> None:
    sent = {f"{tree['resourceType']}/{tree['id']}": tree for tree in map(exact, story.bodies)}
    assert set(story.held) <= set(sent)
    differing = [place for place, body in story.held.items() if as_sent(exact(body)) != as_sent(sent[place])]
    assert differing == []


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
