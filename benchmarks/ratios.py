"""What a benchmark hands over: ratios of one run, each beside its target, and how they are shown."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent


class Ratio(NamedTuple):
    """One number: a ratio, or megabytes; `target` 0 where it is only told."""

    name: str
    value: float
    target: float = 0.0
    at_most: bool = True
    unit: str = "x"
    note: str = ""

    @property
    def judged(self) -> str:
        """`pass`, `MISS`, or nothing where there is no target."""
        if not self.target:
            return ""
        good = self.value <= self.target if self.at_most else self.value >= self.target
        return "pass" if good else "MISS"

    @property
    def row(self) -> str:
        """A line of a Markdown table."""
        wanted = (
            f"{'at most' if self.at_most else 'at least'} {self.target:g} {self.unit}" if self.target else ""
        )
        digits = 0 if self.unit == "MB" else 2
        return (
            f"| {self.name} | {self.value:.{digits}f} {self.unit} | {wanted} | {self.judged} | {self.note} |"
        )


HEAD = "| measured | result | target | | |\n|---|--:|---|---|---|"


def table(ratios: Sequence[Ratio]) -> str:
    """A Markdown table."""
    return "\n".join([HEAD, *(one.row for one in ratios)])


def alternated(
    rounds: int, ours: Callable[[], dict[str, Any]], bare: Callable[[], dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Both in turn, so that other work on the machine meets both; which goes first alternates."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            second = bare()
            pairs.append((ours(), second))
        else:
            pairs.append((ours(), bare()))
    return pairs


def median(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], of: str = "seconds") -> float:
    """The median of the ratios, round by round."""
    return statistics.median(one[of] / other[of] for one, other in pairs)


def child(script: str, *arguments: object, python: str = sys.executable) -> dict[str, Any]:
    """What a client says of itself, run in a process of its own; raises with its words where it fails."""
    done = subprocess.run(
        [python, str(HERE / script), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
