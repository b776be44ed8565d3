"""The reader beside the fastest general parser: lines a second, as a ratio in one run.

    python benchmarks/reader.py [LINES]

`orjson.loads` of every line and nothing else is the base. Ours reads the file, checks UTF-8, decides the
scope, converts units exactly, and gives a record, a reason or "out of scope" for every line.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

import observations
from fhir_msct import Mapping

ROUNDS = 7


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process, so that other work on the machine counts less."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main(lines: int) -> None:
    """Measures both in turn, prints the medians and their ratio."""
    mapping = Mapping.load()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "Observation.ndjson"
        observations.write(path, lines)
        bodies = path.read_bytes().splitlines()

        def parse() -> None:
            for body in bodies:
                orjson.loads(body)

        def read() -> None:
            for _ in mapping.read_ndjson(path):
                pass

        mapped = sum(bool(reading.records) for reading in mapping.read_ndjson(path))
        gc.disable()
        rounds = [(seconds(parse), seconds(read)) for _ in range(ROUNDS)]
    base, ours = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(one / other for one, other in rounds)
    size = sum(map(len, bodies)) / lines
    print(f"{lines} lines of {size:.0f} bytes, {mapped / lines:.0%} in scope, {ROUNDS} rounds, one core")
    print(f"orjson.loads {lines / base:,.0f}/s   read_ndjson {lines / ours:,.0f}/s   ratio {ratio:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000)
