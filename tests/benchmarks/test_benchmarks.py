"""The benchmarks at a tiny size: they run, and they compare results before they compare times."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def said(script: str, *arguments: str) -> str:
    """What a benchmark prints."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def values(table: str) -> dict[str, float]:
    """The number of each row."""
    return {name: float(value) for name, value in re.findall(r"^\| ([^|]+) \| ([\d.]+) \w+ \|", table, re.M)}


@pytest.mark.slow
def test_a_small_pull_is_measured_beside_a_bare_loop_and_its_digits_are_compared() -> None:
    told = said("pulling.py", "--size", "300", "--rounds", "1", "--page-size", "100", "--no-peers")

    assert "300 rows, every digit as sent" in told
    assert values(told)["pull of 300 / bare download of the same pages"] > 0


@pytest.mark.slow
def test_a_file_that_is_longer_than_a_thousand_lines_is_pulled_from_a_server_and_from_disk() -> None:
    told = said("memory.py", "--sizes", "100,200", "--bytes", "1400000", "--page-size", "100")

    assert told.count("2,000 resources") == 2
    assert 0 < values(told)["peak memory, pull of 200 by search"] < 200


@pytest.mark.slow
def test_a_push_is_measured_beside_the_same_bundles_posted() -> None:
    told = said("pushing.py", "--copies", "1", "--rounds", "1")

    assert "168 resources in" in told
    assert values(told)["sending of a push / bare POSTs of the same bundles"] > 0


@pytest.mark.soak
def test_memory_is_flat_from_ten_thousand_resources_to_a_million() -> None:
    told = said("memory.py", "--sizes", "10000,1000000")

    assert "MISS" not in told
