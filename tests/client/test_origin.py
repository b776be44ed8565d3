"""Where a token may go: to its own origin, under its own path, and nowhere else."""

import posixpath
import re
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fhir_msct.client.origin import Origin, shown
from fhir_msct.client.rest import Client
from fhir_msct.errors import ConfigError, MsctError
from lib.fake_fhir import FakeFhir, bundle, reply, status
from lib.virtual_time import VirtualTime

seeded = settings(derandomize=True, deadline=None, max_examples=2000)

CANARY = "canary"
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


# --- the law: what is held lies there, as another parser reads it -----------------------------------------

BASES = ("https://fhir.example.org/r4", "https://[2001:db8::7]:8443/r4", "http://127.0.0.1:8099/fhir")
PORTS = {"http": 80, "https": 443}


def lies_below(url: str, base: str) -> bool:
    """Whether an address lies on the origin and below the path of a base, as urllib reads both.

    The path is read as the most obliging server would: decoded to its end, a backslash for a slash, and
    without what follows a semicolon.
    """
    try:
        (scheme, host, port, path), own = _parts(url), _parts(base)
    except ValueError:
        return False
    return (scheme, host, port) == own[:3] and (path == own[3] or path.startswith(f"{own[3]}/"))


def _parts(url: str) -> tuple[str, str, int, str]:
    parts = urlsplit(url)
    if parts.username or parts.password or parts.scheme not in PORTS:
        raise ValueError(url)
    path, before = parts.path, ""
    while path != before:
        path, before = unquote(path).replace("\\", "/"), path
    path = posixpath.normpath(re.sub(r";[^/]*", "", path) or "/")
    host = (parts.hostname or "").lower().replace("\u3002", ".")  # which is a dot in a name: RFC 3490, 3.1
    return parts.scheme, host, parts.port or PORTS[parts.scheme], path


HOSTS = (
    *("fhir.example.org", "FHIR.example.ORG", "fhir.example.org.", "fhir.example.org.evil.test", "evil.test"),
    *("[2001:db8::7]", "[2001:DB8::7]", "[2001:db8:0::7]", "[::1]", "[::ffff:127.0.0.1]", "2001:db8::7"),
    *(
        "127.0.0.1",
        "127.1",
        "localhost",
        "fhir\u3002example.org",
        "f\u0131r.example.org",
        "%66hir.example.org",
    ),
)
USERS = ("", "", "", "", "@", "user@", "user:secret@", "fhir.example.org@", "evil.test\\@", "a%40b@")
ENDS = ("", "", "", ":443", ":8443", ":8099", ":80", ":", ":0443", ":99999", ":x", "\\", "#", "?")
STEPS = (
    *("r4", "fhir", "Patient", "p1", "R4", "r40", "..", ".", "", "%2e%2e", "%2E.", "..%2f", "..%5c", "..\\"),
    *("..;", ".;x", "%252e%252e", "r4%2f..", "evil.test", "%72%34", "\u2025", "a:b", "@evil.test"),
)
addresses = st.builds(
    "{}://{}{}{}{}{}".format,
    st.sampled_from(("https", "http", "HTTPS", "ftp", "https:", "")),
    st.sampled_from(USERS),
    st.sampled_from(HOSTS),
    st.sampled_from(ENDS),
    st.lists(st.sampled_from(STEPS), max_size=5).map(lambda steps: "".join(f"/{one}" for one in steps)),
    st.sampled_from(("", "", "?page=2", "#here", "?a=/../x", "?@evil.test")),
)
raw = st.text("/\\.:@?#%25e[]fhirexample.org-evil", max_size=40)
mangled = st.tuples(addresses, st.integers(0, 60), st.sampled_from("/\\.:@?#%[];\t\n \0\u2044\uff0f")).map(
    lambda one: one[0][: one[1]] + one[2] + one[0][one[1] :]
)
links = st.one_of(
    addresses,
    mangled,
    raw,
    st.sampled_from(BASES).flatmap(lambda base: raw.map(lambda rest: base + rest)),
    raw.map(lambda rest: f"//{rest}"),
)


@seeded
@given(links, st.sampled_from(BASES))
@example("https://fhir.example.org@evil.test/r4", BASES[0])
@example("https://fhir.example.org/r4/..%252f..%252fadmin", BASES[0])
@example("https://[2001:db8::7]:8443/r4/../x", BASES[1])
def test_what_is_held_lies_on_the_origin_and_below_the_base(link: str, base: str) -> None:
    origin = Origin(base)
    resolved = origin.resolve(link)
    if origin.holds(resolved):
        assert lies_below(resolved, base)
        assert shown(resolved) == shown(base)
    if origin.is_place_of(resolved):
        assert urlsplit(resolved).netloc and _parts(resolved)[:3] == _parts(base)[:3]


plain = st.text("abcXYZ019-_~", min_size=1, max_size=8)


@settings(seeded, max_examples=150)
@given(st.sampled_from(BASES), st.lists(plain, max_size=4), st.text("ab=&,|:/1-", max_size=20))
def test_what_lies_there_in_plain_words_is_held(base: str, steps: list[str], query: str) -> None:
    origin = Origin(base)
    link = "/".join([base, *steps]) + (f"?{query}" if query else "")
    scheme, _, rest = link.partition(":")
    for url in (link, f"{scheme.upper()}:{rest}", link.replace("fhir.example.org", "FHIR.example.org:443")):
        assert lies_below(url, base)
        assert origin.holds(url)


@settings(seeded, max_examples=150)
@given(links.filter(str.isascii).filter(str.isprintable), st.sampled_from(BASES))
@example("https://fhir.example.org@evil.test/r4", BASES[0])
@example("/r4/../admin", BASES[0])
@example("../../admin", BASES[1])
@example("a:2", BASES[0])
def test_wherever_a_server_sends_us_on_nothing_leaves_the_base(link: str, base: str) -> None:
    server = FakeFhir(base=base)
    server.bend("", status(302, Location=link))
    server.bend("", status(404), times=9)
    client = Client(base, transport=server.transport, token=CANARY, patience=VirtualTime().patience())
    with suppress(MsctError):
        client.read("Patient", "p1")
    assert len(server.requests) <= 2
    assert [one for one in server.requests if not lies_below(str(one.url), base)] == []


@settings(seeded, max_examples=150)
@given(links.filter(str.isascii).filter(str.isprintable), st.sampled_from(BASES))
def test_wherever_a_next_link_leads_nothing_leaves_the_base(link: str, base: str) -> None:
    server = FakeFhir(base=base)
    server.bend("", lambda request: reply(200, bundle([], link)))
    server.bend("", status(404), times=9)
    client = Client(base, transport=server.transport, token=CANARY, patience=VirtualTime().patience())
    with suppress(MsctError):
        list(client.search("Patient", {"_id": "p1"}))
    assert len(server.requests) <= 2
    assert [one for one in server.requests if not lies_below(str(one.url), base)] == []


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
