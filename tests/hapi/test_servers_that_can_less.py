"""A server that can less than HAPI: one message, the right exit code, and nothing half done.

The sandbox and HAPI, each behind a proxy that takes something away; the commands are the user's own.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.conftest import Command, Ended, command
from cli.refusals import refused
from hapi.ground import Ground, Tree
from hapi.guarded import PATH, forwarded, passed_on
from hapi.proxy import Proxy
from lib.fake_fhir import status
from push import small_trial

__all__ = ["command"]

Claims = dict[str, Any]


class Lesser:
    """A server without something: what it claims, and which requests it refuses."""

    def __init__(self, ground: Ground) -> None:
        self._upstream, self._http = httpx.URL(ground.url), ground.http
        self.claims: Callable[[Claims], None] = lambda tree: None
        self.refuses: Callable[[httpx.Request], int] = lambda request: 0
        self.written = 0
        """Requests that would have changed something, and were taken."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if code := self.refuses(request):
            return status(code, "not-supported")(request)
        answer = forwarded(request, self._upstream, self._http)
        self.written += request.method != "GET" and answer.is_success
        if request.url.path != f"{PATH}/metadata":
            return passed_on(answer, answer.content)
        tree = answer.json()
        self.claims(tree)
        return passed_on(answer, json.dumps(tree).encode())


class Site:
    """The small trial on a server, and a study folder that reaches it through the proxy."""

    def __init__(self, ground: Ground, proxy: Proxy, folder: Path) -> None:
        self.folder, self.server = folder, Lesser(ground)
        proxy.behind = self.server
        own = json.dumps(small_trial.resources())
        for name in ("anna", "bert"):
            own = own.replace(f'"{name}', f'"{ground.id(name)}').replace(f"/{name}", f"/{ground.id(name)}")
        ground.put(*json.loads(own))
        people = f'"{ground.id("anna")}", "{ground.id("bert")}"'
        (folder / "study.toml").write_text(
            f'[study]\nid = "{ground.prefix}"\ndata_cut = 2024-12-31\n[server]\nurl = "{proxy.url}"\n'
            f'[push]\nurl = "{proxy.url}"\nsame_as_source = true\n[cohort]\npatients = [{people}]\n',
            "utf-8",
        )

    def computed(self, command: Command) -> "Site":
        """Pulled, and ready to push."""
        for words in (("pull",), ("records",), ("outcomes",)):
            ended = command(*words, self.folder)
            assert ended.code == 0, ended.err
        return self


@pytest.fixture
def lesser(either: Ground, tmp_path: Path) -> Iterator[Site]:
    with Proxy() as proxy:
        yield Site(either, proxy, tmp_path)


def observations(tree: Claims) -> Tree:
    """What is claimed of Observations."""
    found: Tree = next(one for one in tree["rest"][0]["resource"] if one["type"] == "Observation")
    return found


def pushed(command: Command, site: Site) -> Ended:
    """A push that writes, if it can."""
    return command("push", site.folder, "--apply")


def test_without_update_as_create_results_get_ids_of_the_servers_choice_once(
    command: Command, lesser: Site
) -> None:
    lesser.computed(command)
    lesser.server.claims = lambda tree: observations(tree).update(updateCreate=False)
    first = pushed(command, lesser)
    assert (first.code, lesser.server.written > 0) == (0, True), first.err
    again = pushed(command, lesser)
    assert (again.code, "0 written" in again.out) == (0, True), (again.out, again.err)


def test_without_update_as_create_and_conditions_nothing_is_pushed(command: Command, lesser: Site) -> None:
    lesser.computed(command)
    lesser.server.claims = lambda tree: observations(tree).update(updateCreate=False, conditionalCreate=False)
    refused(pushed(command, lesser), 3, "updateCreate", "nothing was sent")
    assert lesser.server.written == 0


def test_a_server_of_another_fhir_version_is_neither_read_nor_written(command: Command, lesser: Site) -> None:
    lesser.computed(command)
    lesser.server.claims = lambda tree: tree.update(fhirVersion="5.0.0")
    refused(pushed(command, lesser), 3, "R5", "R4 (4.0.1)")
    refused(command("pull", lesser.folder), 3, "R5", "R4 (4.0.1)")
    assert lesser.server.written == 0


def test_a_server_that_says_it_is_read_only_is_not_written_to(command: Command, lesser: Site) -> None:
    def claims(tree: Claims) -> None:
        tree["rest"][0]["interaction"] = [{"code": "search-system"}]
        for one in tree["rest"][0]["resource"]:
            one["interaction"] = [{"code": "read"}, {"code": "search-type"}]

    lesser.computed(command)
    lesser.server.claims = claims
    refused(pushed(command, lesser), 3, "takes no", "Observation", "nothing was sent")
    assert lesser.server.written == 0


@pytest.mark.parametrize("code", [403, 405])
def test_a_server_that_turns_out_to_be_read_only_says_so_and_nothing_is_half_done(
    command: Command, lesser: Site, code: int
) -> None:
    lesser.computed(command)
    lesser.server.refuses = lambda request: code if request.method == "POST" and writes(request) else 0
    refused(pushed(command, lesser), 5, str(code))
    assert lesser.server.written == 0
    lesser.server.refuses = lambda request: 0
    ended = pushed(command, lesser)
    assert (ended.code, lesser.server.written > 0) == (0, True), ended.err


def writes(request: httpx.Request) -> bool:
    """Whether a request is a Bundle to the base address."""
    return request.url.path == PATH


def test_without_last_updated_a_pull_is_complete_and_so_is_the_next(command: Command, lesser: Site) -> None:
    """It cannot ask for what is new, so it asks for everything again."""

    def claims(tree: Claims) -> None:
        for one in tree["rest"][0]["resource"]:
            one["searchParam"] = [p for p in one.get("searchParam", []) if p["name"] != "_lastUpdated"]

    lesser.server.claims = claims
    lesser.server.refuses = lambda request: 400 if b"_lastUpdated" in request.url.query else 0
    for _ in range(2):
        ended = command("pull", lesser.folder, "--json")
        assert ended.code == 0, ended.err
        assert json.loads(ended.out)["complete"] is True
