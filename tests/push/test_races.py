"""Two at one server at the same time: another push of the study, or somebody who takes one of our ids."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fhir_msct.errors import Conflict, ServerFailed, UsageError
from fhir_msct.sandbox.faults import Faults
from fhir_msct.sandbox.server import Sandbox
from push.small_trial import Tree, Trial, our_tags
from push.wires import Interrupted, Killed, Wire, dies, is_transaction

LAST = 2
"""The transaction of the results; Device and ResearchStudy go before them."""


@pytest.fixture
def computed(trial: Trial) -> Trial:
    trial.pull()
    trial.compute()
    return trial


def another(trial: Trial, folder: Path) -> Trial:
    """The same study in a folder of its own, at the same point of its story."""
    shutil.copytree(trial.folder, folder)
    found = Trial.__new__(Trial)
    found.folder, found.server = folder, trial.server
    return found


def versions(server: Sandbox) -> dict[str, str]:
    """Type and id of everything that the server holds of ours, with its version."""
    kinds = ("Device", "ResearchStudy", "Observation", "Provenance")
    trees: list[Tree] = [json.loads(body) for kind in kinds for body in server.dump(kind)]
    ours = [one for one in trees if our_tags(one)]
    return {f"{one['resourceType']}/{one['id']}": one["meta"]["versionId"] for one in ours}


@pytest.mark.parametrize("at", [1, LAST])
def test_what_another_push_writes_meanwhile_is_neither_written_again_nor_given_a_second_provenance(
    computed: Trial, tmp_path: Path, at: int
) -> None:
    other = another(computed, tmp_path / "other")
    done = []
    with Interrupted(at, lambda: done.append(other.push()), arrives=False) as wire:
        ours = computed.push(transport=wire)
    (theirs,) = done
    found = versions(computed.server)
    assert set(found.values()) == {"1"}
    provenances = [place for place in found if place.startswith("Provenance/")]
    assert len(provenances) == 2  # one a subject
    assert ours.written == (2 if at == LAST else 0)
    assert ours.written + theirs.written == len(found) - len(provenances)
    assert ours.read_back_equal
    assert (computed.push().written, other.push().written) == (0, 0)
    assert versions(computed.server) == found


def test_a_provenance_speaks_only_of_what_its_own_push_has_written(computed: Trial) -> None:
    first: list[Tree] = []

    def somebody_writes_the_first_result() -> None:
        first.append(wire.transactions[-1][0]["resource"])
        computed.put(first[0])

    with Interrupted(LAST, somebody_writes_the_first_result, arrives=False) as wire:
        assert computed.push(transport=wire).read_back_equal
    targets = [
        one["reference"] for body in computed.server.dump("Provenance") for one in json.loads(body)["target"]
    ]
    results = [place for place in versions(computed.server) if place.startswith("Observation/")]
    assert sorted(targets) == sorted(set(results) - {f"Observation/{first[0]['id']}"})
    assert computed.push().written == 0


def test_somebody_who_takes_one_of_our_ids_meanwhile_is_not_overwritten(computed: Trial) -> None:
    own = next(line.split()[1] for line in computed.push(apply=False).plan if " Observation/" in line)
    stranger = {"resourceType": "Observation", "id": own.split("/")[1], "status": "final"}
    stranger |= {"code": {"text": "a stranger's"}}
    with (
        Interrupted(LAST, lambda: computed.put(stranger), arrives=False) as wire,
        pytest.raises(Conflict, match=own),
    ):
        computed.push(transport=wire)
    assert computed.get(own)["code"] == {"text": "a stranger's"}


def test_where_the_tool_was_deleted_nobody_s_resource_is_overwritten_either(computed: Trial) -> None:
    """The guard is rightly refused for the tool; it stays on for the results."""
    with Interrupted(LAST, dies, arrives=False) as wire, pytest.raises(Killed):
        computed.push(transport=wire)
    (tool,) = computed.held("Device")
    assert httpx.delete(f"{computed.server.url}/Device/{tool['id']}").status_code == 200
    own = next(line.split()[1] for line in computed.push(apply=False).plan if " Observation/" in line)
    stranger = {"resourceType": "Observation", "id": own.split("/")[1], "status": "final"}
    stranger |= {"code": {"text": "a stranger's"}}

    class Busy(Wire):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if is_transaction(request) and own.encode() in request.content and not taken:
                taken.append(own)
                computed.put(stranger)
            return super().handle_request(request)

    taken: list[str] = []
    with Busy() as busy, pytest.raises(Conflict, match=own):
        computed.push(transport=busy)
    assert taken
    assert computed.get(own)["code"] == {"text": "a stranger's"}


def test_a_plan_that_was_looked_at_writes_over_nothing_that_came_after_it(computed: Trial) -> None:
    own = next(line.split()[1] for line in computed.push(apply=False).plan if "CHG_CK anna" in line)
    hash_ = computed.push(apply=False).hash

    def another_machine_s_result() -> None:
        (tree,) = [one["resource"] for one in wire.transactions[-1] if own.endswith(one["resource"]["id"])]
        computed.put({**tree, "valueQuantity": {**tree["valueQuantity"], "value": -751}})

    with (
        Interrupted(LAST, another_machine_s_result, arrives=False) as wire,
        pytest.raises(UsageError, match=f"the plan is no longer {hash_}: {own} is there"),
    ):
        computed.push(plan_hash=hash_, transport=wire)
    assert computed.get(own)["valueQuantity"]["value"] == -751
    computed.push()
    assert computed.get(own)["valueQuantity"]["value"] == -750


class Strict(Wire):
    """A server to which If-Match means that something has to be there (RFC 9110, 13.1.1)."""

    def __init__(self, says: int) -> None:
        super().__init__()
        self._says, self.refused = says, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if is_transaction(request):
            asked = [one["request"] for one in json.loads(request.content)["entry"]]
            if any(one.get("ifMatch") == 'W/"0"' for one in asked):
                self.refused += 1
                return httpx.Response(self._says, stream=httpx.ByteStream(b""))
        return super().handle_request(request)


@pytest.mark.parametrize("says", [404, 409, 412])
def test_a_server_to_which_if_match_means_that_something_is_there_gets_the_results_without_it(
    computed: Trial, says: int
) -> None:
    with Strict(says) as wire:
        assert computed.push(transport=wire).read_back_equal
    assert 0 < wire.refused <= 3  # it is found out once, and not for each transaction
    assert computed.push().written == 0


class Late(Wire):
    """A server that finds out late that a version has changed, and then says 409 in words of its own.

    At the first write that has a result in it something happens before the server gets it.
    """

    def __init__(self, status: int, issue: dict[str, Any], happens: Callable[[], object]) -> None:
        super().__init__()
        self._status, self._happens, self._has_happened = status, happens, False
        self._said = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        writes = request.method == "PUT" or is_transaction(request)
        if writes and b'"resourceType":"Observation"' in request.content and not self._has_happened:
            self._has_happened = True
            self._happens()
        response = super().handle_request(request)
        if response.status_code != 409:
            return response
        response.read()
        response.close()
        headers = {"Content-Type": "application/fhir+json"}
        return httpx.Response(self._status, headers=headers, stream=httpx.ByteStream(self._said))


LATE = pytest.mark.parametrize(
    ("status", "issue"),
    [
        (400, {"code": "conflict"}),
        (422, {"code": "conflict"}),
        (500, {"code": "conflict"}),
        (500, {"code": "processing", "diagnostics": "HAPI-0550: HAPI-0989: a version constraint failed"}),
    ],
)


@LATE
@pytest.mark.parametrize("transactions", [True, False])
def test_a_conflict_is_one_whatever_the_status_it_comes_with(
    computed: Trial, tmp_path: Path, status: int, issue: dict[str, Any], transactions: bool
) -> None:
    other = another(computed, tmp_path / "other")
    computed.server.faults = Faults(no_transactions=not transactions)
    with Late(status, issue, lambda: other.push()) as wire:
        ours = computed.push(transport=wire)
    assert ours.refused == ()
    assert ours.read_back_equal
    assert ours.written == 2  # Device and ResearchStudy; the results are the other's
    found = versions(computed.server)
    assert set(found.values()) == {"1"}
    about = [
        one["reference"] for body in computed.server.dump("Provenance") for one in json.loads(body)["target"]
    ]
    assert sorted(about) == sorted(place for place in found if place.startswith("Observation/"))
    assert (computed.push().written, other.push().written) == (0, 0)


@LATE
def test_a_transaction_that_meets_a_conflict_is_sent_again_as_a_whole(
    computed: Trial, status: int, issue: dict[str, Any]
) -> None:
    """Somebody else's version of one result has come in between: the others are not sent one by one."""
    computed.push()
    own = computed.outcome("CHG_CK")
    computed.put({**own, "valueQuantity": {**own["valueQuantity"], "value": -1}})

    def changed_once_more() -> None:
        computed.put({**own, "valueQuantity": {**own["valueQuantity"], "value": -2}})

    with Late(status, issue, changed_once_more) as wire:
        report = computed.push(transport=wire)
    assert (report.written, report.refused) == (1, ())
    assert report.read_back_equal
    sent = [[one["request"]["url"] for one in entries] for entries in wire.transactions]
    assert [len(entries) for entries in sent] == [2, 2]  # the result and its Provenance, twice
    assert computed.outcome("CHG_CK")["valueQuantity"]["value"] == -750


class Busy(Wire):
    """A server that tells of a conflict with each transaction."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not is_transaction(request):
            return super().handle_request(request)
        self.sent.append(request)
        said = b'{"resourceType":"OperationOutcome","issue":[{"code":"conflict"}]}'
        return httpx.Response(422, stream=httpx.ByteStream(said))


def test_a_server_on_which_conflicts_never_end_refuses_no_resource(computed: Trial) -> None:
    with Busy() as wire, pytest.raises(ServerFailed, match="keeps changing under our hands"):
        computed.push(transport=wire)
    assert len(wire.transactions) == 5
    assert computed.push().read_back_equal
