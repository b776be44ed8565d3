"""One sandbox and one computed trial for all tests of a file; each test gets its own copy of both."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_msct.sandbox.server import Sandbox
from push.small_trial import Trial, lines, resources


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as server:
        yield server


@pytest.fixture(scope="module")
def computed(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study folder after pull, records and outcomes."""
    sandbox.load(lines(resources()))
    trial = Trial(tmp_path_factory.mktemp("computed") / "study", sandbox)
    trial.pull()
    trial.compute()
    return trial.folder


@pytest.fixture
def server(sandbox: Sandbox) -> Sandbox:
    """The server as it was when the trial was pulled: nothing of ours on it."""
    sandbox.clear()
    sandbox.load(lines(resources()))
    return sandbox


@pytest.fixture
def trial(tmp_path: Path, computed: Path, server: Sandbox) -> Trial:
    """A trial that was pulled and computed, and nothing pushed yet."""
    return Trial(Path(shutil.copytree(computed, tmp_path / "study")), server)
