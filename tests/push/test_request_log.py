"""The request log of a push: every request by its route, and no pull is another for it."""

import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest

from fhir_msct.archive.store import Archive
from fhir_msct.errors import ServerFailed
from fhir_msct.sandbox.faults import Faults
from fhir_msct.tasks.verify import verify
from push.small_trial import Trial, quiet
from push.wires import Interrupted, Killed, Wire, breaks, dies, is_transaction


def logged(trial: Trial) -> list[tuple[Any, ...]]:
    """The requests in the log that belong to no pull: method, route, status, bytes and id."""
    with closing(sqlite3.connect(trial.folder / "archive" / "archive.sqlite")) as db:
        log = db.execute(
            "select method, route, status, bytes, request_id from event where run is null order by id"
        )
        return log.fetchall()


def sent(wire: Wire) -> list[tuple[str, str]]:
    """Method and id of every request that went by a wire."""
    return [(one.method, one.headers["x-request-id"]) for one in wire.sent]


def places(trial: Trial) -> list[str]:
    """What only an address or a body may say."""
    return ["anna", "bert", "=", "|", "http", *(tree["id"] for tree in trial.held())]


@pytest.mark.parametrize("transactions", [True, False])
def test_each_request_of_a_push_is_in_the_log(trial: Trial, transactions: bool) -> None:
    trial.server.faults = Faults(no_transactions=not transactions)
    with Wire() as wire:
        assert trial.push(transport=wire).read_back_equal
    log = logged(trial)
    assert [(method, own) for method, _, _, _, own in log] == sent(wire)
    assert all(size > 0 and 200 <= status < 300 for _, _, status, size, _ in log)
    routes = {"metadata", "Observation?", "[batch]", *(["[transaction]"] if transactions else [])}
    routes |= set() if transactions else {f"{one.rpartition('/')[0]}/[id]" for one in written(wire)}
    assert {route for _, route, _, _, _ in log} == routes
    assert not [place for place in places(trial) if place in str(log)]


def written(wire: Wire) -> set[str]:
    """The places that were written to, one by one."""
    return {one.url.path.removeprefix("/fhir/") for one in wire.sent if one.method == "PUT"}


def test_a_plan_that_is_only_looked_at_is_in_the_log_too(trial: Trial) -> None:
    with Wire() as wire:
        trial.push(apply=False, transport=wire)
    assert [(method, own) for method, _, _, _, own in logged(trial)] == sent(wire) != []


class Refusing(Wire):
    """A server that takes no transaction at all, though it says so."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not is_transaction(request):
            return super().handle_request(request)
        self.sent.append(request)
        return httpx.Response(405, stream=httpx.ByteStream(b"{}"))


def test_a_push_that_ends_in_an_error_has_its_log(trial: Trial) -> None:
    with Refusing() as wire, pytest.raises(ServerFailed):
        trial.push(transport=wire)
    log = logged(trial)
    assert [(method, own) for method, _, _, _, own in log] == sent(wire)
    assert log[-1][:4] == ("POST", "[transaction]", 405, 2)


def test_a_request_without_an_answer_is_in_the_log_without_a_status(trial: Trial) -> None:
    with Interrupted(2, breaks, arrives=True) as wire:
        assert trial.push(transport=wire).read_back_equal
    log = logged(trial)
    assert [(method, own) for method, _, _, _, own in log] == sent(wire)
    assert [line[:4] for line in log if line[2] == 0] == [("POST", "[transaction]", 0, 0)]


def test_of_a_push_that_is_killed_all_is_in_the_log_that_was_answered_before_its_last_intent(
    trial: Trial,
) -> None:
    """The log is written with the commits that a push makes anyway."""
    with Interrupted(2, dies, arrives=True) as wire, pytest.raises(Killed):
        trial.push(transport=wire)
    assert is_transaction(wire.sent[-1])
    assert [(method, own) for method, _, _, _, own in logged(trial)] == sent(wire)[:-1]


def test_no_pull_is_another_for_the_log_of_a_push(trial: Trial) -> None:
    with Archive.open(trial.folder) as archive:
        before = archive.last_pull()
    trial.push()
    assert logged(trial)
    with Archive.open(trial.folder) as archive:
        assert archive.last_pull() == before
    assert verify(trial.folder, say=quiet).damaged == ()
    trial.pull()
    assert verify(trial.folder, say=quiet).damaged == ()
