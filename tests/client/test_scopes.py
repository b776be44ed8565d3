"""What is asked of a server, and what of it was granted."""

import pytest

from fhir_msct.client.scopes import Access, in_words, ungranted

BOTH = Access(read=("Patient", "Observation"), write=("Observation", "Device"))


def test_a_type_that_is_written_is_asked_for_once() -> None:
    assert BOTH.scopes(v2=True) == ("system/Patient.rs", "system/Observation.crus", "system/Device.crus")
    assert BOTH.scopes(v2=False) == (
        "system/Patient.read",
        *("system/Observation.read", "system/Observation.write"),
        *("system/Device.read", "system/Device.write"),
    )


@pytest.mark.parametrize("v2", [True, False])
def test_what_was_asked_for_is_enough(v2: bool) -> None:
    assert ungranted(BOTH, " ".join(BOTH.scopes(v2=v2))) == ()


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        ("system/*.cruds", ()),
        ("system/*.*", ()),
        ("system/*.read system/*.write", ()),
        ("system/*.rs system/Observation.cu system/Device.cu", ()),
        ("system/*.rs", ("Observation", "Device")),
        ("system/*.read", ("Observation", "Device")),
        ("system/*.write", ("Patient", "Observation", "Device")),
        ("system/Patient.r system/Patient.s system/*.crus", ()),
        ("system/Patient.r", ("Patient", "Observation", "Device")),
        ("user/*.cruds patient/*.cruds", ("Patient", "Observation", "Device")),
        ("system/Patient.rs?_id=1 system/Observation.cruds system/Device.cruds", ("Patient",)),
        ("system/patient.rs system/*.CRUDS system/*.sdurc", ("Patient", "Observation", "Device")),
        ("", ("Patient", "Observation", "Device")),
    ],
)
def test_less_than_needed_is_told_by_type(granted: str, missing: tuple[str, ...]) -> None:
    assert ungranted(BOTH, granted) == missing


def test_many_types_are_named_up_to_a_point() -> None:
    assert in_words(["A", "B"]) == "A, B"
    assert in_words("ABCDE", limit=2) == "A, B and 3 more"
