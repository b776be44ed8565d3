"""The reader beside the fastest general parsers: lines a second, as ratios in one run.

    python benchmarks/reader.py [LINES]

`orjson.loads` of every line and nothing else is the base; `msgspec.json.decode` stands beside it. Ours reads
the file, checks UTF-8, decides the scope, converts units exactly, and gives a record, a reason or "out of
scope" for every line. What a line costs depends on whether it is in scope, so several shares are measured.
In every round the reader is new: nothing is remembered from the round before.
"""

import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson

import observations
from fhir_msct import Mapping

ROUNDS = 7
SHARES = (0.0, 0.05, 0.26, 1.0)
"""Parts of the lines that are in scope; of the invented ones about one in four is."""


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process, so that other work on the machine counts less."""
    start = time.process_time()
    work()
    return time.process_time() - start


def parsed(parse: Callable[[bytes], object], bodies: list[bytes]) -> None:
    for body in bodies:
        parse(body)


def read(mapping: Mapping, path: Path) -> None:
    for _ in mapping.read_ndjson(path):
        pass


def by_scope(folder: Path, lines: int) -> tuple[list[bytes], list[bytes]]:
    """Invented lines: those in scope, and the others."""
    path = folder / "all.ndjson"
    observations.write(path, lines)
    bodies = path.read_bytes().splitlines()
    wanted = [bool(reading.records) for reading in Mapping.load().read_ndjson(path)]
    pairs = list(zip(bodies, wanted, strict=True))
    return [body for body, mine in pairs if mine], [body for body, mine in pairs if not mine]


def mixed(within: list[bytes], beyond: list[bytes], share: float, lines: int) -> list[bytes]:
    """So many lines, of which this share is in scope, in any order."""
    chance, count = random.Random(7), round(lines * share)
    chosen = chance.choices(within, k=count) + chance.choices(beyond, k=lines - count)
    chance.shuffle(chosen)
    return chosen


def measure(lines: list[bytes], path: Path) -> list[tuple[float, float, float]]:
    """CPU seconds of orjson, msgspec and ours over the same lines, in turn."""
    path.write_bytes(b"\n".join(lines) + b"\n")
    bodies = path.read_bytes().splitlines()  # side by side in memory, as a file's lines are
    rounds = []
    for _ in range(ROUNDS):
        mapping = Mapping.load()
        rounds.append(
            (
                seconds(lambda: parsed(orjson.loads, bodies)),
                seconds(lambda: parsed(msgspec.json.decode, bodies)),
                seconds(lambda m=mapping: read(m, path)),  # type: ignore[misc]
            )
        )
    return rounds


def main(lines: int) -> None:
    """Measures each share, and prints medians and ratios."""
    with tempfile.TemporaryDirectory() as home:
        within, beyond = by_scope(Path(home), lines)
        size = sum(map(len, within + beyond)) / lines
        print(f"{lines} lines of {size:.0f} bytes, {ROUNDS} rounds, one core; lines a second")
        print("in scope   orjson.loads   msgspec.json.decode   read_ndjson   ratio to orjson   to msgspec")
        gc.disable()
        for share in SHARES:
            rounds = measure(mixed(within, beyond, share, lines), Path(home) / "mixed.ndjson")
            base, other, ours = (lines / statistics.median(column) for column in zip(*rounds, strict=True))
            ratios = [statistics.median(row[n] / row[2] for row in rounds) for n in (0, 1)]
            print(
                f"{share:8.0%}   {base:12,.0f}   {other:19,.0f}   {ours:11,.0f}"
                f"   {ratios[0]:15.2f}   {ratios[1]:10.2f}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000)
