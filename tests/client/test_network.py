"""The way to a server over a real wire: its certificate is checked, ours shown, a named proxy used."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fhir_msct import plan as plans
from fhir_msct.client.connect import connect
from fhir_msct.client.network import Network
from fhir_msct.errors import ConfigError, Unreachable
from fhir_msct.sandbox import Sandbox
from lib.loopback import serving
from lib.virtual_time import VirtualTime

METADATA = b'{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1"}'
Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certificate(name: str, by: Pair | None = None, *, days: int = 9, host: str = "127.0.0.1") -> Pair:
    """A certificate and its key, signed by another one or by itself."""
    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = today - timedelta(days=10)
    built = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(by[0].subject if by else called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(today + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((by[1] if by else key).public_key()),
            critical=False,
        )
    )
    return built.sign(by[1] if by else key, SHA256()), key


def pem(path: Path, pair: Pair, *, key: bool = True) -> Path:
    text = pair[0].public_bytes(Encoding.PEM)
    if key:
        text += pair[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(text)
    path.chmod(0o600)
    return path


class Site:
    """A CA, and servers with certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, certificate("the hospital's CA")
        self.ca_file = pem(folder / "ca.pem", self.ca, key=False)

    def served(self, pair: Pair, *, wants_ours: bool = False) -> "Iterator[str]":
        """The address of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem(self.folder / "server.pem", pair))
        if wants_ours:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_file)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *about: None  # type: ignore[method-assign]  # a refused handshake is expected
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}/fhir"
        server.shutdown()
        server.server_close()
        thread.join()


class Metadata(BaseHTTPRequestHandler):
    """Answers everything with a CapabilityStatement."""

    def do_GET(self) -> None:
        self.server.seen.append(self.requestline) if hasattr(self.server, "seen") else None
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(METADATA)))
        self.end_headers()
        self.wfile.write(METADATA)

    def log_message(self, *about: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def ask(url: str, folder: Path, **keys: Any) -> dict[str, Any]:
    """The CapabilityStatement, asked for as a study.toml with these keys says."""
    lines = [f'{name} = "{value}"' for name, value in keys.items()]
    (folder / "study.toml").write_text("\n".join([f'[server]\nurl = "{url}"', *lines]))
    with connect(url, plans.load(folder), patience=VirtualTime().patience(tries=2)) as client:
        return client.metadata()


def test_a_ca_of_ones_own_makes_a_server_trusted(site: Site) -> None:
    for url in site.served(certificate("server", site.ca)):
        assert ask(url, site.folder, ca_file=site.ca_file)["fhirVersion"] == "4.0.1"


def test_a_server_that_nobody_vouches_for_is_refused(site: Site) -> None:
    for url in site.served(certificate("server", site.ca)):
        with pytest.raises(Unreachable, match="secure connection was refused"):
            ask(url, site.folder)


BAD = {
    "expired": lambda site: certificate("server", site.ca, days=-1),
    "for another host": lambda site: certificate("server", site.ca, host="127.0.0.2"),
    "signed by itself": lambda site: certificate("server"),
    "of another CA": lambda site: certificate("server", certificate("the hospital's CA")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_certificate_that_is_not_right_is_refused(site: Site, name: str) -> None:
    for url in site.served(BAD[name](site)):
        with pytest.raises(Unreachable, match="secure connection was refused"):
            ask(url, site.folder, ca_file=site.ca_file)


def test_a_server_that_asks_for_our_certificate_gets_it(site: Site) -> None:
    ours = pem(site.folder / "ours.pem", certificate("study", site.ca))
    for url in site.served(certificate("server", site.ca), wants_ours=True):
        assert ask(url, site.folder, ca_file=site.ca_file, client_cert_file=ours)
        with pytest.raises(Unreachable):
            ask(url, site.folder, ca_file=site.ca_file)


def test_our_certificates_key_is_for_its_owner_only(site: Site) -> None:
    ours = pem(site.folder / "ours.pem", certificate("study", site.ca))
    ours.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Network(client_cert_file=ours).options()


def test_a_file_that_holds_no_certificate_is_a_configuration_error(site: Site) -> None:
    path = site.folder / "none.pem"
    path.write_text("canary")
    path.chmod(0o600)
    for network in (
        *(Network(ca_file=path), Network(client_cert_file=path), Network(client_cert_file=site.ca_file)),
        *(Network(ca_file=path / "x"), Network(client_cert_file=path / "x")),
    ):
        with pytest.raises(ConfigError) as caught:
            network.options()
        assert "canary" not in str(caught.value)


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    assert Network().options()["verify"].minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.fixture
def proxy() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    server.seen = []  # type: ignore[attr-defined]
    with serving(server):
        yield server


def test_a_proxy_is_used_where_the_study_names_it(tmp_path: Path, proxy: Any) -> None:
    ask("http://127.0.0.1:9/fhir", tmp_path, proxy=f"http://127.0.0.1:{proxy.server_port}")
    assert proxy.seen == ["GET http://127.0.0.1:9/fhir/metadata HTTP/1.1"]


def test_a_proxy_of_the_environment_is_never_used(
    tmp_path: Path, proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
    with Sandbox() as server:
        ask(server.url, tmp_path)
        assert len(server.seen) == 1
    assert proxy.seen == []


def test_certificates_of_the_environment_are_not_believed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.ca_file))
    for url in site.served(certificate("server", site.ca)):
        with pytest.raises(Unreachable):
            ask(url, site.folder)
