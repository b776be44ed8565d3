"""Each quirk, switched on, is named with its weight; every quirk that can be named is switched on here."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import pytest

from check.conftest import NOW, Examine
from check.hospital import CK, LOINC, coded, lines, names, observation, resources
from fhir_msct.sandbox import Sandbox
from fhir_msct.sandbox.faults import Faults
from fhir_msct.tasks.quirks import LEVELS, words
from lib.fake_fhir import Answer, FakeFhir, bundle, page, reply, status

ALWAYS = 1000
PUSH = ("[push]", 'url = "http://127.0.0.1:8098/fhir"')
SAME = ("[push]", 'url = "http://127.0.0.1:8099/fhir"', "same_as_source = true")
Arrange = Callable[[FakeFhir], object]


class Case(NamedTuple):
    """A quirk, how it is switched on, and what study.toml says."""

    name: str
    arrange: Any
    toml: tuple[str, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})


FAULTS = (
    Case("no-count", Faults(drop_total=True)),
    Case("count-differs", Faults(wrong_total=9999)),
    Case("count-differs", Faults(drop_entries=1, where="_count=500")),
    Case("no-paging", Faults(drop_next=True)),
    Case("next-cycle", Faults(next_to_self=True)),
    Case("next-foreign", Faults(next_host="evil.example:1")),
    Case("page-gone", Faults(page_gone_after=1)),
    Case("owner-ignored", Faults(ignore=("patient",))),
    Case("self-differs", Faults(ignore=("patient",), where="Observation.*_count=500")),
    Case("no-last-updated", Faults(ignore=("_lastUpdated",))),
    Case("last-updated-false", Faults(ignore=("_lastUpdated",))),
    Case("lenient", Faults(ignore=("fhir-msct-no-such-parameter",))),
    Case("code-ignored", Faults(ignore=("code",))),
    Case("codes-only", Faults(ignore=("code",)), ("[pull]", 'scope = "codes"')),
    Case("page-size-ignored", Faults(ignore=("_count",))),
    Case("repeats", Faults(repeat_entries=True)),
    Case("outcome-entries", Faults(outcome_entry=True)),
    Case("bare-entries", Faults(bare_entries=True)),
    Case("no-post", Faults(status_once={"POST .*_search": (405,) * 9})),
    Case("unknown-fails", Faults(status_once={"no-such-parameter": (500,) * 9})),
    Case("type-refused", Faults(status_once={"GET .*Condition": (403,) * 9})),
    Case("no-access", Faults(status_once={"metadata": (401,)})),
    Case("unfit", Faults(html_login=True, where="Observation")),
    Case("page-gone", Faults(status_once={"_getpages": (404,) * 9})),
    Case("next-broken", Faults(status_once={"_getpages": (400,) * 9})),
    Case("search-refused", Faults(status_once={"Observation.*_count=": (400,) * 9})),
)
"""Faults of the sandbox, asked over real HTTP."""


def claims(
    *absent: str, types: tuple[str, ...] = (), rest: tuple[str, ...] = ("transaction",), **said: Any
) -> Arrange:
    """A CapabilityStatement of these types, without the absent ones."""
    names = types or ("Patient", "Observation", "Procedure", "Condition", "MedicationAdministration")
    listed = [{"type": name, "updateCreate": True, **said} for name in names if name not in absent]
    part = {"mode": "server", "resource": listed, "interaction": [{"code": code} for code in rest]}
    return lambda server: server.metadata.update(rest=[part])


def bent(pattern: str, answer: Answer, after: int = 0) -> Arrange:
    """Every request that matches gets this answer."""
    return lambda server: server.bend(pattern, answer, times=ALWAYS, after=after)


def searchset(total: int | None = None, entries: int = 0) -> Answer:
    """A Bundle of Observations that nobody asked for, with a total."""
    bodies = lines(observation(f"x{n}", CK) for n in range(entries))
    tree = json.loads(bundle(bodies)) | ({} if total is None else {"total": total})
    return lambda request: reply(200, json.dumps(tree))


def held(*trees: dict[str, Any]) -> Arrange:
    """More resources on the server."""
    return lambda server: [server.hold(tree) for tree in trees]


def dropped(*keys: tuple[str, str]) -> Arrange:
    """Fewer."""
    return lambda server: [server.drop(*key) for key in keys]


def without_date(request: httpx.Request) -> httpx.Response:
    """The CapabilityStatement without a Date header."""
    tree = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}
    return reply(200, json.dumps(tree), Date="")


def plain(request: httpx.Request) -> httpx.Response:
    """A page whose media type is JSON only."""
    return reply(200, bundle(lines([observation("o", CK)])), "application/json")


def larger(server: FakeFhir) -> None:
    """Enough Observations for answers that would be worth compressing."""
    for number in range(30):
        server.hold(observation(f"many{number:02}", CK))


def nobody_but(server: FakeFhir) -> None:
    """A Group whose members are not Patients of this server."""
    server.hold({"resourceType": "Group", "id": "trial", "member": [{"entity": {"reference": "Device/d"}}]})


def strangers(server: FakeFhir) -> None:
    """A Group of which one member is on another server."""
    members = [{"entity": {"reference": ref}} for ref in ("Patient/p1", "https://other.example/Patient/p9")]
    server.hold({"resourceType": "Group", "id": "trial", "member": members})


LOCAL = observation("local", coded("urn:hospital:lab", "4711", "Kreatinkinase gesamt"))
ODD_UNIT = observation("odd", CK, "mmol/L")
IN_Z = observation("z", CK, when="2024-03-05T20:00:00Z")
TEXT = observation("text", coded("", "", text="CK total"))
DISCOVER = {"discover": True}

BENDS = (
    Case("settings", bent("nothing", status(500)), (), {"cohort": ""}),
    Case("unfit", lambda server: server.metadata.update(fhirVersion="5.0.0")),
    Case("unfit", bent("metadata", page())),
    Case("type-absent", claims("Observation")),
    Case("type-not-held", claims("MedicationAdministration")),
    Case("type-unclaimed", claims(searchParam=[{"name": "code"}], interaction=[{"code": "read"}])),
    Case("no-patients", nobody_but),
    Case("no-patients", bent("nothing", status(500)), (), {"cohort": 'group = "absent"'}),
    Case("no-patients", dropped(("Patient", "p1"), ("Patient", "p2"), ("Patient", "p3"))),
    Case("patients-missing", dropped(("Patient", "p2"))),
    Case("cohort-open", strangers),
    Case(
        "hidden-references",
        bent("_summary=count.*patient=.*http|patient=.*http.*_summary=count", searchset(total=99)),
    ),
    Case("post-differs", bent("POST .*_search", searchset(total=3))),
    Case(
        "no-study-codes",
        lambda server: [server.drop(*key) for key in list(server.held) if key[0] == "Observation"],
    ),
    Case("last-updated-unclaimed", claims()),
    Case("no-export", claims(), ("[pull]", 'how = "export"')),
    Case("utc-times", held(IN_Z)),
    Case("no-date", bent("metadata", without_date)),
    Case("no-data-cut", bent("metadata", without_date)),
    Case("push-none", claims()),
    Case("push-same", claims(), SAME[:2]),
    Case("push-unfit", bent("8098", page()), PUSH),
    Case("push-read-only", claims(interaction=[{"code": "read"}]), SAME),
    Case("push-read-only", claims(types=("Patient", "Observation"), updateCreate=False), SAME),
    Case("push-no-transaction", claims(rest=("batch",)), SAME),
    Case("push-conditional", claims(updateCreate=False, conditionalCreate=True), SAME),
    Case("look-alikes", held(LOCAL), (), DISCOVER),
    Case("unlisted-units", held(ODD_UNIT), (), DISCOVER),
    Case("free-texts", held(TEXT), (), DISCOVER),
    Case("not-all-seen", bent("_count=500", status(400)), (), DISCOVER),
    Case("sample-aside", held(ODD_UNIT)),
    Case("no-total", claims()),
    Case("no-total", bent("_total=", status(400))),
    Case("search-refused", bent("Condition.*code=", status(400)), (), {"cohort": 'diagnosis = ["urn:x|1"]'}),
    Case("totals-differ", bent("_count=2", searchset(total=7, entries=2))),
    Case("plain-json", bent("Observation.*_count=500", plain)),
    Case("no-gzip", larger),
    Case("no-self", claims()),
    Case("unknown-empties", bent("no-such-parameter", searchset(total=0))),
    Case("no-cache-cuts", bent("_count=2&", searchset(entries=1), after=1)),
)
"""Answers of a made-up server."""


def listed(cases: tuple[Case, ...]) -> list[Any]:
    return [pytest.param(case, id=f"{case.name}-{number}") for number, case in enumerate(cases)]


def weight(name: str) -> str:
    return next(level for level in LEVELS if name in words()[level])


@pytest.mark.parametrize("case", listed(FAULTS))
def test_a_fault_of_the_sandbox_is_named(server: Sandbox, examine: Examine, case: Case) -> None:
    assert case.name not in names(examine(server, *case.toml))
    server.faults = case.arrange
    report = examine(server, *case.toml)
    assert case.name in names(report, weight(case.name))
    assert report.requests <= 60


@pytest.mark.parametrize("case", listed(BENDS))
def test_a_quirk_of_a_server_is_named(examine: Examine, case: Case) -> None:
    server = FakeFhir(resources())
    server.metadata["rest"] = []
    case.arrange(server)
    report = examine(server, *case.toml, **case.options)
    assert case.name in names(report, weight(case.name))
    assert report.verdict == {"block": "blocked", "decide": "decide"}.get(
        weight(case.name), report.verdict
    ) or names(report, "block")
    assert len(server.requests) == report.requests <= 60


def test_smaller_pages_than_were_asked_for_are_named(examine: Examine) -> None:
    with Sandbox(page_cap=5, clock=lambda: NOW) as small:
        small.load(lines(resources()))
        report = examine(small)
    assert ("page-capped", "500 asked for, at most 5 come") in {(r.name, r.detail) for r in report.remarks}
    assert report.verdict == "ready"


def test_a_clock_that_is_not_ours_is_named(examine: Examine) -> None:
    with Sandbox(clock=lambda: NOW.replace(day=29)) as early:
        early.load(lines(resources()))
        report = examine(early)
    assert ("clock-skew", "-86400 s") in {(r.name, r.detail) for r in report.remarks}


def test_a_limit_that_is_reached_is_said(examine: Examine) -> None:
    server = FakeFhir(resources())
    server.bend("_summary=count", status(500), times=ALWAYS)
    server.bend("Observation", status(500), times=ALWAYS)
    cohort = "diagnosis = [" + ", ".join(f'"urn:x|{n}"' for n in range(57)) + "]"
    for number in range(57):
        code = coded("urn:x", str(number))
        server.hold({"resourceType": "Condition", "id": f"c{number}", "code": code} | about_p1())
    report = examine(server, cohort=cohort)
    assert "limit" in names(report, "decide")
    assert len(server.requests) <= 60


def about_p1() -> dict[str, Any]:
    return {"subject": {"reference": "Patient/p1"}}


def test_every_quirk_that_can_be_named_is_switched_on_by_a_test() -> None:
    switched = {case.name for case in (*FAULTS, *BENDS)}
    elsewhere = {"page-capped", "clock-skew", "limit", "scopes-missing"}
    assert switched | elsewhere == {name for level in LEVELS for name in words()[level]}


def test_no_quirk_has_two_weights_and_each_has_one_sentence() -> None:
    found = [(name, text) for level in LEVELS for name, text in words()[level].items()]
    assert len({name for name, _ in found}) == len(found) > 50
    assert [name for name, text in found if text.endswith(".") or len(text) < 20] == []


def test_the_codes_of_other_systems_are_not_taken_for_ours(examine: Examine) -> None:
    server = FakeFhir(resources())
    server.hold(observation("other", coded("urn:other", "2157-6")))
    held_codes = {one.what: one.held for one in examine(server).codes}
    assert held_codes["CK"] == 12, LOINC
