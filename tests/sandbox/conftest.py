"""One sandbox serves all tests of this folder, emptied before each; its clock stands still unless moved."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from fhir_msct.sandbox import Sandbox

START = datetime(2024, 6, 1, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **step: int) -> None:
        self.now += timedelta(**step)


@pytest.fixture(scope="session")
def clock_of_all() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def sandbox_of_all(clock_of_all: Clock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock_of_all) as server:
        yield server


@pytest.fixture(scope="session")
def http_of_all(sandbox_of_all: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox_of_all.url, trust_env=False) as client:
        yield client


@pytest.fixture
def clock(clock_of_all: Clock) -> Clock:
    clock_of_all.now = START
    return clock_of_all


@pytest.fixture
def server(sandbox_of_all: Sandbox, clock: Clock) -> Sandbox:
    sandbox_of_all.clear()
    return sandbox_of_all


@pytest.fixture
def http(server: Sandbox, http_of_all: httpx.Client) -> httpx.Client:
    return http_of_all
