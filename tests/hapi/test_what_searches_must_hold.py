"""What every server that we trust must do with a search, asked of the embedded sandbox and of HAPI."""

import re
from itertools import count
from typing import Any

import pytest

from hapi.ground import FRESH, Ground, Tree


def found(ground: Ground, type_: str = "Observation", **asked: str) -> list[str]:
    """The names of the resources that a fresh search finds, in its order."""
    answer = ground.get(type_, {**ground.tagged, **asked}, **FRESH)
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"].removeprefix(f"{ground.prefix}-") for entry in entries(answer)]


def entries(answer: Any) -> list[Tree]:
    """The entries of a Bundle."""
    listed: list[Tree] = answer.json().get("entry", [])
    return listed


def links(answer: Any) -> dict[str, str]:
    """The links of a Bundle, by relation."""
    return {link["relation"]: link["url"] for link in answer.json().get("link", [])}


def test_every_match_comes_once_over_all_pages_and_the_links_are_below_the_base(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(45)))
    asked = {"patient": either.id("p"), "_count": "10"}
    pages = list(either.client.search("Observation", asked))
    links = [page.next for page in pages if page.next]
    assert all(link.startswith(f"{either.url}?") for link in links)
    assert len(pages) == 5
    ids = [one.id for page in pages for one in page.resources]
    assert sorted(ids) == sorted(either.id(number) for number in range(45))


def test_a_count_is_a_bundle_without_entries_and_without_links(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(7)))
    answer = either.get("Observation", {**either.tagged, "_summary": "count"}, **FRESH).json()
    assert (answer["type"], answer["total"]) == ("searchset", 7)
    assert "entry" not in answer and "link" not in answer
    assert either.client.count("Observation", either.tagged) == 7


def test_a_count_of_chosen_elements_is_refused_and_ours_leaves_the_elements_out(either: Ground) -> None:
    either.put(either.patient())
    asked = {**either.tagged, "_elements": "id"}
    assert either.get("Patient", {**asked, "_summary": "count"}).status_code == 400
    assert either.client.count("Patient", asked) == 1


def test_a_search_finds_by_id_patient_code_and_tag(either: Ground) -> None:
    either.put(
        either.patient(), either.patient("q"), either.observation("o"), either.observation("r", of="q")
    )
    for asked in (
        {"_id": either.id("o")},
        {"patient": either.id("p")},
        {"patient": f"Patient/{either.id('p')}", "code": "http://loinc.org|2157-6"},
        {"patient": either.id("p"), **either.tagged},
    ):
        found = [one.id for page in either.client.search("Observation", asked) for one in page.resources]
        assert found == [either.id("o")], asked
    assert either.client.count("Observation", {**either.tagged, "code": "http://loinc.org|1-8"}) == 0


def test_an_address_of_more_than_8_kb_is_refused_and_the_client_posts_it_instead(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(3)))
    many = ",".join(
        [*(either.id(number) for number in range(3)), *(f"no-{'x' * 40}-{n}" for n in range(300))]
    )
    assert either.get("Observation", {"_id": many}).status_code in (400, 414)
    found = [one.id for page in either.client.search("Observation", {"_id": many}) for one in page.resources]
    assert sorted(found) == [either.id(number) for number in range(3)]
    assert either.client.count("Observation", {"_id": many}) == 3


# --- what is found -------------------------------------------------------------------------------------


def test_several_ids_are_asked_for_at_once_and_those_that_are_none_are_no_error(either: Ground) -> None:
    either.put(either.patient(), either.patient("q"), either.patient("r"))
    ids = ",".join([either.id("p"), either.id("q"), either.id("never"), "a b"])
    assert sorted(found(either, "Patient", _id=ids)) == ["p", "q"]


def test_the_time_of_the_last_change_is_compared_to_the_millisecond(either: Ground) -> None:
    either.put(either.patient())
    stamps = [""]
    for name in "abc":
        stamps.append(stamps[-1])
        for number in count(100):  # until the clock has moved on
            if stamps[-1] > stamps[-2]:
                break
            either.put(either.observation(name, str(number)))
            held = either.get(f"Observation/{either.id(name)}").json()
            stamps[-1] = held["meta"]["lastUpdated"]
    prefixes = ("", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb")
    seen = [f"{one}:{''.join(sorted(found(either, _lastUpdated=one + stamps[2])))}" for one in prefixes]
    assert " ".join(seen) == ":b eq:b ne:ac gt:c ge:bc lt:a le:ab sa:c eb:a"


def test_windows_that_touch_share_nothing_and_lose_nothing(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(4)))
    cut = either.get(f"Observation/{either.id(2)}").json()["meta"]["lastUpdated"]
    halves = [
        [one.id for page in either.client.search("Observation", asked) for one in page.resources]
        for asked in ([*either.tagged.items(), ("_lastUpdated", f"{way}{cut}")] for way in ("lt", "ge"))
    ]
    assert sorted(halves[0] + halves[1]) == sorted(either.id(number) for number in range(4))


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("2024-02-28", "a"), ("2024-02-29", "c"), ("2024-02", "abc"), ("2024", "abc"), ("ge2024-02-29", "bc"),
        ("gt2024-02-29", ""), ("le2024-02-28", "ab"), ("lt2024-02-28", "b"), ("sa2024-02-28", "c"),
    ],
)  # fmt: skip
def test_a_day_is_compared_as_it_is_written_and_a_month_as_all_its_days(
    either: Ground, asked: str, names: str
) -> None:
    """So what is wanted of days is decided here, and a search only made wide enough."""
    moments = {"a": "2024-02-28T23:30:00-05:00", "b": "2024-02", "c": "2024-02-29"}
    rows = [either.observation(name, effectiveDateTime=moment) for name, moment in moments.items()]
    either.put(either.patient(), *rows)
    assert "".join(sorted(found(either, date=asked))) == names


@pytest.mark.parametrize(
    ("system", "finds"), [("urn:x|{}", 1), ("{}", 1), ("|{}", 0), ("urn:y|{}", 0), ("urn:y|{0},urn:x|{0}", 1)]
)
def test_an_identifier_is_found_by_value_and_by_system_and_value(
    either: Ground, system: str, finds: int
) -> None:
    either.put(either.patient(identifier=[{"system": "urn:x", "value": either.id("i")}]))
    assert len(found(either, "Patient", identifier=system.format(either.id("i")))) == finds


def test_a_patient_is_named_by_id_or_by_type_and_id_and_several_at_once(either: Ground) -> None:
    either.put(
        either.patient(), either.patient("q"), either.observation("a"), either.observation("b", of="q")
    )
    own = either.id("p")
    for asked in ({"patient": own}, {"patient": f"Patient/{own}"}, {"subject": f"Patient/{own}"}):
        assert found(either, **asked) == ["a"], asked
    assert sorted(found(either, patient=f"{own},{either.id('q')},nobody")) == ["a", "b"]
    assert found(either, subject=f"Device/{own}") == []


def test_a_provenance_is_found_by_its_targets(either: Ground) -> None:
    either.put(either.patient(), either.observation("a"))
    made = {
        "resourceType": "Provenance",
        "id": either.id("v"),
        "meta": {"tag": [either.tag]},
        "target": [{"reference": f"Observation/{either.id('a')}"}],
        "recorded": "2024-01-01T00:00:00Z",
        "agent": [{"who": {"display": "x"}}],
    }
    either.put(made)
    targets = f"Observation/{either.id('a')},Observation/{either.id('b')}"
    assert found(either, "Provenance", target=targets) == ["v"]


# --- how it is told ------------------------------------------------------------------------------------


def test_only_the_elements_that_were_asked_for_come_and_a_tag_says_so(either: Ground) -> None:
    either.put(either.patient(gender="male"))
    answer = either.get("Patient", {**either.tagged, "_elements": "id"}, **FRESH)
    (one,) = [entry["resource"] for entry in entries(answer)]
    assert sorted(one) == ["id", "meta", "resourceType"]
    assert {"lastUpdated", "versionId", "tag"} <= one["meta"].keys()
    assert "SUBSETTED" in [tag["code"] for tag in one["meta"]["tag"]]


def test_a_total_is_told_when_it_is_asked_for_and_may_be_absent_otherwise(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(25)))
    asked = {"patient": either.id("p"), "_count": "10"}
    assert either.get("Observation", {**asked, "_total": "accurate"}, **FRESH).json()["total"] == 25
    assert "total" not in either.get("Observation", {**asked, "_total": "none"}, **FRESH).json()
    assert "total" not in either.get("Observation", {**asked, "_count": "11"}, **FRESH).json()
    assert either.get("Observation", {**asked, "_count": "25"}, **FRESH).json()["total"] == 25


def test_a_page_is_as_large_as_asked_for_and_20_when_nothing_is_asked(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(25)))
    asked = {"patient": either.id("p")}
    sizes = {
        size: len(entries(either.get("Observation", {**asked, **({"_count": size} if size else {})})))
        for size in ("", "1", "24", "1000", "100000")
    }
    assert sizes == {"": 20, "1": 1, "24": 24, "1000": 25, "100000": 25}
    counted = either.get("Observation", {**asked, "_count": "0"}, **FRESH).json()
    assert (counted["total"], "entry" in counted, "link" in counted) == (25, False, False)
    assert either.get("Observation", {**asked, "_count": "many"}).status_code == 400


def test_a_page_is_the_same_when_it_is_asked_for_again(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(25)))
    first = either.get("Observation", {"patient": either.id("p"), "_count": "10"}, **FRESH)
    second, again = (either.http.get(links(first)["next"]) for _ in range(2))
    assert entries(second) == entries(again)
    assert {*links(second)} == {"self", "next", "previous"}
    last = either.http.get(links(second)["next"])
    assert {*links(last)} == {"self", "previous"}
    beyond = either.http.get(re.sub(r"(_getpagesoffset)=\d+", r"\1=90", links(first)["next"]))
    assert (beyond.status_code, entries(beyond)) == (200, [])
    assert {entry["search"]["mode"] for entry in entries(first)} == {"match"}
    assert all(entry["fullUrl"].startswith(f"{either.url}/Observation/") for entry in entries(first))


def test_matches_come_in_the_order_asked_for(either: Ground) -> None:
    days = {"a": "2024-03-01", "b": "2024-01-01", "c": "2024-02-01"}
    rows = [either.observation(name, effectiveDateTime=day) for name, day in days.items()]
    either.put(either.patient(), *rows)
    orders = {by: "".join(found(either, _sort=by)) for by in ("date", "-date", "_id", "-_id")}
    assert orders == {"date": "bca", "-date": "acb", "_id": "abc", "-_id": "cba"}
    assert either.get("Observation", {**either.tagged, "_sort": "nonsense"}).status_code == 400


def test_a_posted_search_is_the_form_and_the_address_together(either: Ground) -> None:
    either.put(either.patient(), *(either.observation(number) for number in range(3)))
    address, asked = f"{either.url}/Observation/_search", {"patient": either.id("p"), "_count": "2"}
    first = either.http.post(address, data=asked, headers=FRESH)
    rest = either.http.get(links(first)["next"])
    assert len(entries(first)) + len(entries(rest)) == 3
    both = either.http.post(f"{address}?_id={either.id(1)}", data={"_id": either.id(2)}, headers=FRESH)
    assert entries(both) == []
    counted = either.http.post(address, data={**asked, "_summary": "count"}, headers=FRESH).json()
    assert (counted["total"], "entry" in counted) == (3, False)


@pytest.mark.parametrize("handling", ["", "handling=lenient", "handling=strict"])
def test_a_parameter_that_is_not_known_is_refused_but_not_with_an_underscore_before_it(
    either: Ground, handling: str
) -> None:
    """So a search alone never decides whose a resource is: what comes is held against what was asked."""
    either.put(either.patient())
    said = {"Prefer": handling} if handling else {}
    assert either.get("Patient", {**either.tagged, "nonsense": "1"}, **said).status_code == 400
    assert len(entries(either.get("Patient", {**either.tagged, "_nonsense": "1"}, **said))) == 1


def test_a_parameter_without_a_value_is_as_if_it_were_not_there(either: Ground) -> None:
    """So nothing is ever asked with an empty list: everybody's data would come."""
    either.put(either.patient(), either.patient("q"))
    assert sorted(found(either, "Patient", _id="")) == ["p", "q"]


def test_a_next_link_that_has_expired_is_gone(either: Ground) -> None:
    link = f"?_getpages=00000000-0000-4000-8000-{either.prefix[1:]}&_getpagesoffset=10&_count=10"
    assert either.http.get(f"{either.url}{link}").status_code == 410
