"""Whom to pull: four ways to say it, and one basis for asking."""

from typing import Any

import pytest

from fhir_msct.client.cohort import Found, checked, patients
from fhir_msct.client.failures import Declined, Unusable
from fhir_msct.client.origin import Origin
from fhir_msct.client.rest import Client
from fhir_msct.errors import ConfigError
from fhir_msct.plan import Cohort
from lib.fake_fhir import BASE, FakeFhir, bundle, patient, reply, status
from lib.virtual_time import VirtualTime

HERE, THERE = Origin(BASE), Origin("https://fhir.example.org/r4")
DM = "http://snomed.info/sct|396230008"


def member(who: str, **more: Any) -> dict[str, Any]:
    return {"entity": {"reference": who}, **more}


def condition(id_: str, who: str, code: str) -> dict[str, Any]:
    system, _, value = code.partition("|")
    concept = {"coding": [{"system": system, "code": value}]}
    return {"resourceType": "Condition", "id": id_, "subject": {"reference": who}, "code": concept}


def subject(id_: str, who: str, study: str) -> dict[str, Any]:
    about = {"study": {"reference": study}, "individual": {"reference": who}}
    return {"resourceType": "ResearchSubject", "id": id_, **about}


def find(server: FakeFhir, **cohort: Any) -> Found:
    with Client(server.base, transport=server.transport, patience=VirtualTime().patience()) as client:
        return patients(client, Cohort(**cohort), 2)


def test_patients_that_the_study_lists_are_taken_as_they_are() -> None:
    server = FakeFhir()
    assert find(server, patients=("p2", "Patient/p1", "p2")) == Found(patients=("p1", "p2"))
    assert server.requests == []


def test_the_active_members_of_a_group() -> None:
    members = [member("Patient/p2"), member(f"{BASE}/Patient/p1"), member("Patient/p3", inactive=True)]
    server = FakeFhir([{"resourceType": "Group", "id": "g", "member": members}])
    assert find(server, group="Group/g") == Found(patients=("p1", "p2"))


def test_a_member_that_is_no_patient_here_is_a_problem() -> None:
    members = [member("Patient/p1"), member("Group/other"), {"entity": 5}]
    found = find(FakeFhir([{"resourceType": "Group", "id": "g", "member": members}]), group="g")
    assert found.patients == ("p1",)
    assert found.problems == ("2 members of Group/g are not Patients of this server",)


def test_a_group_that_is_not_there_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no Group/g"):
        find(FakeFhir(), group="g")


def test_the_subjects_of_a_research_study() -> None:
    server = FakeFhir(
        [subject(f"s{number}", f"Patient/p{number}", "ResearchStudy/msct") for number in range(5)]
        + [subject("s9", "Patient/p9", "ResearchStudy/other")]
    )
    assert find(server, research_study="msct") == Found(patients=("p0", "p1", "p2", "p3", "p4"))


def test_everybody_with_a_diagnosis() -> None:
    other = "http://hl7.org/fhir/sid/icd-10|M33.2"
    server = FakeFhir(
        [
            *(condition("c1", "Patient/p1", DM), condition("c2", "Patient/p1", DM)),
            *(condition("c3", "Patient/p2", other), condition("c4", "Patient/p3", "urn:x|1")),
        ]
    )
    assert find(server, diagnosis=(DM, other)) == Found(patients=("p1", "p2"))


def test_a_condition_that_names_no_patient_is_a_problem() -> None:
    server = FakeFhir([condition("c1", "Patient/p1", DM), condition("c2", "urn:uuid:1", DM)])
    (problem,) = find(server, diagnosis=(DM,)).problems
    assert problem == "1 Condition of the cohort do not name a Patient of this server"


class Ignoring(FakeFhir):
    """A server that does not mind by what a Condition or a ResearchSubject is searched for."""

    def _search(self, type_: str, asked: dict[str, str]) -> tuple[list[bytes], int]:
        left = {name: value for name, value in asked.items() if name not in ("code", "study")}
        return super()._search(type_, left)


def test_who_does_not_have_the_diagnosis_is_left_out_and_the_server_named() -> None:
    held = [condition("c1", "Patient/p1", DM), condition("c2", "Patient/p2", "urn:x|1")]
    found = find(Ignoring(held), diagnosis=(DM,))
    assert found.patients == ("p1",)
    (problem,) = found.problems
    assert "1 Condition came that do not have the code asked for" in problem


def test_who_is_of_another_study_is_left_out_and_the_server_named() -> None:
    held = [subject("s1", "Patient/p1", "ResearchStudy/msct"), subject("s2", "Patient/p2", "ResearchStudy/x")]
    found = find(Ignoring(held), research_study="msct")
    assert found.patients == ("p1",)
    assert "1 ResearchSubject came that do not have the study asked for" in found.problems[0]


@pytest.mark.parametrize(
    ("token", "who"),
    [("396230008", ("p1", "p2")), ("|396230008", ("p2",)), ("http://snomed.info/sct|", ("p1",))],
)
def test_a_diagnosis_may_be_a_code_or_a_system_alone(token: str, who: tuple[str, ...]) -> None:
    held = [condition("c1", "Patient/p1", DM), condition("c2", "Patient/p2", "|396230008")]
    assert find(Ignoring(held), diagnosis=(token,)).patients == who


def test_a_diagnosis_that_was_entered_in_error_admits_nobody() -> None:
    wrong = condition("c1", "Patient/p1", DM) | {
        "verificationStatus": {"coding": [{"code": "entered-in-error"}]}
    }
    found = find(FakeFhir([wrong, condition("c2", "Patient/p2", DM)]), diagnosis=(DM,))
    assert found == Found(patients=("p2",))


@pytest.mark.parametrize("member", [b"5", b'["x"]', b"1e400"])
def test_a_group_that_cannot_be_read_is_no_traceback(member: bytes) -> None:
    server = FakeFhir()
    server.held["Group", "g"] = b'{"resourceType":"Group","id":"g","member":' + member + b"}"
    if member == b"1e400":
        with pytest.raises(Unusable, match="Group/g cannot be read"):
            find(server, group="g")
    else:
        assert find(server, group="g").problems


def test_a_search_whose_counts_do_not_fit_leaves_the_cohort_in_doubt() -> None:
    server = FakeFhir([condition("c1", "Patient/p1", DM)])
    server.bend(
        "_summary=count",
        lambda request: reply(200, '{"resourceType":"Bundle","type":"searchset","total":2}'),
        times=99,
    )
    found = find(server, diagnosis=(DM,))
    assert found.patients == ("p1",)
    assert len(found.problems) == 1 and "counts 2, 1 different ones came" in found.problems[0]
    assert len(server.requests) == 9


def test_a_search_that_fits_at_the_second_reading_is_no_problem() -> None:
    server = FakeFhir([condition("c1", "Patient/p1", DM)])
    server.bend(r"Condition\?.*_count", lambda request: reply(200, bundle([])))
    assert find(server, diagnosis=(DM,)) == Found(patients=("p1",))


def test_an_empty_cohort_is_a_problem() -> None:
    assert "no patients" in find(FakeFhir(), diagnosis=(DM,)).problems[0]


@pytest.mark.parametrize(
    "cohort",
    [
        Cohort(),
        Cohort(patients=("p1",), group="g"),
        Cohort(group="g", diagnosis=(DM,)),
        Cohort(patients=("p1,p2",)),
        Cohort(patients=("p1&_id=x",)),
        Cohort(group="../g"),
        Cohort(research_study="a b"),
    ],
)
def test_a_cohort_that_cannot_be_meant_is_a_configuration_error(cohort: Cohort) -> None:
    with pytest.raises(ConfigError, match="cohort"):
        checked(cohort, HERE)


def test_a_server_elsewhere_wants_a_basis() -> None:
    checked(Cohort(patients=("p1",)), HERE)
    checked(Cohort(patients=("p1",), basis="consent"), THERE)
    for basis in (None, "", "  ", "waiver", "Waiver of consent"):
        with pytest.raises(ConfigError, match="basis"):
            checked(Cohort(patients=("p1",), basis=basis), THERE)


def test_a_refusal_is_told() -> None:
    server = FakeFhir([patient("p1")])
    server.bend("Group", status(403))
    with pytest.raises(Declined, match="403"):
        find(server, group="g")
