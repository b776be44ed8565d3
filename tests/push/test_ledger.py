"""The ledger: an intent is known before anything is sent, and equal content has equal hashes."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_msct.archive import ledger, schema
from fhir_msct.archive.digest import digest
from fhir_msct.archive.ledger import APPLIED, CONFLICT, INTENT, RETRACTED, Operation

TARGET = "http://127.0.0.1/fhir"
OP = Operation("Observation", "msct-a", "f00")
KEY = ("Observation", "msct-a")


@pytest.fixture(params=["", None])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "a.sqlite", isolation_level=request.param)
    schema.migrate(connection, tmp_path / "a.sqlite")
    yield connection
    connection.close()


def other(db: sqlite3.Connection) -> dict[tuple[str, str], ledger.Entry]:
    """What a second process would see: only what has been committed."""
    path = db.execute("pragma database_list").fetchone()[2]
    second = sqlite3.connect(path)
    try:
        return ledger.entries(second, TARGET)
    finally:
        second.close()


def test_an_intent_is_committed_before_anything_is_sent(db: sqlite3.Connection) -> None:
    ledger.intend(db, TARGET, [OP], "2024-01-01T00:00:00Z")
    entry = other(db)[KEY]
    assert (entry.state, entry.sha256, entry.version) == (INTENT, "f00", None)


def test_what_the_server_holds_settles_the_intent(db: sqlite3.Connection) -> None:
    ledger.intend(db, TARGET, [OP], "2024-01-01T00:00:00Z")
    ledger.settle(db, TARGET, [(OP, "3")])
    entry = other(db)[KEY]
    assert (entry.state, entry.version, entry.attempts) == (APPLIED, "3", 1)


def test_the_time_of_the_first_sending_stays(db: sqlite3.Connection) -> None:
    ledger.intend(db, TARGET, [OP], "2024-01-01T00:00:00Z")
    ledger.intend(db, TARGET, [OP], "2024-02-02T00:00:00Z")
    entry = ledger.entries(db, TARGET)[KEY]
    assert (entry.first_sent, entry.attempts) == ("2024-01-01T00:00:00Z", 2)


def test_a_retraction_is_a_state_of_its_own(db: sqlite3.Connection) -> None:
    gone = Operation("Observation", "msct-a", "bad", RETRACTED)
    ledger.settle(db, TARGET, [(OP, "1")])
    ledger.intend(db, TARGET, [gone], "2024-01-01T00:00:00Z")
    assert ledger.entries(db, TARGET)[KEY].state == INTENT
    ledger.settle(db, TARGET, [(gone, "2")])
    assert ledger.entries(db, TARGET)[KEY].state == RETRACTED


def test_a_conflict_keeps_what_was_known_before(db: sqlite3.Connection) -> None:
    ledger.settle(db, TARGET, [(OP, "1")])
    ledger.conflict(db, TARGET, [Operation("Observation", "msct-a", "other")])
    entry = other(db)[KEY]
    assert (entry.state, entry.sha256, entry.version) == (CONFLICT, "f00", "1")


def test_each_server_has_its_own_row(db: sqlite3.Connection) -> None:
    ledger.settle(db, TARGET, [(OP, "1")])
    assert ledger.entries(db, "https://elsewhere/fhir") == {}


def test_a_batch_of_intents_is_all_or_nothing(db: sqlite3.Connection) -> None:
    wrong = Operation("Observation", "msct-b", "f00", "NEVER")
    with pytest.raises(sqlite3.IntegrityError):
        ledger.intend(db, TARGET, [OP, wrong], "2024-01-01T00:00:00Z")
    assert ledger.entries(db, TARGET) == {}
    ledger.intend(db, TARGET, [OP], "2024-01-01T00:00:00Z")
    assert len(other(db)) == 1


SAME = {
    "order and space": b'{ "b": "x",\n "a": 1 }',
    "meta": b'{"a": 1, "b": "x", "meta": {"versionId": "7"}}',
    "narrative": b'{"a": 1, "b": "x", "text": {"status": "generated"}}',
    "spelling of a number": b'{"a": 1.00, "b": "x"}',
    "exponent": b'{"a": 10e-1, "b": "x"}',
}


@pytest.mark.parametrize("spelling", SAME)
def test_content_is_equal_however_a_server_spells_it(spelling: str) -> None:
    assert digest(SAME[spelling]) == digest(b'{"a": 1, "b": "x"}')


def test_a_reference_is_equal_without_base_and_version_and_its_extension_counts() -> None:
    versioned = b'{"derivedFrom": [{"reference": "http://h/fhir/Observation/a/_history/3"}]}'
    plain = b'{"derivedFrom": [{"reference": "Observation/a"}]}'
    assert digest(versioned, "http://h/fhir/") == digest(plain, "http://h/fhir")
    assert digest(versioned, "http://other/fhir") != digest(plain)

    def said(version: str) -> str:
        text = f"Observation/a/_history/{version}"
        extension = {"url": "urn:fhir-msct:input-version", "valueString": text}
        return digest(json.dumps({"reference": "Observation/a", "extension": [extension]}).encode())

    assert said("3") != said("4")


@pytest.mark.parametrize(
    "changed", [b'{"a": 1.01, "b": "x"}', b'{"a": 1, "b": "y"}', b'{"a": "1", "b": "x"}']
)
def test_content_that_differs_has_another_hash(changed: bytes) -> None:
    assert digest(changed) != digest(b'{"a": 1, "b": "x"}')


def test_each_digit_of_a_number_counts_however_many_there_are() -> None:
    long = b'{"a": 0.1234567890123456789012345678901234567890}'
    assert digest(long) == digest(long.replace(b"90}", b"9}"))
    assert digest(long) != digest(long.replace(b"90}", b"91}"))


@pytest.mark.parametrize("exponent", [b"99999999999999999999", b"-99999999999999999999"])
def test_a_number_that_no_decimal_holds_is_compared_by_its_spelling(exponent: bytes) -> None:
    beyond = b'{"a": 1e%b}' % exponent
    assert digest(beyond) == digest(beyond)
    assert digest(beyond) != digest(beyond.replace(b"1e", b"2e"))
