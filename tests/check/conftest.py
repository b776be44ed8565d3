"""One sandbox serves all tests of this folder, emptied and filled before each; a study folder beside it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from check.hospital import lines, resources, study
from cli.conftest import command
from fhir_msct import plan as plans
from fhir_msct.sandbox import Sandbox
from fhir_msct.tasks.check import CheckReport, check
from lib.fake_fhir import FakeFhir
from lib.virtual_time import VirtualTime

__all__ = ["command"]

NOW = datetime(2024, 6, 30, 8, 0, tzinfo=UTC)

Examine = Callable[..., CheckReport]


@pytest.fixture(scope="session")
def sandbox_of_all() -> Iterator[Sandbox]:
    with Sandbox(clock=lambda: NOW) as server:
        yield server


@pytest.fixture
def server(sandbox_of_all: Sandbox) -> Sandbox:
    sandbox_of_all.clear()
    sandbox_of_all.load(lines(resources()))
    return sandbox_of_all


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """`examine(server, "[push]", 'url = "..."')` checks a study of that server, real or a transport."""

    def run(
        server: Sandbox | FakeFhir | None,
        *toml: str,
        discover: bool = False,
        folder: Path | None = None,
        **options: Any,
    ) -> CheckReport:
        url = None if server is None else server.url if isinstance(server, Sandbox) else server.base
        home = folder or study(tmp_path / "trial", url, *toml, **options)
        return check(
            home,
            plans.load(home),
            discover=discover,
            transport=server.transport if isinstance(server, FakeFhir) else None,
            patience=VirtualTime().patience(2),
            now=lambda: NOW,
            say=lambda line: None,
        )

    return run
