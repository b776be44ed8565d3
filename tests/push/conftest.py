"""One sandbox for all tests of a file, emptied before each; and the small trial on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from push.small_trial import Trial, lines, resources

from fhir_msct.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as server:
        yield server


@pytest.fixture
def server(sandbox: Sandbox) -> Sandbox:
    sandbox.clear()
    sandbox.load(lines(resources()))
    return sandbox


@pytest.fixture
def trial(tmp_path: Path, server: Sandbox) -> Trial:
    return Trial(tmp_path / "study", server)
