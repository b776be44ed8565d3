"""A server in a process of its own: `with Serving("--size", "1000") as url: ...`

    python benchmarks/serving.py --size 100000 --patients 100

It says its address on its first line and ends when its standard input does.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import observations
from fhir_msct.sandbox.server import Sandbox


class Serving:
    """One server as a child process; a context manager that gives its address."""

    def __init__(self, *arguments: str, script: Path = Path(__file__)) -> None:
        self._command = [sys.executable, str(script), *arguments]

    def __enter__(self) -> str:
        self._child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._child.stdout is not None
        url = self._child.stdout.readline().strip()
        assert url, "the server did not start"
        return url

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(60)


def resources(size: int, patients: int) -> Iterator[bytes]:
    """The patients, and their Observations."""
    yield from (observations.patient(number).encode() for number in range(patients))
    yield from (one.encode() for one in observations.lines(size, patients))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--patients", type=int, default=100)
    asked = parser.parse_args()
    with Sandbox() as server:
        server.load(resources(asked.size, asked.patients))
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
