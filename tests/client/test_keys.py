"""The key pair of a study: the private half in one file for its owner, the public half for the hospital."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey, OctKey, RSAKey
from typer.testing import CliRunner

from fhir_msct.cli import app
from fhir_msct.client.keys import FILE, Algorithm, make, read_key
from fhir_msct.errors import ConfigError, UsageError

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def kept(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def jwk(key: Any, **more: Any) -> str:
    return json.dumps(key.as_dict(private=True) | more)


@pytest.mark.parametrize(("alg", "kty"), [("RS384", "RSA"), ("ES384", "EC")])
def test_a_new_key_is_its_owners_only_and_reads_back(tmp_path: Path, alg: Algorithm, kty: str) -> None:
    before = os.umask(0)
    try:
        made = make(tmp_path / "key", alg)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    read = read_key(tmp_path / "key")
    assert (read.alg, read.kid, read.jwks) == (alg, made.kid, made.jwks)
    (public,) = made.jwks["keys"]
    assert (public["kty"], public["alg"], public["use"]) == (kty, alg, "sig")
    assert public.keys().isdisjoint(PRIVATE)
    assert "d" in json.loads((tmp_path / "key").read_text())


def test_an_rsa_key_is_long_enough_for_years(tmp_path: Path) -> None:
    make(tmp_path / "key", "RS384")
    assert RSAKey.import_key(json.loads((tmp_path / "key").read_text())).private_key.key_size >= 3072  # type: ignore[union-attr]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    made = make(tmp_path / "key", "ES384")
    with pytest.raises(UsageError, match="never overwritten"):
        make(tmp_path / "key", "ES384")
    assert read_key(tmp_path / "key").kid == made.kid


def test_a_link_in_the_keys_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError):
        make(tmp_path / "key", "ES384")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        make(tmp_path / "absent" / "key", "ES384")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o610])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    make(tmp_path / "key", "ES384")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_key(tmp_path / "key")


def test_a_key_comes_as_jwk_as_a_set_of_one_and_as_pem(tmp_path: Path) -> None:
    for key in (ECKey.generate_key("P-384"), RSAKey.generate_key(2048)):
        texts = (jwk(key, kid="mine"), json.dumps({"keys": [json.loads(jwk(key, kid="mine"))]}))
        kids = [read_key(kept(tmp_path / "key", text)).kid for text in texts]
        pem = read_key(kept(tmp_path / "key", key.as_pem(private=True)))
        assert [*kids, pem.kid] == ["mine", "mine", key.thumbprint()]


def test_the_use_that_a_private_key_names_does_not_reach_the_public_one(tmp_path: Path) -> None:
    key = ECKey.generate_key("P-384", {"key_ops": ["sign"]})
    (public,) = read_key(kept(tmp_path / "key", jwk(key, x5u="https://a.test", note="mine"))).jwks["keys"]
    assert public["key_ops"] == ["verify"]
    assert public.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use", "key_ops"}


REFUSED: dict[str, Any] = {
    "nothing": lambda: "",
    "no key": lambda: "canary",
    "a list": lambda: "[]",
    "another object": lambda: "{}",
    "two keys": lambda: json.dumps({"keys": [json.loads(jwk(ECKey.generate_key("P-384")))] * 2}),
    "P-256": lambda: jwk(ECKey.generate_key("P-256")),
    "P-521 as PEM": lambda: ECKey.generate_key("P-521").as_pem(private=True),
    "a secret": lambda: jwk(OctKey.generate_key(256)),
    "a public key": lambda: json.dumps(ECKey.generate_key("P-384").as_dict(private=False)),
    "for RS256": lambda: jwk(RSAKey.generate_key(2048), alg="RS256"),
    "a short one": lambda: short(),
    "a broken one": lambda: json.dumps({"kty": "RSA", "n": "canary!", "e": "AQAB", "d": "!!"}),
    "broken PEM": lambda: "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
    "bytes": lambda: b"\xff\xfe",
}


def short() -> bytes:
    """An RSA key of 1024 bits."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  (that is the point)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_key_for_this_is_refused_without_its_text(tmp_path: Path, name: str) -> None:
    text = REFUSED[name]()
    with pytest.raises(ConfigError) as caught:
        read_key(kept(tmp_path / "key", text))
    assert str(tmp_path / "key") in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_command_prints_the_public_half_and_nothing_else(tmp_path: Path) -> None:
    run = CliRunner().invoke
    made = run(app, ["keys", str(tmp_path)])
    assert made.exit_code == 0
    path = tmp_path / FILE
    assert json.loads(made.stdout) == read_key(path).jwks
    assert str(path) in made.stderr
    private = json.loads(path.read_text())["d"]
    assert private not in made.output
    again = run(app, ["keys", str(tmp_path)])
    assert isinstance(again.exception, UsageError)
    shown = run(app, ["keys", str(tmp_path), "--show"])
    assert (shown.stdout, shown.stderr) == (made.stdout, "")


def test_the_command_makes_either_kind_in_a_file_of_ones_choice(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.json"
    run = CliRunner().invoke(app, ["keys", str(tmp_path), "--alg", "RS384", "--to", str(path)])
    assert run.exit_code == 0
    assert read_key(path).alg == "RS384"
    assert not (tmp_path / FILE).exists()
