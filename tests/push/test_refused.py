"""What a server refuses keeps nothing else back, is named, and is tried again by the next push."""

import json
import sqlite3
from collections import Counter
from contextlib import closing

import httpx
import pytest
from typer.testing import CliRunner

from fhir_msct.cli import app
from fhir_msct.client.failures import Declined
from fhir_msct.errors import ServerFailed
from fhir_msct.sandbox.faults import Faults
from push.small_trial import Trial
from push.wires import Wire


def own_id(trial: Trial, label: str) -> str:
    """The id of one answer, as the plan has it."""
    line = next(line for line in trial.push(apply=False).plan if label in line)
    return line.split()[1].partition("/")[2]


def refused_in_ledger(trial: Trial) -> dict[str, tuple[int, str]]:
    with closing(sqlite3.connect(trial.folder / "archive" / "archive.sqlite")) as db:
        rows = db.execute("select type || '/' || id, status, codes from push_refused").fetchall()
        return {place: (status, codes) for place, status, codes in rows}


def targets(trial: Trial) -> Counter[str]:
    """How many Provenances speak of each result."""
    return Counter(one["reference"] for tree in trial.held("Provenance") for one in tree["target"])


@pytest.mark.parametrize(
    ("status", "transactions"), [(400, True), (403, True), (422, True), (500, True), (422, False)]
)
def test_one_refused_result_keeps_nothing_else_back(trial: Trial, status: int, transactions: bool) -> None:
    poison = own_id(trial, "CHG_CK anna")
    refuses = f'"id":"{poison}"'
    trial.server.faults = Faults(
        refuse_written=refuses, refuse_status=status, no_transactions=not transactions
    )
    with Wire() as wire:
        report = trial.push(transport=wire)
    (line,) = report.refused
    assert line.startswith(f"Observation/{poison} ({status}")
    assert report.differing == ()
    assert not report.read_back_equal
    assert report.written == 2 + len(trial.answers()) - 1
    assert len(trial.held()) == len(trial.answers()) - 1
    assert targets(trial) == Counter(f"Observation/{tree['id']}" for tree in trial.held())
    assert refused_in_ledger(trial)[f"Observation/{poison}"][0] == status
    if transactions:
        assert len(wire.transactions) < 20


def test_the_next_push_tries_only_what_was_refused(trial: Trial) -> None:
    poison = own_id(trial, "CHG_CK anna")
    trial.server.faults = Faults(refuse_written=f'"id":"{poison}"')
    trial.push()
    with Wire() as wire:
        again = trial.push(transport=wire)
    sent = [entry["request"]["url"] for entries in wire.transactions for entry in entries]
    assert [url for url in sent if url.startswith("Observation/")] == [f"Observation/{poison}"]
    assert (again.written, len(again.refused)) == (0, 1)
    trial.server.faults = None
    last = trial.push()
    assert (last.written, last.refused, last.read_back_equal) == (1, (), True)
    assert refused_in_ledger(trial) == {}
    assert {tree["meta"]["versionId"] for tree in trial.held()} == {"1"}
    assert targets(trial) == Counter(f"Observation/{tree['id']}" for tree in trial.held())


def test_the_command_names_what_was_refused_and_ends_with_5(trial: Trial) -> None:
    poison = own_id(trial, "CHG_CK anna")
    trial.server.faults = Faults(refuse_written=f'"id":"{poison}"')
    ended = CliRunner().invoke(app, ["push", str(trial.folder), "--apply"])
    assert isinstance(ended.exception, ServerFailed)
    assert ended.exception.exit_code == 5
    assert f"Observation/{poison} (422 processing)" in str(ended.exception)
    assert "1 REFUSED" in ended.output
    assert f"Observation/{poison} (422 processing)" in ended.output
    assert "is not taken" not in ended.output + str(
        ended.exception
    )  # the server's own words may hold a patient's data


@pytest.mark.parametrize(("status", "transactions"), [(401, True), (403, True), (422, False)])
def test_a_server_that_refuses_every_result_is_not_asked_a_hundred_times(
    trial: Trial, status: int, transactions: bool
) -> None:
    trial.server.faults = Faults(
        refuse_written='"resourceType":"Observation"',
        refuse_status=status,
        no_transactions=not transactions,
    )
    with Wire() as wire, pytest.raises(Declined) as raised:
        trial.push(transport=wire)
    assert raised.value.exit_code == 5
    assert (trial.held(), len(trial.held("Device"))) == ([], 1)
    writes = [one for one in wire.sent if one.method == "PUT" or b'"transaction"' in one.content]
    assert len(writes) <= 20
    trial.server.faults = None
    assert trial.push().read_back_equal


def test_a_server_that_refuses_transactions_it_claims_is_left_alone(trial: Trial) -> None:
    class Broken(Wire):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if b'"transaction"' in request.content:
                self.sent.append(request)
                return httpx.Response(405, stream=httpx.ByteStream(b"{}"))
            return super().handle_request(request)

    with Broken() as wire, pytest.raises(Declined, match="405"):
        trial.push(transport=wire)
    assert len(wire.transactions) == 1
    assert trial.held("Device") == []


def test_without_tool_and_study_no_result_is_sent(trial: Trial) -> None:
    trial.server.faults = Faults(refuse_written='"resourceType":"Device"')
    with pytest.raises(ServerFailed, match=r"refuses Device/.*422"):
        trial.push()
    assert trial.held() == []
    trial.server.faults = None
    assert trial.push().read_back_equal


# --- no transactions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [True, False])
def test_without_transactions_each_result_is_followed_by_its_provenance(trial: Trial, silent: bool) -> None:
    trial.server.faults = Faults(no_transactions=True, silent=silent)
    with Wire() as wire:
        report = trial.push(transport=wire)
    assert report.read_back_equal
    writes = [one.url.path.split("/")[2] for one in wire.sent if one.method == "PUT"]
    assert writes == ["Device", "ResearchStudy", *["Observation", "Provenance"] * len(trial.answers())]
    assert targets(trial) == Counter(f"Observation/{tree['id']}" for tree in trial.held())
    after = trial.server.versions
    assert trial.push().written == 0
    assert trial.server.versions == after


class Dies(BaseException):
    """The process is killed."""


@pytest.mark.parametrize("arrives", [True, False])
def test_a_provenance_that_was_owed_when_the_process_died_follows(trial: Trial, arrives: bool) -> None:
    class Fatal(Wire):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT" and "/Provenance/" in request.url.path:
                if arrives:
                    super().handle_request(request).read()
                raise Dies
            return super().handle_request(request)

    trial.server.faults = Faults(no_transactions=True)
    with Fatal() as wire, pytest.raises(Dies):
        trial.push(transport=wire)
    assert (len(trial.held()), len(trial.held("Provenance"))) == (1, int(arrives))
    assert trial.push().read_back_equal
    assert targets(trial) == Counter(f"Observation/{tree['id']}" for tree in trial.held())
    assert {tree["meta"]["versionId"] for tree in trial.held() + trial.held("Provenance")} == {"1"}


def test_a_success_that_says_nothing_of_what_was_written_is_no_proof(trial: Trial) -> None:
    class Proxy(Wire):
        """Answers one write itself, kindly, and does not pass it on."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            lied = any(one.url == request.url and one.method == "PUT" for one in self.sent)
            if request.method == "PUT" and "/Observation/" in request.url.path and not lied:
                self.sent.append(request)
                return httpx.Response(200, stream=httpx.ByteStream(b""))
            return super().handle_request(request)

    trial.server.faults = Faults(no_transactions=True)
    with Proxy() as wire:
        assert trial.push(transport=wire).read_back_equal
    assert len(trial.held()) == len(trial.answers())


def test_reading_one_by_one_says_the_same_where_there_are_no_batches(trial: Trial) -> None:
    trial.server.faults = Faults(no_batches=True)
    with Wire() as wire:
        first = trial.push(transport=wire)
    assert not any(json.loads(one.content)["type"] == "batch" for one in wire.sent if one.method == "POST")
    trial.server.faults = Faults(no_batches=True, silent=True)
    assert first.read_back_equal
    assert trial.push().written == 0
