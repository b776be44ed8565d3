"""Search: which resources a parameter finds, and what happens to one that is not understood."""

import json
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.sandbox import Sandbox

LOINC = "http://loinc.org"


def observation(
    name: str, *, code: object = "2157-6", when: object = "2024-03-10", **more: object
) -> dict[str, object]:
    codings = code if isinstance(code, list) else [{"system": LOINC, "code": code}]
    date = (
        {"effectivePeriod": when} if isinstance(when, dict) else {"effectiveDateTime": when} if when else {}
    )
    about = {"subject": {"reference": "Patient/p1"}, "status": "final", "code": {"coding": codings}}
    return {"resourceType": "Observation", "id": name, **about, **date, **more}


def load(server: Sandbox, *resources: dict[str, object]) -> None:
    server.load(json.dumps(resource).encode() for resource in resources)


def ids(http: httpx.Client, url: str, **params: object) -> list[str]:
    """The ids of every page, asked for strictly."""
    answer = http.get(url, params=params or None, headers={"Prefer": "handling=strict"})
    assert answer.status_code == 200, answer.text
    bundle = answer.json()
    found = [entry["resource"]["id"] for entry in bundle.get("entry", [])]
    assert bundle["total"] == len(found)
    return found


def test_patient_and_subject_find_every_spelling_of_a_reference_to_one_patient(server, http) -> None:
    spellings = ["Patient/p1", "Patient/p1/_history/3", f"{server.url}/Patient/p1"]
    load(server, *(observation(f"o{at}", subject={"reference": text}) for at, text in enumerate(spellings)))
    load(
        server,
        observation("other", subject={"reference": "Patient/p2"}),
        observation("device", subject={"reference": "Device/p1"}),
        observation("abroad", subject={"reference": "http://elsewhere/fhir/Patient/p1"}),
        observation("inside", subject={"reference": "#p1"}),
        observation("named", subject={"identifier": {"value": "p1"}}),
    )
    mine = ["o0", "o1", "o2"]
    assert ids(http, "/Observation", patient="p1") == mine
    assert ids(http, "/Observation", patient="Patient/p1") == mine
    assert ids(http, "/Observation", subject=f"{server.url}/Patient/p1") == mine
    assert ids(http, "/Observation", subject="p1") == ["o0", "o1", "device"]
    assert ids(http, "/Observation", subject="Device/p1") == ["device"]
    assert ids(http, "/Observation", patient="Device/p1") == []
    assert ids(http, "/Observation", subject="http://elsewhere/fhir/Patient/p1") == ["abroad"]
    assert ids(http, "/Observation", patient="p2,Patient/p1") == [*mine, "other"]
    assert ids(http, "/Observation", patient=["p1", "p2"]) == []


def test_a_code_is_found_with_its_system_without_one_or_in_any(server, http) -> None:
    load(
        server,
        observation("loinc"),
        observation("local", code=[{"system": "urn:lab", "code": "2157-6"}]),
        observation("bare", code=[{"code": "2157-6"}]),
        observation("both", code=[{"system": "urn:lab", "code": "CK"}, {"system": LOINC, "code": "49551-5"}]),
        observation("text", code=[]),
    )
    assert ids(http, "/Observation", code="2157-6") == ["loinc", "local", "bare"]
    assert ids(http, "/Observation", code=f"{LOINC}|2157-6") == ["loinc"]
    assert ids(http, "/Observation", code="|2157-6") == ["bare"]
    assert ids(http, "/Observation", code="urn:lab|") == ["local", "both"]
    assert ids(http, "/Observation", code=f"urn:lab|CK,{LOINC}|2157-6") == ["loinc", "both"]
    assert ids(http, "/Observation", code=["urn:lab|", "49551-5"]) == ["both"]


def test_a_comma_or_bar_in_a_value_is_escaped(server, http) -> None:
    odd = "a,b|c\\d$e"
    load(server, {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:odd", "value": odd}]})
    escaped = odd.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|").replace("$", "\\$")
    assert ids(http, "/Patient", identifier=f"urn:odd|{escaped}") == ["p1"]
    assert ids(http, "/Patient", identifier=f"x,{escaped}") == ["p1"]
    assert ids(http, "/Patient", identifier=odd) == []


def test_status_tag_and_id_are_found(server, http) -> None:
    tag = {"tag": [{"system": "urn:t", "code": "derived"}]}
    load(
        server,
        observation("a", meta=tag),
        observation("b", status="amended"),
        observation("c", status="cancelled"),
    )
    assert ids(http, "/Observation", status="final,amended") == ["a", "b"]
    assert ids(http, "/Observation", _tag="urn:t|derived") == ["a"]
    assert ids(http, "/Observation", _id="c,a,none") == ["a", "c"]
    assert ids(http, "/Observation", _id="c", status="final") == []


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("/Group?member=Patient/p1", "g"),
        ("/Procedure?patient=p1&date=2024-03", "pr"),
        ("/MedicationAdministration?subject=Patient/p1&code=urn:m|cells", "ma"),
        ("/MedicationAdministration?effective-time=ge2024-01-01", "ma"),
        ("/Condition?code=urn:c|pm&onset-date=2010", "co"),
        ("/Condition?clinical-status=active&patient=p1", "co"),
        ("/ResearchStudy?identifier=urn:s|1&status=active", "rs"),
        ("/ResearchSubject?study=rs&individual=Patient/p1", "su"),
        ("/ResearchSubject?study=ResearchStudy/rs&patient=p1", "su"),
        ("/Device?identifier=urn:d|1", "de"),
        ("/Provenance?target=Observation/o1", "pv"),
        ("/Provenance?patient=p1", "pv"),
        ("/Provenance?recorded=lt2024-06-01", "pv"),
    ],
)
def test_every_type_of_the_trial_is_found_by_its_own_parameters(server, http, url: str, found: str) -> None:
    me, march = {"reference": "Patient/p1"}, "2024-03-02T10:00:00Z"
    cells, myositis, active = (
        {"coding": [{"system": f"urn:{system}", "code": code}]}
        for system, code in (("m", "cells"), ("c", "pm"), ("x", "active"))
    )
    others = [{"entity": {"reference": "Patient/p0"}}, {"entity": me}]
    targets = [{"reference": "Observation/o1/_history/2"}, me]
    bodies = {
        "Group/g": {"member": others},
        "Procedure/pr": {"subject": me, "performedPeriod": {"start": "2024-03-02", "end": "2024-03-04"}},
        "MedicationAdministration/ma": {"medicationCodeableConcept": cells, "effectiveDateTime": march},
        "Condition/co": {"code": myositis, "clinicalStatus": active, "onsetDateTime": "2010-05"},
        "ResearchStudy/rs": {"status": "active", "identifier": [{"system": "urn:s", "value": "1"}]},
        "ResearchSubject/su": {"individual": me, "study": {"reference": "ResearchStudy/rs"}},
        "Device/de": {"identifier": [{"system": "urn:d", "value": "1"}]},
        "Provenance/pv": {"target": targets, "recorded": march},
    }
    for place, body in bodies.items():
        kind, name = place.split("/")
        load(server, {"resourceType": kind, "id": name, "subject": me, **body})
        load(server, {"resourceType": kind, "id": "not-me"})
    assert ids(http, url) == [found]


def test_a_date_is_compared_by_the_precision_it_was_written_with(server, http) -> None:
    load(
        server,
        observation("year", when="2024"),
        observation("month", when="2024-03"),
        observation("day", when="2024-03-10"),
        observation("time", when="2024-03-10T08:30:00+01:00"),
        observation("period", when={"start": "2024-03-09", "end": "2024-03-11"}),
        observation("open", when={"start": "2024-03-20"}),
        observation("none", when=None),
    )
    assert ids(http, "/Observation", date="2024-03-10") == ["day", "time"]
    assert ids(http, "/Observation", date="2024-03") == ["month", "day", "time", "period"]
    assert ids(http, "/Observation", date="2024-03-10T07:30:00Z") == ["time"]
    assert ids(http, "/Observation", date="2024-03-10T08:30:00Z") == []
    assert ids(http, "/Observation", date="gt2024-03-10") == ["year", "month", "period", "open"]
    assert ids(http, "/Observation", date="lt2024-03-10") == ["year", "month", "period"]
    assert ids(http, "/Observation", date="sa2024-03-10") == ["open"]
    assert ids(http, "/Observation", date="eb2024-03-11") == ["day", "time"]
    assert ids(http, "/Observation", date=["ge2024-03-10", "lt2024-03-11"]) == [
        "year", "month", "day", "time", "period",
    ]  # fmt: skip


def test_midnight_with_an_offset_belongs_to_the_day_it_names(server, http) -> None:
    load(server, observation("o1", when="2019-11-25T00:00:00+01:00"))
    assert ids(http, "/Observation", date="2019-11-25") == ["o1"]
    assert ids(http, "/Observation", date="2019-11-24") == []
    assert ids(http, "/Observation", date="2019-11-24T23:00Z") == ["o1"]


moments = st.datetimes(timezones=st.none()).map(
    lambda moment: moment.isoformat(timespec="milliseconds") + "Z"
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(moments, min_size=1, max_size=6), moments, st.sampled_from(["lt", "le", "ge", "gt", "eq", "ne"])
)
def test_last_updated_windows_agree_with_comparing_the_instants(
    sandbox_of_all: Sandbox, http_of_all: httpx.Client, stamps: list[str], bound: str, prefix: str
) -> None:
    sandbox_of_all.clear()
    body = '{"resourceType":"Basic","id":"b%d","meta":{"versionId":"1","lastUpdated":"%s"}}'
    sandbox_of_all.load((body % pair).encode() for pair in enumerate(stamps))
    compare = {
        "lt": str.__lt__,
        "le": str.__le__,
        "ge": str.__ge__,
        "gt": str.__gt__,
        "eq": str.__eq__,
        "ne": str.__ne__,
    }
    expected = [f"b{at}" for at, stamp in enumerate(stamps) if compare[prefix](stamp, bound)]
    assert ids(http_of_all, "/Basic", _lastUpdated=prefix + bound) == expected


def test_half_open_windows_cut_time_without_gap_or_overlap(server, http, clock) -> None:
    for number in range(6):
        http.put(f"/Basic/b{number}", json={"resourceType": "Basic", "id": f"b{number}"})
        clock.tick(seconds=1)
    cut = "2024-06-01T12:00:03.000+00:00"
    before = ids(http, "/Basic", _lastUpdated=["ge2024-06-01", f"lt{cut}"])
    after = ids(http, "/Basic", _lastUpdated=[f"ge{cut}", "lt2024-06-02"])
    assert (before, after) == (["b0", "b1", "b2"], ["b3", "b4", "b5"])


def test_results_are_sorted_as_asked(server, http, clock) -> None:
    for name, when in (("b", "2024-03-01"), ("c", None), ("a", "2024-01-01"), ("d", "2024-03-01")):
        http.put(f"/Observation/{name}", json=observation(name, when=when))
        clock.tick(seconds=1)
    assert ids(http, "/Observation", _sort="_id") == ["a", "b", "c", "d"]
    assert ids(http, "/Observation", _sort="-_lastUpdated") == ["d", "a", "c", "b"]
    assert ids(http, "/Observation", _sort="date") == ["a", "b", "d", "c"]
    assert ids(http, "/Observation", _sort="-date,-_id") == ["d", "b", "a", "c"]


def test_an_update_moves_a_resource_out_of_what_found_it(server, http) -> None:
    http.put("/Observation/o1", json=observation("o1"))
    http.put("/Observation/o1", json=observation("o1", code="49551-5", subject={"reference": "Patient/p2"}))
    assert ids(http, "/Observation", code="2157-6") == []
    assert ids(http, "/Observation", patient="p2", code="49551-5") == ["o1"]


def test_a_post_search_is_the_url_and_the_form_together(server, http) -> None:
    load(server, observation("a"), observation("b", status="amended"))
    many = ",".join(f"x{number}" for number in range(5000))
    answer = http.post("/Observation/_search?status=amended", data={"_id": f"a,b,{many}"})
    assert [entry["resource"]["id"] for entry in answer.json()["entry"]] == ["b"]
    assert http.get("/Observation/_search?status=final").json()["total"] == 1


@pytest.mark.parametrize("ignored", [{"_foo": "bar"}, {"patient": ""}])
def test_a_parameter_without_meaning_is_ignored_and_absent_from_the_self_link(server, http, ignored) -> None:
    load(server, observation("a"))
    asked = {**ignored, "code": f"{LOINC}|2157-6"}
    bundle = http.get("/Observation", params=asked, headers={"Prefer": "handling=strict"}).json()
    link = urlsplit(bundle["link"][0]["url"])
    assert bundle["link"][0]["relation"] == "self"
    assert parse_qsl(link.query) == [("code", f"{LOINC}|2157-6")]
    assert bundle["total"] == 1


@pytest.mark.parametrize(
    "query",
    [
        "favourite=red",
        "subject.name=x",
        "_has:Group:member:_id=g",
        "_include=Observation:subject",
        "_revinclude:iterate=Provenance:target",
    ],
)
@pytest.mark.parametrize("handling", ["strict", "lenient"])
def test_what_this_server_does_not_do_is_refused_rather_than_left_out(
    http, query: str, handling: str
) -> None:
    answer = http.get(f"/Observation?{query}", headers={"Prefer": f"handling={handling}"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "code:text=CK", "date=yesterday", "date=ap2024", "_count=abc", "_count=-1", "_sort=code",
        "_summary=text", "_lastUpdated=2024-13-01", "code=%FF",
        "_lastUpdated=2024-01-01T25:00Z",
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant_is_refused_even_leniently(http, query: str) -> None:
    answer = http.get(f"/Observation?{query}")
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_a_count_has_a_total_and_neither_entries_nor_links(server, http) -> None:
    load(server, *(observation(f"o{number}") for number in range(30)))
    for query in ("_summary=count", "_count=0"):
        bundle = http.get(f"/Observation?{query}").json()
        assert bundle["total"] == 30
        assert not {"entry", "link"} & bundle.keys()


def test_the_total_can_be_declined(server, http) -> None:
    load(server, observation("a"))
    assert "total" not in http.get("/Observation?_total=none").json()
    assert http.get("/Observation?_total=accurate").json()["total"] == 1


def test_half_a_surrogate_pair_is_stored_and_no_search_stumbles_over_it(server, http) -> None:
    text = '{"resourceType":"Patient","id":"p1","identifier":[{"value":"\\ud800"},{"value":"ok"}]}'
    assert http.put("/Patient/p1", content=text).status_code == 201
    assert ids(http, "/Patient", identifier="ok") == ["p1"]


def test_elements_of_an_unexpected_shape_are_stored_and_simply_not_found(server, http) -> None:
    odd = {
        "resourceType": "Observation",
        "id": "o1",
        "code": 5,
        "subject": "x",
        "status": {"a": 1},
        "meta": {"tag": "x"},
    }
    odd |= {
        "effectivePeriod": {"start": 3},
        "category": [None, [1], {"coding": "x"}],
        "identifier": {"value": 1},
    }
    assert http.put("/Observation/o1", json=odd).status_code == 201
    assert ids(http, "/Observation", code="5") == []
    assert ids(http, "/Observation", _id="o1") == ["o1"]
