"""Answers no server should give: JSON that is no Bundle, a transaction done in part, a search that fails."""

import json
from pathlib import Path

import httpx
import pytest

from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.errors import ServerFailed
from fhir_msct.sandbox.faults import Faults
from fhir_msct.tasks.entries import responses_of
from push.small_trial import Trial, ck
from push.wires import Wire, is_transaction

JSON = {"Content-Type": "application/fhir+json"}


def says(status: int, body: bytes) -> httpx.Response:
    return httpx.Response(status, headers=JSON, stream=httpx.ByteStream(body))


class Odd(Wire):
    """A server, or a proxy before it, that does a transaction and answers it with this."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if not is_transaction(request):
            return response
        response.read()
        response.close()
        return says(200, self._body)


ODD = [
    b"[]",
    b"null",
    b'"ok"',
    b'{"resourceType":"Bundle","entry":[1,2]}',
    b'{"resourceType":"Bundle","entry":{"a":1}}',
    b'{"resourceType":"Bundle","entry":[{"response":"x"},{"response":[1]}]}',
]


@pytest.mark.parametrize("body", ODD)
def test_an_answer_that_is_no_bundle_of_responses_is_asked_of_the_server(trial: Trial, body: bytes) -> None:
    with Odd(body) as wire:
        assert trial.push(transport=wire).read_back_equal
    assert len(trial.held()) == len(trial.answers())
    assert len(trial.held("Provenance")) == 2
    assert trial.push().written == 0


@pytest.mark.parametrize("body", ODD)
def test_such_an_answer_is_of_no_use(body: bytes) -> None:
    with pytest.raises(Unusable):
        responses_of(body)


class Half(Wire):
    """A server that does the results of its first such transaction one by one, and not their Provenance."""

    def __init__(self, base: str, done: int | None = None) -> None:
        super().__init__()
        self._base, self._done, self._has_struck = base, done, False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        entries = json.loads(request.content)["entry"] if is_transaction(request) else []
        results = [one for one in entries if one["resource"]["resourceType"] == "Observation"]
        if not results or self._has_struck:
            return super().handle_request(request)
        self._has_struck = True
        for one in results[: self._done]:
            place = f"{self._base}/{one['request']['url']}"
            assert httpx.put(place, json=one["resource"], headers=JSON).is_success
        return says(500, b"{}")


@pytest.mark.parametrize("done", [None, 1, 8])
def test_what_a_transaction_did_in_part_gets_its_provenance(trial: Trial, done: int | None) -> None:
    with Half(trial.server.url, done) as wire:
        report = trial.push(transport=wire)
    assert report.read_back_equal
    assert report.written == 2 + len(trial.answers())
    targets = [one["reference"] for tree in trial.held("Provenance") for one in tree["target"]]
    assert sorted(targets) == sorted(f"Observation/{tree['id']}" for tree in trial.held())
    assert len(trial.held("Provenance")) == 2
    assert trial.push().written == 0


class NoTags(Wire):
    """A server that answers each search for a tag with this status."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self._status = status

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "_tag" in str(request.url):
            return says(self._status, b'{"resourceType":"OperationOutcome","issue":[]}')
        return super().handle_request(request)


@pytest.fixture
def afresh(trial: Trial, tmp_path: Path) -> Trial:
    """Another folder of the study, without its ledger; one input was withdrawn since the push."""
    trial.push()
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250, status="entered-in-error"))
    other = Trial(tmp_path / "other", trial.server)
    other.pull()
    other.compute()
    return other


@pytest.mark.parametrize("status", [400, 501])
def test_a_server_that_cannot_search_for_tags_is_said_to_hide_what_is_no_longer_produced(
    afresh: Trial, status: int
) -> None:
    with NoTags(status) as wire:
        report = afresh.push(transport=wire)
    assert report.retracted == 0
    assert ["_tag" in note for note in report.notes] == [True]
    assert afresh.push().notes == ()


def test_a_search_for_tags_that_fails_ends_the_push_as_other_failures_do(afresh: Trial) -> None:
    before = afresh.server.versions
    with NoTags(502) as wire, pytest.raises(ServerFailed):
        afresh.push(transport=wire)
    assert afresh.server.versions == before
    assert afresh.push().retracted == 4


class Small(Wire):
    """A server whose pages are small."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = httpx.URL(str(request.url).replace("_count=100", "_count=4"))
        return super().handle_request(request)


def test_a_search_for_tags_that_expires_under_way_is_sent_again(afresh: Trial) -> None:
    afresh.server.faults = Faults(page_gone_after=1, times=2)
    with Small() as wire:
        report = afresh.push(transport=wire)
    assert (report.retracted, report.notes) == (4, ())
    assert report.read_back_equal


def test_a_search_for_tags_that_always_expires_is_no_refusal_and_leaves_nothing_out(afresh: Trial) -> None:
    before = afresh.server.versions
    afresh.server.faults = Faults(page_gone_after=1)
    with (
        Small() as wire,
        pytest.raises(ServerFailed, match=r"Observation: the search expired .* 3 times") as told,
    ):
        afresh.push(transport=wire)
    assert not isinstance(told.value, Declined)
    assert told.value.exit_code == 5
    assert afresh.server.versions == before
    afresh.server.faults = None
    assert afresh.push().retracted == 4


def test_a_search_for_identifiers_that_expires_is_sent_again_and_refuses_nothing(trial: Trial) -> None:
    """A server that chooses ids is searched for what it holds, also while a push is under way."""
    trial.server.faults = Faults(no_update_create=True)
    trial.push()
    trial.server.faults = Faults(no_update_create=True, page_gone_after=1, times=2)
    with Small() as wire:
        report = trial.push(transport=wire)
    assert (report.written, report.refused, report.notes) == (0, (), ())
    trial.server.faults = Faults(no_update_create=True, page_gone_after=1)
    with Small() as wire, pytest.raises(ServerFailed, match="the search expired") as told:
        trial.push(transport=wire)
    assert not isinstance(told.value, Declined)
