"""Servers that choose the ids of new resources: each result once, found again, updated and taken back."""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress

import httpx
import pytest

from fhir_msct.errors import Conflict, ServerUnfit
from fhir_msct.mapping.library import Mapping
from fhir_msct.sandbox.faults import Faults
from push.small_trial import Tree, Trial, ck, code, lines, resources
from push.test_load import LATER, MMT, loaded
from push.test_push import again, version
from push.wires import Interrupted, Killed, Wire, breaks, dies

CHOOSES = Faults(no_update_create=True)
SILENT = Faults(no_update_create=True, silent=True)
ALONE = Faults(no_update_create=True, no_transactions=True)
HEEDLESS = Faults(no_update_create=True, no_conditions="claimed")
WAYS = pytest.mark.parametrize("faults", [CHOOSES, SILENT, ALONE], ids=["said", "silent", "no transactions"])
TWO_WAYS = pytest.mark.parametrize("faults", [CHOOSES, ALONE], ids=["said", "no transactions"])


def places(trial: Trial) -> dict[str, str]:
    """The server's id of each resource, as the ledger has it."""
    with closing(sqlite3.connect(trial.folder / "archive" / "archive.sqlite")) as db:
        return dict(db.execute("select id, server_id from push_place").fetchall())


def forget_ledger(trial: Trial) -> None:
    with closing(sqlite3.connect(trial.folder / "archive" / "archive.sqlite")) as db:
        for table in ("push_op", "push_place", "push_owed"):
            db.execute(f"delete from {table}")  # noqa: S608  (our own words)
        db.commit()


def named(tree: Tree) -> str:
    """The identifier that we gave a result."""
    (own,) = [one["value"] for one in tree["identifier"] if one["system"] == "urn:fhir-msct:small"]
    return str(own)


def once_each(trial: Trial) -> None:
    """Every answer is there once, and what refers to it names where it is."""
    names = [named(tree) for tree in trial.held()]
    assert len(names) == len(set(names)) == len(trial.answers())
    (device,), (study,) = trial.held("Device"), trial.held("ResearchStudy")
    here = {f"Observation/{tree['id']}" for tree in trial.held()}
    for tree in trial.held():
        assert not tree["id"].startswith("msct-")
        assert tree["device"]["reference"] == f"Device/{device['id']}"
        assert tree["extension"][0]["valueReference"]["reference"] == f"ResearchStudy/{study['id']}"
    targets = [one["reference"] for tree in trial.held("Provenance") for one in tree["target"]]
    assert sorted(targets) == sorted(here)
    agents = {tree["agent"][0]["who"]["reference"] for tree in trial.held("Provenance")}
    assert agents == {f"Device/{device['id']}"}


@WAYS
def test_each_result_is_there_once_and_the_second_push_writes_nothing(trial: Trial, faults: Faults) -> None:
    trial.server.faults = faults
    report = trial.push()
    assert report.read_back_equal
    once_each(trial)
    kinds = ("Device", "ResearchStudy", "Observation", "Provenance")
    held = {f"{kind}/{tree['id']}" for kind in kinds for tree in trial.held(kind)}
    assert set(report.ids) == held
    assert set(places(trial).values()) == {place.partition("/")[2] for place in held}
    after = trial.server.versions
    second = trial.push()
    assert (second.written, second.retracted, second.plan) == (0, 0, ())
    assert trial.server.versions == after


def test_the_plan_is_the_same_wherever_it_goes(trial: Trial) -> None:
    hash_ = trial.push(apply=False).hash
    trial.server.faults = CHOOSES
    assert trial.push(apply=False).hash == hash_
    assert trial.push(plan_hash=hash_).written == 2 + len(trial.answers())


@TWO_WAYS
def test_what_the_ledger_forgot_is_found_by_its_identifier(trial: Trial, faults: Faults) -> None:
    trial.server.faults = faults
    trial.push()
    known, after = places(trial), trial.server.versions
    forget_ledger(trial)
    assert trial.push().written == 0
    assert trial.server.versions == after
    assert {own: there for own, there in known.items() if own in places(trial)} == places(trial)
    once_each(trial)


@TWO_WAYS
def test_a_changed_input_updates_the_same_resource(trial: Trial, faults: Faults) -> None:
    trial.server.faults = faults
    trial.push()
    before = {named(tree): tree["id"] for tree in trial.held()}
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 500, status="corrected"))
    again(trial)
    with Wire() as wire:
        report = trial.push(transport=wire)
    found = trial.outcome("CHG_CK")
    assert (found["valueQuantity"]["value"], version(found), found["status"]) == (500 - 1000, "2", "amended")
    assert report.written == 4
    assert report.read_back_equal
    assert {named(tree): tree["id"] for tree in trial.held()} == before
    puts = [entry["request"] for entries in wire.transactions for entry in entries]
    assert all(one["ifMatch"] == 'W/"1"' for one in puts if one["method"] == "PUT")
    heads = [one.headers.get("If-Match") for one in wire.sent if one.method == "PUT"]
    assert set(heads) <= {'W/"1"'}
    revised = [
        part["what"]["reference"]
        for tree in trial.held("Provenance")
        for part in tree["entity"]
        if part["role"] == "revision"
    ]
    assert f"Observation/{found['id']}/_history/1" in revised


@TWO_WAYS
def test_a_result_no_longer_produced_is_retracted_where_it_is(trial: Trial, faults: Faults) -> None:
    trial.server.faults = faults
    trial.push()
    trial.put(ck("anna-ck-6", "anna", "2024-08-30T08:00:00+08:00", 250, status="entered-in-error"))
    report = trial.story()
    gone = [tree for tree in trial.held() if tree["status"] == "entered-in-error"]
    assert report.retracted == len(gone) == 4
    assert len(trial.held()) == len({named(tree) for tree in trial.held()})
    nullified = [o for o in trial.held("Provenance") if o["activity"]["coding"][0]["code"] == "NULLIFY"]
    about = {one["reference"] for tree in nullified for one in tree["target"]}
    assert about == {f"Observation/{tree['id']}" for tree in gone}
    second = trial.story()
    assert (second.written, second.retracted) == (0, 0)


@TWO_WAYS
def test_what_comes_back_under_another_id_is_no_measurement(trial: Trial, faults: Faults) -> None:
    """The loop law, whoever chose the ids."""
    trial.server.faults = faults
    first = (trial.folder / "outcomes" / "by_subject.csv").read_bytes()
    trial.push()
    after = trial.server.versions
    trial.pull()
    assert trial.compute() == first
    assert trial.push().plan == ()
    assert trial.server.versions == after
    readings = [Mapping.load().read(json.dumps(tree)) for tree in trial.held()]
    assert {reading.out for reading in readings} == {("urn:fhir-msct", "own-outcome")}


@pytest.mark.parametrize(
    ("happens", "at", "arrives"), [(dies, 1, True), (dies, 2, True), (dies, 2, False), (breaks, 2, True)]
)
def test_an_unknown_ending_is_no_double(
    trial: Trial, happens: Callable[[], None], at: int, arrives: bool
) -> None:
    trial.server.faults = CHOOSES
    with Interrupted(at, happens, arrives=arrives) as wire:
        if happens is dies:
            with pytest.raises(Killed):
                trial.push(transport=wire)
        else:
            trial.push(transport=wire)
    trial.push()
    once_each(trial)
    assert {version(tree) for tree in trial.held() + trial.held("Provenance")} == {"1"}


def rival(trial: Trial, tree: Tree) -> None:
    """Another push of the same study, a moment earlier."""
    headers = {"Content-Type": "application/fhir+json"}
    links = {f"{kind}/{one['id']}" for kind in ("Device", "ResearchStudy") for one in trial.held(kind)}
    body = {key: part for key, part in tree.items() if key != "id"}
    for link in links:
        body = json.loads(re.sub(f"{link.partition('/')[0]}/msct-[a-z0-9]+", link, json.dumps(body)))
    assert httpx.post(f"{trial.server.url}/Observation", json=body, headers=headers).status_code == 201


def first_result(trial: Trial) -> Tree:
    """One result as it would be pushed: from a push that is undone."""
    trial.push()
    found = trial.outcome("CHG_CK")
    trial.server.clear()
    trial.server.load(lines(resources()))
    forget_ledger(trial)
    return found


@pytest.mark.parametrize("heeds", [True, False])
def test_two_pushes_at_once_leave_one_result_or_say_that_there_are_two(trial: Trial, heeds: bool) -> None:
    """If-None-Exist keeps them apart; where a server does not heed it, the search afterwards sees it."""
    theirs = {**first_result(trial), "issued": "2020-01-01T00:00:00Z"}
    trial.server.faults = CHOOSES if heeds else HEEDLESS
    with Interrupted(2, lambda: rival(trial, theirs), arrives=False) as wire:
        if heeds:
            with suppress(Conflict):
                report = trial.push(transport=wire)
            once_each(trial)
            assert report.read_back_equal
            assert trial.outcome("CHG_CK")["issued"] != theirs["issued"]
            return
        with pytest.raises(Conflict, match="more than once") as raised:
            trial.push(transport=wire)
    both = sorted(f"Observation/{tree['id']}" for tree in trial.held() if named(tree) == named(theirs))
    assert len(both) == 2
    assert " and ".join(both) in str(raised.value)
    before = trial.server.versions
    with pytest.raises(Conflict, match="more than once"):
        trial.push()
    assert trial.push(apply=False).conflicts == (f"Observation/{named(theirs)}",)
    assert trial.server.versions == before
    second = next(tree for tree in trial.held() if f"Observation/{tree['id']}" == both[1])
    trial.put({**second, "status": "entered-in-error"})
    assert trial.push().conflicts == ()


def test_what_carries_our_identifier_without_our_tag_is_not_overwritten(trial: Trial) -> None:
    theirs = {**first_result(trial), "meta": {}}
    rival(trial, theirs)
    trial.server.faults = CHOOSES
    before = trial.server.versions
    with pytest.raises(Conflict, match="do not carry our tag") as raised:
        trial.push()
    assert raised.value.exit_code == 4
    assert trial.server.versions == before


def test_without_any_safe_way_nothing_is_written(trial: Trial) -> None:
    trial.server.faults = Faults(no_update_create=True, no_conditions="denied")
    before = trial.server.versions
    with pytest.raises(ServerUnfit, match="conditional create"):
        trial.push()
    assert trial.server.versions == before


def test_one_refused_result_keeps_nothing_else_back_here_either(trial: Trial) -> None:
    poison = next(line.split()[1] for line in trial.push(apply=False).plan if "CHG_CK anna" in line)
    trial.server.faults = Faults(no_update_create=True, refuse_written=poison.partition("/")[2])
    report = trial.push()
    assert [line.split()[0] for line in report.refused] == [poison]
    assert len(trial.held()) == len(trial.answers()) - 1
    trial.server.faults = CHOOSES
    assert trial.push().read_back_equal
    once_each(trial)
    assert "CHG_CK" in {code(tree) for tree in trial.held()}


@TWO_WAYS
def test_values_entered_by_hand_stay_here_and_results_name_them(trial: Trial, faults: Faults) -> None:
    """Under another id they would come back as a second measurement."""
    trial.server.faults = faults
    loaded(trial, MMT, LATER)
    trial.compute()
    report = trial.push()
    assert len(report.kept) == 2
    assert report.read_back_equal
    assert trial.held(tag="entered") == []
    found = trial.outcome("RESP20_MMT8")
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "met"
    named_by = [(one["type"], one["identifier"]) for one in found["derivedFrom"]]
    ids = sorted(place.partition("/")[2] for place in report.kept)
    assert named_by == [("Observation", {"system": "urn:fhir-msct:small", "value": own}) for own in ids]
    after = trial.server.versions
    forget_ledger(trial)
    again = trial.story()
    assert (again.written, again.retracted, again.kept) == (0, 0, report.kept)
    assert trial.server.versions == after
