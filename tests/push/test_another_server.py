"""Pushing to another server than the one pulled from: the people must be there, and be the same."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fhir_msct.errors import Conflict, UsageError
from fhir_msct.mapping.library import Mapping
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.tasks.pull import pull
from push.small_trial import Tree, Trial, ck, lines, quiet, resources
from push.wires import Wire

MRN, OTHER = "urn:hospital:mrn", "urn:registry:id"


@pytest.fixture
def other() -> Iterator[Sandbox]:
    with Sandbox() as server:
        yield server


@pytest.fixture
def elsewhere(trial: Trial, other: Sandbox) -> Trial:
    """The computed trial, to be pushed to the other server."""
    path = trial.folder / "study.toml"
    text = path.read_text("utf-8").replace("same_as_source = true\n", "")
    before, after = (f'[push]\nurl = "{server.url}"' for server in (trial.server, other))
    path.write_text(text.replace(before, after), "utf-8")
    trial.compute()
    return trial


def people(**identifiers: list[Tree]) -> list[Tree]:
    """The trial's patients, with identifiers."""
    patients = [tree for tree in resources() if tree["resourceType"] == "Patient"]
    return [tree | {"identifier": identifiers.get(tree["id"], [])} for tree in patients]


def test_another_server_is_written_to_and_the_source_is_not(elsewhere: Trial, other: Sandbox) -> None:
    other.load(lines(people()))
    before = elsewhere.server.versions
    report = elsewhere.push()
    assert elsewhere.server.versions == before
    assert len(other.dump("Observation")) == len(elsewhere.answers())
    assert report.read_back_equal
    assert elsewhere.push().written == 0


def test_what_a_result_rests_on_is_named_by_its_address_where_it_is(elsewhere: Trial, other: Sandbox) -> None:
    other.load(lines(people()))
    elsewhere.push()
    results, lineages = (
        [json.loads(one) for one in other.dump(kind)] for kind in ("Observation", "Provenance")
    )
    inputs = [one for tree in results for name in ("derivedFrom", "partOf") for one in tree.get(name, [])]
    sources = [one["what"] for tree in lineages for one in tree["entity"] if "type" in one["what"]]
    assert len(inputs) > len(results) and sources
    for one in inputs + sources:
        assert "reference" not in one, "a relative one would mean a resource of the other server"
        assert one["identifier"]["system"] == "urn:ietf:rfc:3986"
        there = httpx.get(one["identifier"]["value"], trust_env=False).json()
        version = f"{there['resourceType']}/{there['id']}/_history/{there['meta']['versionId']}"
        assert (one["type"], one["extension"][0]["valueString"]) == (there["resourceType"], version)


def test_results_of_people_who_are_not_there_are_not_written(elsewhere: Trial, other: Sandbox) -> None:
    other.load(lines([one for one in people() if one["id"] == "bert"]))
    before = other.versions
    for apply in (False, True):
        with pytest.raises(UsageError, match="does not hold Patient/anna, whom") as raised:
            elsewhere.push(apply=apply)
        assert raised.value.exit_code == 3
    assert other.versions == before


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        ([{"system": MRN, "value": "1"}], True),
        ([{"system": MRN, "value": "2"}], False),
        ([{"system": MRN, "value": "2"}, {"system": MRN, "value": "1"}], True),
        ([{"system": OTHER, "value": "2"}], True),
        ([], True),
    ],
)
def test_the_same_id_with_another_identifier_is_another_person(
    tmp_path: Path, server: Sandbox, other: Sandbox, theirs: list[Tree], same: bool
) -> None:
    anna = [{"system": MRN, "value": "1"}]
    server.load(lines(people(anna=anna, bert=[])))
    trial = Trial(tmp_path / "study", server, settings=f'[push]\nurl = "{other.url}"\n')
    trial.pull()
    trial.compute()
    other.load(lines(people(anna=theirs)))
    before = other.versions
    if same:
        assert trial.push().read_back_equal
        return
    with pytest.raises(Conflict, match="another person as Patient/anna: ") as raised:
        trial.push()
    assert raised.value.exit_code == 4
    assert other.versions == before


def test_the_source_itself_is_not_asked_for_its_patients(trial: Trial) -> None:
    with Wire() as wire:
        trial.push(transport=wire)
    bodies = [json.loads(one.content) for one in wire.sent if one.method == "POST"]
    urls = [entry["request"]["url"] for body in bodies for entry in body["entry"]]
    assert not any("Patient/" in url for url in urls + [str(one.url) for one in wire.sent])


def test_what_came_from_files_is_named_by_its_hash_and_not_by_an_id_of_the_server(
    tmp_path: Path, other: Sandbox
) -> None:
    """The export's ids mean somebody else's resources there."""
    other.load(lines([*people(), ck("anna-ck-0", "bert", "2020-01-01", 77)]))
    export = tmp_path / "export"
    export.mkdir()
    (export / "all.ndjson").write_bytes(b"\n".join(lines(resources())) + b"\n")
    trial = Trial(tmp_path / "study", other, settings=f'[push]\nurl = "{other.url}"\n')
    path = trial.folder / "study.toml"
    path.write_text(path.read_text("utf-8").replace(f'[server]\nurl = "{other.url}"\n', ""), "utf-8")
    asked = Mapping.load(trial.folder, trial.plan).wanted()
    assert pull(trial.folder, trial.plan, asked, source=export, say=quiet).complete
    trial.compute()
    assert trial.push().read_back_equal
    results, lineages = (trial.held(kind) for kind in ("Observation", "Provenance"))
    inputs = [one for tree in results for name in ("derivedFrom", "partOf") for one in tree.get(name, [])]
    inputs += [one["what"] for tree in lineages for one in tree["entity"]]
    assert {one["identifier"]["system"] for one in inputs} == {"urn:fhir-msct:sha256"}
    assert not any("reference" in one for one in inputs)
    kept = {hashlib.sha256(line).hexdigest() for line in lines(resources())}
    named = {one["identifier"]["value"] for tree in results for one in tree.get("derivedFrom", [])}
    assert named and named <= kept
    assert trial.push().written == 0
