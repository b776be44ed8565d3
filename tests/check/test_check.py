"""The doctor on a healthy server: ready, within its limit, reading only, leaving nothing behind."""

import itertools
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import httpx
import pytest

from check.conftest import Examine
from check.hospital import VALUE, about, coded, lines, names, observation, resources, study
from cli.conftest import Command
from fhir_msct import data
from fhir_msct import plan as plans
from fhir_msct.client.keys import make
from fhir_msct.errors import ServerFailed, Unreachable
from fhir_msct.mapping.library import Mapping
from fhir_msct.sandbox import Sandbox
from fhir_msct.sandbox.faults import Faults
from fhir_msct.tasks import check_told
from fhir_msct.tasks.demo import resources as trial
from fhir_msct.tasks.pull import pull_plan
from lib.fake_fhir import FakeFhir, reply, status


def test_a_healthy_server_is_ready(server: Sandbox, examine: Examine) -> None:
    report = examine(server)
    assert report.verdict == "ready"
    assert names(report) == {"push-none"}
    assert (report.patients, report.software.split()[0]) == (3, "fhir-msct")
    assert {one.type: one.held for one in report.types} == {
        "Patient": 3,
        "Observation": 13,
        "Procedure": 1,
        "Condition": 1,
        "MedicationAdministration": 0,
    }
    held = {(one.what, one.type): one.held for one in report.codes}
    assert (held["CK", "Observation"], held["MMT8", "Observation"], held["MMT24", "Observation"]) == (
        12,
        1,
        0,
    )
    assert (held["DX", "Condition"], held["MSC infusion", "Procedure"]) == (1, 1)


@pytest.mark.parametrize("discover", [False, True])
def test_it_only_reads_and_sends_at_most_sixty_requests(
    server: Sandbox, examine: Examine, discover: bool
) -> None:
    server.load(trial(data.fixtures() / "resources"))
    before = server.versions
    report = examine(server, discover=discover, cohort='group = "msct-trial"')
    assert len(server.seen) == report.requests <= 60
    asked = {(one.method, one.target.partition("?")[0].rpartition("/")[2]) for one in server.seen}
    assert {method for method, _ in asked} == {"GET", "POST"}
    assert {place for method, place in asked if method == "POST"} == {"_search"}
    assert server.versions == before


class Weary(FakeFhir):
    """Sends most questions on, puts them off or wants another token first, in a pattern that repeats."""

    def __init__(self, pattern: Sequence[str]) -> None:
        super().__init__(
            [*resources(), *(observation(f"more{n}", coded("urn:h", f"{n}")) for n in range(60))]
        )
        self.pattern = itertools.cycle(pattern)

    def answer(self, request: httpx.Request) -> httpx.Response:
        what = next(self.pattern)
        if what == "moved" and request.method == "GET":
            moved = request.url.copy_add_param("moved", str(len(self.requests)))
            return status(307, Location=str(moved))(request)
        if what in ("401", "503"):
            return status(int(what))(request)
        return super().answer(request)


TROUBLES = (
    *(("moved", "503", "moved", "ok"), ("moved", "moved", "moved", "ok"), ("401", "ok"), ("503", "ok")),
    *(("moved", "401", "moved", "ok"), ("moved", "ok"), ("ok",)),
    *(tuple(Random(seed).choices(("moved", "503", "401", "ok", "ok", "ok"), k=7)) for seed in range(20)),
)


@pytest.mark.parametrize("pattern", TROUBLES, ids="-".join)
@pytest.mark.parametrize("push", [False, True])
def test_redirects_renewed_tokens_and_tries_count_as_well(
    examine: Examine, tmp_path: Path, pattern: tuple[str, ...], push: bool
) -> None:
    key = tmp_path / "key.json"
    make(key, "ES384")
    toml = ['auth = "smart"', 'client_id = "msct"', f'key_file = "{key}"']
    if push:
        toml += ["[push]", 'url = "http://127.0.0.1:8099/fhir/other"']
    server = smart(Weary(pattern), "system/*.cruds")
    with suppress(ServerFailed):
        report = examine(server, *toml, discover=True)
        assert report.requests == len(server.requests)
        assert {"limit", "no-access"} & names(report) or report.discovered
    assert len(server.requests) <= 60


def test_a_question_is_cut_short_where_the_limit_is_reached(examine: Examine) -> None:
    server = Weary(("ok", "ok", *("moved", "503", "moved", "ok") * 3))
    report = examine(server, "[push]", 'url = "http://127.0.0.1:8099/fhir"', "same_as_source = true")
    assert (len(server.requests), report.requests) == (60, 60)
    assert "limit" in names(report, "decide")


def test_nothing_is_stored(server: Sandbox, examine: Examine, tmp_path: Path) -> None:
    examine(server, discover=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["trial", "study.toml"]


@pytest.mark.parametrize("how", ["search", "export"])
def test_the_plan_is_that_of_pull(server: Sandbox, examine: Examine, tmp_path: Path, how: str) -> None:
    report = examine(server, "[pull]", f'how = "{how}"')
    plan = plans.load(tmp_path / "trial")
    said = pull_plan(plan, Mapping.load(tmp_path / "trial", plan).wanted())
    assert set(report.plan) == {line for line in said if not line.startswith("scopes")}
    assert any("/$export?_type=" in line for line in report.plan) == (how == "export")
    assert any(set(report.scopes.v2) <= set(line.split()) for line in said)


def test_the_scopes_are_the_least_in_both_versions(server: Sandbox, examine: Examine) -> None:
    report = examine(server, "[push]", f'url = "{server.url}"', "same_as_source = true")
    assert report.scopes.v2[:2] == ("system/Group.rs", "system/Patient.rs")
    assert "system/Observation.read" in report.scopes.v1
    assert "system/Provenance.crus" in report.push_scopes.v2
    assert report.verdict == "ready"
    assert not names(report)


@pytest.mark.parametrize(
    ("cohort", "patients"),
    [
        ('patients = ["p1", "p3"]', 2),
        ('diagnosis = ["http://snomed.info/sct|396230008"]', 1),
    ],
)
def test_every_way_to_name_the_cohort_is_understood(
    server: Sandbox, examine: Examine, cohort: str, patients: int
) -> None:
    report = examine(server, cohort=cohort)
    assert (report.patients, report.verdict) == (patients, "ready")


def test_a_cohort_whose_search_expires_is_open_and_nothing_is_refused(
    server: Sandbox, examine: Examine
) -> None:
    dx = coded("http://snomed.info/sct", "396230008")
    server.load(lines([about("Condition", "dm2", "p2", code=dx)]))
    server.faults = Faults(page_gone_after=1, times=1)
    cohort = 'diagnosis = ["http://snomed.info/sct|396230008"]'
    report = examine(server, "[pull]", "page_size = 1", cohort=cohort)
    assert report.patients == 1
    assert "search-refused" not in names(report)
    (open_,) = [one.detail for one in report.remarks if one.name == "cohort-open"]
    assert open_.startswith(
        "Condition: the search expired at the server: looked at the patients of the pages"
    )


def test_a_large_cohort_is_asked_for_in_part_and_said_to_be(examine: Examine) -> None:
    server = FakeFhir(resources())
    ids = [f"patient-{number:04}-of-a-large-cohort" for number in range(700)]
    for id_ in ids:
        server.hold({"resourceType": "Patient", "id": id_})
    report = examine(server, cohort="patients = [" + ", ".join(f'"{id_}"' for id_ in ids) + "]")
    assert (report.patients, report.counted_within) == (700, 500)
    assert "first 500" in "\n".join(check_told.checked(report, Path("trial")))
    assert len(server.requests) <= 60


def test_without_an_address_nothing_is_asked(examine: Examine) -> None:
    report = examine(None)
    assert (report.verdict, report.requests) == ("blocked", 0)
    assert "[server] url" in report.remarks[0].detail


def test_without_a_basis_a_hospital_is_asked_for_its_statement_only(examine: Examine) -> None:
    hospital = FakeFhir(resources(), base="https://fhir.example.org/r4")
    report = examine(hospital)
    assert report.verdict == "blocked"
    assert "basis" in report.remarks[0].detail
    assert hospital.asked == ["GET /metadata"]
    assert "settings" not in names(examine(hospital, cohort='group = "trial"\nbasis = "consent"'))


def test_a_token_that_cannot_be_read_blocks(examine: Examine) -> None:
    report = examine(FakeFhir(resources()), 'auth = "bearer"', 'token_file = "absent/token"')
    assert (report.verdict, names(report, "block")) == ("blocked", {"settings"})


def test_a_server_that_gives_no_answer_can_be_asked_again_later(examine: Examine, server: Sandbox) -> None:
    server.faults = Faults(lose_answer=True)
    with pytest.raises(Unreachable):
        examine(server)


@pytest.mark.parametrize("where", ["metadata", "Group"])
def test_a_server_that_fails_can_be_asked_again_later(examine: Examine, where: str) -> None:
    server = FakeFhir(resources())
    server.bend(where, status(503), times=9)
    with pytest.raises(ServerFailed):
        examine(server)


def test_the_push_server_is_asked_for_its_statement_only(examine: Examine) -> None:
    source = FakeFhir(resources())
    report = examine(source, "[push]", 'url = "http://127.0.0.1:8099/fhir/other"')
    assert [line for line in source.asked if "other" in line] == ["GET /other/metadata"]
    assert "push-unfit" in names(report)


def test_no_value_of_a_patient_is_said(server: Sandbox, examine: Examine, tmp_path: Path) -> None:
    server.load(lines([observation("local", coded("urn:h", "1", "CK gesamt"))]))
    for faults in (None, Faults(drop_total=True), Faults(html_login=True, where="_count=500")):
        server.faults = faults
        report = examine(server, discover=True)
        told = "\n".join(check_told.checked(report, tmp_path)) + str(report)
        assert VALUE not in told
        assert VALUE.partition(".")[0] not in told


def exits(command: Command, folder: Path, code: int, *words: str, options: tuple[str, ...] = ()) -> str:
    """What the command says on stdout, having ended with this code and these words."""
    ended = command("check", folder, *options)
    assert ended.code == code, ended.err
    for word in words:
        assert word in ended.out + ended.err
    return ended.out


def test_the_exit_code_is_the_verdict(server: Sandbox, command: Command, tmp_path: Path) -> None:
    folder = study(tmp_path / "trial", server.url)
    out = exits(command, folder, 0, "READY", "requests sent, nothing stored")
    assert out.splitlines()[-1].startswith("READY")
    server.faults = Faults(drop_total=True)
    exits(command, folder, 2, "DECIDE: no-count", "has to be decided")
    server.faults = Faults(html_login=True)
    exits(command, folder, 3, "BLOCKS: unfit", "blocks a pull")


def test_json_is_one_document_that_says_the_same(server: Sandbox, command: Command, tmp_path: Path) -> None:
    out = exits(command, study(tmp_path / "trial", server.url), 0, options=("--json",))
    told = json.loads(out)
    assert told["verdict"] == "ready"
    assert "push-none" in [remark["name"] for remark in told["remarks"]]
    assert told["requests"] == len(server.seen)


def smart(server: FakeFhir, granted: str) -> FakeFhir:
    """The server with a token endpoint that grants these scopes."""
    place = {"token_endpoint": "http://127.0.0.1:8099/token", "capabilities": ["permission-v2"]}
    token = {"access_token": "canary", "token_type": "bearer", "expires_in": 300, "scope": granted}
    for pattern, told in (("smart-configuration", place), ("POST .*/token", token)):
        body = json.dumps(told)
        server.bend(pattern, lambda request, body=body: reply(200, body, "application/json"), times=99)
    return server


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        ("system/*.rs", ()),
        ("system/Group.rs system/Patient.rs system/Observation.rs", ("Condition", "Procedure")),
    ],
)
def test_a_granted_scope_that_is_missing_is_named(
    examine: Examine, tmp_path: Path, granted: str, missing: tuple[str, ...]
) -> None:
    key = tmp_path / "key.json"
    make(key, "ES384")
    toml = ('auth = "smart"', 'client_id = "msct"', f'key_file = "{key}"')
    report = examine(smart(FakeFhir(resources()), granted), *toml)
    assert set(missing) <= set(report.not_granted)
    assert bool(missing) == ("scopes-missing" in names(report, "decide"))
    assert "canary" not in str(report)
