"""Where a token may go: to its own origin, under its own path, and nowhere else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_msct.client.origin import Origin, shown
from fhir_msct.errors import ConfigError

seeded = settings(derandomize=True, deadline=None)

BASE = Origin("https://fhir.example.org/r4/")

OWN = [
    "https://fhir.example.org/r4",
    "https://fhir.example.org/r4?_getpages=1",
    "https://fhir.example.org:443/r4/Observation?patient=1",
    "HTTPS://FHIR.example.org/r4/Patient/1",
]
FOREIGN = [
    "https://fhir.example.org/r40/Patient",
    "https://fhir.example.org/other",
    "https://fhir.example.org/",
    "https://fhir.example.org:8443/r4/Patient",
    "http://fhir.example.org/r4/Patient",
    "https://fhir.example.org.evil.test/r4/Patient",
    "https://evil.test/r4/Patient",
    "https://fhir.example.org@evil.test/r4/Patient",
    "https://user:secret@fhir.example.org/r4/Patient",
    "https://evil.test\\@fhir.example.org/r4/Patient",
    "https://fhir.example.org\\@evil.test/r4/Patient",
    "https://fhir.example.org/r4/../admin",
    "https://fhir.example.org/r4/%2e%2e/admin",
    "https://fhir.example.org/r4/..%2fadmin",
    "https://fhir.example.org/r4/%252e%252e/admin",
    "https://fhir.example.org/r4/..;/admin",
    "https://fhir.example.org/r4/.;/admin",
    "https://fhir.example.org/r4//evil.test",
    "https://fhir.example.org/r4/\\evil.test",
    "https://fhir.example.org./r4/Patient",
    "ftp://fhir.example.org/r4",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "",
    "/r4/Patient",
    "https://[::1]/r4",
]


@pytest.mark.parametrize("url", OWN)
def test_the_own_origin_is_recognised(url: str) -> None:
    assert BASE.holds(url)


@pytest.mark.parametrize("url", FOREIGN)
def test_anything_else_is_foreign(url: str) -> None:
    assert not BASE.holds(url)


@seeded
@given(st.text("/\\.:@?#%25e[]fhirexample.org-evil", max_size=40))
def test_whatever_follows_the_host_a_link_stays_on_it_or_is_foreign(rest: str) -> None:
    for link in (f"https://fhir.example.org{rest}", rest, f"//{rest}"):
        resolved = BASE.resolve(link)
        if BASE.holds(resolved):
            assert shown(resolved) == "https://fhir.example.org"


@pytest.mark.parametrize(
    ("link", "absolute"),
    [
        ("https://other.test/r4?x=1", "https://other.test/r4?x=1"),
        ("?_getpages=7&_getpagesoffset=20", "https://fhir.example.org/r4?_getpages=7&_getpagesoffset=20"),
        ("Patient?page=2", "https://fhir.example.org/r4/Patient?page=2"),
        ("/r4/Patient?page=2", "https://fhir.example.org/r4/Patient?page=2"),
        ("//evil.test/r4", "https://evil.test/r4"),
    ],
)
def test_a_relative_link_is_relative_to_the_base(link: str, absolute: str) -> None:
    assert BASE.resolve(link) == absolute


@pytest.mark.parametrize(
    "url",
    [
        "",
        "fhir.example.org/r4",
        "ftp://fhir.example.org",
        "https://",
        "http://fhir.example.org/r4",
        "https://user:secret@fhir.example.org/r4",
        "https://fhir.example.org/r4?tenant=1",
        "https://fhir example.org/r4",
    ],
)
def test_an_address_that_cannot_be_a_base_is_a_configuration_error_without_its_secrets(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Origin(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/fhir", "http://127.0.0.1/fhir", "http://[::1]:9/fhir"]
)
def test_http_is_for_this_machine(url: str) -> None:
    assert Origin(url).is_loopback
    assert str(Origin(url)).startswith("http://")


def test_http_elsewhere_has_to_be_allowed() -> None:
    assert Origin("http://fhir.example.org", allow_http=True).base == "http://fhir.example.org"
    assert not BASE.is_loopback


INSIDE = (
    "10.0.0.5",
    "192.168.1.1",
    "169.254.169.254",
    "0.0.0.0",  # noqa: S104  (nothing is bound)
    "127.1",
    "2130706433",
    "0x7f.1",
    "localhost.",
)


@pytest.mark.parametrize("host", [*INSIDE, "[::ffff:127.0.0.1]", "[fe80::1]", "[::]", "a.localhost"])
def test_an_address_that_means_another_machine_in_each_network_is_known(host: str) -> None:
    assert Origin(f"https://{host}/fhir").is_inside


@pytest.mark.parametrize("host", ["fhir.example.org", "8.8.8.8", "[2606:4700::1111]", "10.example.org"])
def test_any_other_address_is_not_of_the_inside(host: str) -> None:
    assert not Origin(f"https://{host}/fhir").is_inside
