"""A server that others use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_msct.sandbox.server import Sandbox
from guest.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """One with five resources of others on it, whose pages hold 20."""
    with Sandbox(page_cap=20) as server:
        yield House(server, tmp_path / "study")
