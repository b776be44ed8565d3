"""Push: each derived result exactly once, whatever happens on the way, and nobody else's resource ever."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from fhir_msct.errors import ConfigError, Conflict, Unreachable, UsageError
from fhir_msct.mapping import gate
from fhir_msct.mapping.library import Mapping
from fhir_msct.sandbox.faults import Faults
from fhir_msct.sandbox.server import Sandbox
from push.small_trial import Tree, Trial, ck, code, our_tags
from push.wires import Careless, Interrupted, Killed, Rewriting, Wire, breaks, dies


def ledger(trial: Trial) -> dict[str, str]:
    """State by Type/id, as another process would see it."""
    with closing(sqlite3.connect(trial.folder / "archive" / "archive.sqlite")) as db:
        return dict(db.execute("select type || '/' || id, state from push_op").fetchall())


def versions_in_ledger(trial: Trial) -> dict[str, str]:
    """Version by Type/id."""
    with closing(sqlite3.connect(trial.folder / "archive" / "archive.sqlite")) as db:
        return dict(db.execute("select type || '/' || id, version from push_op").fetchall())


def version(tree: Tree) -> str:
    return str(tree["meta"]["versionId"])


# --- the plan -----------------------------------------------------------------------------------------


def test_without_apply_the_plan_is_shown_and_nothing_is_written(trial: Trial) -> None:
    before = trial.server.versions
    report = trial.push(apply=False)
    assert trial.server.versions == before
    assert ledger(trial) == {}
    assert (report.applied, report.written, report.retracted) == (False, 2 + len(trial.answers()), 0)
    assert [line.split()[0] for line in report.plan] == ["create"] * report.written
    assert sum("RESP20_CK anna course 1 M6" in line for line in report.plan) == 1
    assert trial.push(apply=False).hash == report.hash


def test_the_plan_that_was_seen_is_the_plan_that_is_applied(trial: Trial) -> None:
    seen = trial.push(apply=False).hash
    before = trial.server.versions
    with pytest.raises(UsageError, match=seen):
        trial.push(plan_hash="0" * 16)
    assert trial.server.versions == before
    assert trial.push(plan_hash=seen).hash == seen
    with pytest.raises(UsageError):
        trial.push(plan_hash=seen)


# --- what is written ----------------------------------------------------------------------------------


def test_a_result_carries_what_it_rests_on(trial: Trial) -> None:
    trial.push()
    found = trial.outcome("RESP20_CK")
    assert found["status"] == "final"
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "met"
    assert found["effectivePeriod"] == {"start": "2024-02-28", "end": "2024-08-30"}
    assert found["issued"] == "2024-08-30T16:00:00+08:00"
    versions = ["Observation/anna-ck-0/_history/1", "Observation/anna-ck-6/_history/1"]
    assert [one["reference"] for one in found["derivedFrom"]] == versions
    assert [one["extension"][0]["valueString"] for one in found["derivedFrom"]] == versions
    assert [one["reference"] for one in found["partOf"]] == ["Procedure/anna-msct/_history/1"]
    assert found["identifier"] == [{"system": "urn:fhir-msct:small", "value": found["id"]}]
    values = {code(part): part["valueQuantity"]["value"] for part in found["component"]}
    assert values == {"baseline": 1000, "follow-up": 250, "detail": (250 - 1000) / 1000 * 100}


def test_a_change_is_a_quantity_in_the_study_s_unit(trial: Trial) -> None:
    trial.push()
    quantity = trial.outcome("CHG_CK", "bert")["valueQuantity"]
    assert (quantity["value"], quantity["code"]) == (250 - 1000, "U/L")


def test_device_study_and_provenance_go_along(trial: Trial) -> None:
    trial.push()
    found = trial.outcome("RESP20_CK")
    (device,), (study,) = trial.held("Device"), trial.held("ResearchStudy")
    assert found["device"]["reference"] == f"Device/{device['id']}"
    assert found["extension"][0]["valueReference"]["reference"] == f"ResearchStudy/{study['id']}"
    (mine,) = [
        one
        for one in trial.held("Provenance")
        if {"reference": f"Observation/{found['id']}"} in one["target"]
    ]
    said = {part["what"].get("reference") for part in mine["entity"]}
    assert {"Observation/anna-ck-6/_history/1", "Procedure/anna-msct/_history/1"} <= said
    assert mine["agent"][0]["who"]["reference"] == f"Device/{device['id']}"


def test_everything_sent_is_valid_and_read_back_as_it_was_sent(trial: Trial) -> None:
    report = trial.push()
    sent = [
        tree for kind in ("Device", "ResearchStudy", "Observation", "Provenance") for tree in trial.held(kind)
    ]
    assert [problem for tree in sent for problem in gate.check(json.dumps(tree).encode())] == []
    assert report.read_back_equal
    assert sorted(report.ids) == sorted(f"{tree['resourceType']}/{tree['id']}" for tree in sent)
    assert set(ledger(trial).values()) == {"APPLIED"}


def test_what_others_refer_to_is_sent_first_and_provenance_with_its_targets(trial: Trial) -> None:
    wire = Wire()
    trial.push(transport=wire)
    first, *others = wire.transactions
    assert [entry["resource"]["resourceType"] for entry in first] == ["Device", "ResearchStudy"]
    for entries in others:
        here = {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in entries}
        targets = [
            target["reference"]
            for e in entries
            if e["resource"]["resourceType"] == "Provenance"
            for target in e["resource"]["target"]
        ]
        assert set(targets) == {place for place in here if place.startswith("Observation/")}


# --- again --------------------------------------------------------------------------------------------


def test_pull_outcomes_push_pull_outcomes_push_gives_equal_outcomes_and_no_write(trial: Trial) -> None:
    first = (trial.folder / "outcomes" / "by_subject.csv").read_bytes()
    trial.push()
    after = trial.server.versions
    trial.pull()
    assert trial.compute() == first
    report = trial.push()
    assert (report.written, report.retracted, report.plan) == (0, 0, ())
    assert trial.server.versions == after


def test_a_push_without_the_ledger_still_writes_nothing_twice(trial: Trial) -> None:
    trial.push()
    with closing(sqlite3.connect(trial.folder / "archive" / "archive.sqlite")) as db:
        db.execute("delete from push_op")
        db.commit()
    after = trial.server.versions
    assert trial.push().written == 0
    assert trial.server.versions == after
    assert len(ledger(trial)) == 2 + len(trial.answers())
    assert set(ledger(trial).values()) == {"APPLIED"}


def test_a_server_that_drops_versions_and_digits_is_not_written_to_again(trial: Trial) -> None:
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250.25))
    trial.story()
    with Rewriting() as wire:
        report = trial.push(transport=wire)
    assert (report.written, report.unchanged) == (0, 2 + len(trial.answers()))


def test_a_server_that_cannot_search_for_tags_is_read_instead(trial: Trial) -> None:
    trial.push()
    trial.server.faults = Faults(status_once={"GET /fhir/Observation\\?": (400,) * 9})
    report = trial.push()
    assert (report.written, report.retracted) == (0, 0)


# --- what changes -------------------------------------------------------------------------------------


def test_a_changed_input_is_a_new_version_of_the_same_result(trial: Trial) -> None:
    trial.push()
    before = {tree["id"]: version(tree) for tree in trial.held()}
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 500, status="corrected"))
    report = trial.story()
    found = trial.outcome("CHG_CK")
    assert found["valueQuantity"]["value"] == 500 - 1000
    assert found["derivedFrom"][1]["reference"] == "Observation/anna-ck-6/_history/2"
    assert (version(found), found["status"]) == ("2", "amended")
    changed = [tree for tree in trial.held() if version(tree) != before.pop(tree["id"])]
    assert before == {}
    assert {tree["subject"]["reference"] for tree in changed} == {"Patient/anna"}
    assert report.written == len(changed) == 4  # ever, at month 6, change, recurrence
    revised = [
        p["what"]["reference"]
        for o in trial.held("Provenance")
        for p in o["entity"]
        if p["role"] == "revision"
    ]
    assert f"Observation/{found['id']}/_history/1" in revised
    assert trial.story().written == 0


def test_a_result_is_preliminary_until_every_input_is_final(trial: Trial) -> None:
    with (trial.folder / "study.toml").open("a", encoding="utf-8") as file:
        file.write('[records]\naccept_status = ["final", "amended", "corrected", "preliminary"]\n')
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250, status="preliminary"))
    trial.story()
    assert trial.outcome("CHG_CK")["status"] == "preliminary"
    assert trial.outcome("CHG_CK", "bert")["status"] == "final"
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250))
    trial.story()
    found = trial.outcome("CHG_CK")
    assert (found["status"], version(found)) == ("final", "2")


def test_a_result_no_longer_produced_is_retracted_and_never_deleted(trial: Trial) -> None:
    trial.push()
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250, status="entered-in-error"))
    trial.pull()
    trial.compute()
    wire = Wire()
    report = trial.push(transport=wire)
    found = trial.outcome("CHG_CK")
    assert (found["status"], version(found)) == ("entered-in-error", "2")
    assert found["valueQuantity"]["value"] == 250 - 1000
    assert trial.outcome("CHG_CK", "bert")["status"] == "final"
    gone = [tree for tree in trial.held() if tree["status"] == "entered-in-error"]
    assert report.retracted == len(gone) == 4
    nullified = [o for o in trial.held("Provenance") if o["activity"]["coding"][0]["code"] == "NULLIFY"]
    assert {t["reference"] for o in nullified for t in o["target"]} == {
        f"Observation/{t['id']}" for t in gone
    }
    assert {request.method for request in wire.sent} <= {"GET", "POST"}
    assert all(entry["request"]["method"] == "PUT" for entries in wire.transactions for entry in entries)
    assert ledger(trial)[f"Observation/{found['id']}"] == "RETRACTED"
    second = trial.story()
    assert (second.written, second.retracted) == (0, 0)


def test_a_retracted_result_that_is_produced_again_is_there_again(trial: Trial) -> None:
    trial.push()
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250, status="entered-in-error"))
    trial.story()
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250))
    trial.story()
    found = trial.outcome("CHG_CK")
    assert (found["status"], version(found)) == ("final", "3")


def test_another_study_s_results_on_the_same_server_are_left_alone(trial: Trial, tmp_path: Path) -> None:
    trial.push()
    other = Trial(tmp_path / "other", trial.server)
    text = (other.folder / "study.toml").read_text("utf-8").replace('id = "small"', 'id = "other"')
    (other.folder / "study.toml").write_text(text, "utf-8")
    report = other.story()
    assert (report.written, report.retracted) == (2 + len(other.answers()), 0)
    second = trial.story()
    assert (second.written, second.retracted) == (0, 0)
    assert len(trial.held()) == 2 * len(trial.answers())


# --- what is not ours ---------------------------------------------------------------------------------


@pytest.mark.parametrize("meta", [{}, {"tag": [{"system": "urn:other", "code": "derived"}]}])
def test_nothing_without_our_tag_is_ever_overwritten(trial: Trial, meta: Tree) -> None:
    place = next(line.split()[1] for line in trial.push(apply=False).plan if "CHG_CK anna" in line)
    theirs = ck(place.split("/")[1], "anna", "2020-01-01", 1, meta=meta)
    trial.put(theirs)
    before = trial.server.versions
    assert trial.push(apply=False).conflicts == (place,)
    with pytest.raises(Conflict, match=place) as raised:
        trial.push()
    assert raised.value.exit_code == 4
    assert trial.server.versions == before
    assert trial.get(place)["valueQuantity"]["value"] == 1
    assert ledger(trial)[place] == "CONFLICT"


def test_a_result_whose_tag_was_taken_off_is_no_longer_ours(trial: Trial) -> None:
    trial.push()
    found = trial.outcome("CHG_CK")
    trial.put({**found, "meta": {}, "status": "cancelled"})
    with pytest.raises(Conflict, match=found["id"]):
        trial.story()
    assert trial.get(f"Observation/{found['id']}")["status"] == "cancelled"


# --- what happens on the way --------------------------------------------------------------------------


def again(trial: Trial) -> None:
    """Pulled and computed anew."""
    trial.pull()
    trial.compute()


def once_each(trial: Trial) -> None:
    """Everything is there in its first version, and the ledger knows."""
    trees = [
        tree for kind in ("Device", "ResearchStudy", "Observation", "Provenance") for tree in trial.held(kind)
    ]
    assert {version(tree) for tree in trees} == {"1"}
    assert len(trial.held()) == len(trial.answers())
    assert len(trial.held("Provenance")) == 2
    assert set(ledger(trial).values()) == {"APPLIED"}


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_push_killed_round_a_request_is_ended_by_the_next_without_a_double(
    trial: Trial, at: int, arrives: bool
) -> None:
    with Interrupted(at, dies, arrives=arrives) as wire, pytest.raises(Killed):
        trial.push(transport=wire)
    assert "INTENT" in ledger(trial).values()
    recorded = {tree["id"]: tree["recorded"] for tree in trial.held("Provenance")}
    trial.push()
    once_each(trial)
    assert recorded.items() <= {t["id"]: t["recorded"] for t in trial.held("Provenance")}.items()


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("arrives", [True, False])
def test_an_answer_that_never_comes_is_asked_of_the_server(trial: Trial, at: int, arrives: bool) -> None:
    with Interrupted(at, breaks, arrives=arrives) as wire:
        report = trial.push(transport=wire)
    assert report.read_back_equal
    once_each(trial)


def test_a_lost_answer_on_the_wire_itself_is_no_double(trial: Trial) -> None:
    trial.server.faults = Faults(where="POST /fhir$", lose_answer=True, times=1, no_batches=True)
    assert trial.push().read_back_equal
    once_each(trial)


def test_a_server_that_is_gone_is_resumed_later(trial: Trial) -> None:

    class Gone(Wire):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if self.transactions:
                raise httpx.ConnectError("refused")
            return super().handle_request(request)

    class Never(Interrupted):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                raise httpx.ConnectError("refused")
            return Wire.handle_request(self, request)

    with Never(1, breaks, arrives=False) as wire, pytest.raises(Unreachable):
        trial.push(transport=wire)
    assert trial.held() == []
    trial.push()
    once_each(trial)


@pytest.mark.parametrize("change", [lambda all_: all_[::-1], lambda all_: all_[1:], lambda all_: all_[:-1]])
def test_an_answer_that_does_not_fit_what_was_sent_is_not_believed(
    trial: Trial, change: Callable[[list[Tree]], list[Tree]]
) -> None:
    trial.push()
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 500))
    again(trial)
    with Careless(change) as wire:
        assert trial.push(transport=wire).read_back_equal
    kinds = ("Device", "ResearchStudy", "Observation", "Provenance")
    held = {f"{kind}/{tree['id']}": version(tree) for kind in kinds for tree in trial.held(kind)}
    assert versions_in_ledger(trial) == held
    assert set(held.values()) == {"1", "2"}


@pytest.mark.parametrize("status", [409, 412, 500, 503])
def test_a_refusal_that_may_pass_is_decided_again(trial: Trial, status: int) -> None:
    trial.server.faults = Faults(status_once={"POST /fhir$": (status,)}, no_batches=True)
    assert trial.push().read_back_equal
    once_each(trial)


def test_somebody_s_change_between_reading_and_writing_is_not_lost_unseen(trial: Trial) -> None:
    trial.push()
    found = trial.outcome("CHG_CK")
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 500))
    again(trial)
    with Interrupted(1, lambda: trial.put({**found, "note": [{"text": "seen"}]}), arrives=False) as wire:
        trial.push(transport=wire)
    assert len(wire.transactions) == 2  # the first was refused: the version had changed
    now = trial.outcome("CHG_CK")
    assert (now["valueQuantity"]["value"], version(now)) == (500 - 1000, "3")
    assert "note" not in now


def test_somebody_who_takes_our_tag_off_between_reading_and_writing_keeps_the_resource(trial: Trial) -> None:
    trial.push()
    found = trial.outcome("CHG_CK")
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 500))
    again(trial)
    with (
        Interrupted(1, lambda: trial.put({**found, "meta": {}}), arrives=False) as wire,
        pytest.raises(Conflict),
    ):
        trial.push(transport=wire)
    assert our_tags(trial.get(f"Observation/{found['id']}")) == []


# --- when nothing may be pushed -----------------------------------------------------------------------


def test_without_an_address_nothing_is_pushed(tmp_path: Path, server: Sandbox) -> None:
    trial = Trial(tmp_path / "study", server, settings="[push]\nsame_as_source = true\n")
    again(trial)
    before = server.versions
    with pytest.raises(ConfigError, match=r"push\.url: not set"):
        trial.push()
    assert server.versions == before


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "[::1]", "127.0.0.2"])
def test_the_source_itself_is_only_written_to_where_the_plan_says_so(
    tmp_path: Path, server: Sandbox, host: str, end: str
) -> None:
    url = server.url.replace("127.0.0.1", host)
    trial = Trial(tmp_path / "study", server, settings=f'[push]\nurl = "{url}{end}"\n')
    again(trial)
    before = server.versions
    with pytest.raises(ConfigError, match="same_as_source"):
        trial.push()
    assert server.versions == before


def test_stale_outcomes_are_not_pushed(trial: Trial) -> None:
    before = trial.server.versions
    with (trial.folder / "study.toml").open("a", encoding="utf-8") as file:
        file.write("[statistics]\nconf = 0.9\n")
    with pytest.raises(UsageError, match=r"STALE: study\.toml changed"):
        trial.push()
    assert trial.server.versions == before


def test_outcomes_older_than_the_archive_are_not_pushed(trial: Trial) -> None:
    trial.push()
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 500))
    trial.pull()
    with pytest.raises(UsageError, match=r"STALE: archive/archive\.sqlite changed"):
        trial.push()


def test_outcomes_of_a_partial_pull_are_not_pushed(trial: Trial) -> None:
    before = trial.server.versions
    run = trial.folder / "outcomes" / "run.json"
    run.write_text(run.read_text("utf-8").replace('"complete": true', '"complete": false'), "utf-8")
    with pytest.raises(UsageError, match="PARTIAL"):
        trial.push()
    assert trial.server.versions == before


def test_what_would_not_be_valid_is_not_sent(trial: Trial) -> None:
    before = trial.server.versions
    own = trial.folder / "outcomes" / "by_subject.csv"
    run = trial.folder / "outcomes" / "run.json"
    written = hashlib.sha256(own.read_bytes()).hexdigest()
    own.write_text(own.read_text("utf-8").replace(",-750,U/L,", ",-750,furlong,"), "utf-8")
    run.write_text(
        run.read_text("utf-8").replace(written, hashlib.sha256(own.read_bytes()).hexdigest()), "utf-8"
    )
    with pytest.raises(UsageError, match=r"CHG_CK anna .*valueQuantity\.code"):
        trial.push()
    assert trial.server.versions == before


def test_the_pushed_results_are_out_of_scope_when_they_come_back(trial: Trial) -> None:
    trial.push()
    mapping = Mapping.load()
    readings = [mapping.read(json.dumps(tree)) for tree in trial.held()]
    assert {reading.out for reading in readings} == {("urn:fhir-msct", "own-outcome")}
    assert not any(reading.in_scope for reading in readings)
