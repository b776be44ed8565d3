"""The case files of `fixtures/cases/`: a resource in, records or a reason out, as data that anyone can run.

The bytes of `resource` are taken as they stand in the file, so digits, escapes and repeated keys survive.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

FOLDER = Path(__file__).parents[2] / "fixtures" / "cases"


class _Strict(Struct, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Expectation(_Strict):
    """One of three: records, a reason why not, or the (system, code) that is out of scope."""

    records: list[dict[str, str | list[str]]] | None = None
    """`type` is the record's class; every other key is a field, as the text of its cell; flags a list."""
    set_aside: str | None = None
    where: str | None = None
    detail: str | None = None
    out_of_scope: tuple[str, str] | None = None


class Study(_Strict):
    """Keys of study.toml that a case changes."""

    timezone: str | None = None
    identifier_system: str | None = None
    accept_status: list[str] | None = None
    accept_event_status: list[str] | None = None
    accept_verification: list[str] | None = None

    def toml(self) -> str:
        """The study.toml that says so."""
        zone = [f'timezone = "{self.timezone}"'] if self.timezone else []
        kept = msgspec.to_builtins(self)
        accepts = [f"{k} = {msgspec.json.encode(v).decode()}" for k, v in kept.items() if k != "timezone"]
        return "\n".join(["[study]", 'id = "case"', *zone, "[records]", *accepts, ""])


class Case(_Strict):
    """One resource, and what must come of it."""

    title: str
    why: str
    expect: Expectation
    resource: Raw = Raw(b"")
    body: str | None = None
    body_hex: str | None = None
    patients: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "p1"}])
    base: str | None = None
    own_mappings: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    study: Study = field(default_factory=Study)
    topic: str = ""

    @property
    def bytes(self) -> bytes:
        """The resource exactly as the file holds it."""
        if self.body_hex is not None:
            return bytes.fromhex(self.body_hex)
        return bytes(self.resource) if self.body is None else self.body.encode()


class CaseFile(_Strict):
    """One topic."""

    topic: str
    cases: list[Case]


def read(path: Path) -> CaseFile:
    """One case file. Raises msgspec.ValidationError where it is not of this shape."""
    return msgspec.json.decode(path.read_bytes(), type=CaseFile)


def cases() -> Iterator[Case]:
    """Every case of every topic."""
    for path in sorted(FOLDER.glob("*.json")):
        for case in read(path).cases:
            case.topic = path.stem
            yield case
