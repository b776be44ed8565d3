"""Every speed that we publish, in one go: prints the ratios, and writes docs/speed.md with `--write`.

    python benchmarks/speed.py [--small] [--write] [--only pulling,memory,pushing,hapi]

`--small` is a trial run of a few minutes. The long run of the memory is `memory.py --sizes 10000,1000000`.
"""

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import hapi_server
import memory
import pulling
import pushing
from peers import WANTED
from ratios import Ratio, table

DOCS = Path(__file__).parents[1] / "docs" / "speed.md"
SECTIONS = ("pulling", "memory", "pushing", "hapi")
PAGE_SIZE = 500
ROUNDS = {False: 3, True: 1}
"""By whether the run is a small one."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--date", default=datetime.now(UTC).date().isoformat())
    asked = parser.parse_args()
    parts: list[tuple[str, str]] = []
    for section in asked.only.split(","):
        ratios, why = run(section, small=asked.small, others=not asked.no_peers)
        parts.append((section, why or table(ratios)))
        print(f"\n{section}\n\n{parts[-1][1]}", flush=True)
    if asked.write:
        _, title, found = DOCS.read_text("utf-8").partition(FOUND)
        DOCS.write_text(f"{page(parts, asked.date, ROUNDS[asked.small])}\n{title}{found}", encoding="utf-8")
    return 0


def run(section: str, *, small: bool, others: bool) -> tuple[list[Ratio], str]:
    """The ratios of one section, or why there are none."""
    rounds = ROUNDS[small]
    if section == "pulling":
        size = 10_000 if small else 100_000
        return pulling.measure(size, rounds, PAGE_SIZE, others=others), ""
    if section == "memory":
        sizes = [1_000, 10_000] if small else [10_000, 100_000]
        size = 50_000_000 if small else 1_000_000_000
        return [*memory.searches(sizes, PAGE_SIZE), *memory.files(size)], ""
    if section == "pushing":
        return pushing.measure(1 if small else 10, rounds), ""
    return hapi_server.measure(2_000 if small else 10_000, rounds, PAGE_SIZE, others=others)


def page(parts: list[tuple[str, str]], date: str, rounds: int) -> str:
    """The measured part of docs/speed.md."""
    busy = os.getloadavg()[1] / (os.cpu_count() or 1)
    absent = [section for section in SECTIONS if section not in dict(parts)]
    parts = [*parts, *((section, "Not measured in this run.") for section in absent)]
    sections = "\n\n".join(f"## {TITLES[section]}\n\n{said}" for section, said in parts)
    return (
        HEAD.format(
            date=date,
            rounds=rounds,
            product=version("fhir-msct"),
            python=platform.python_version(),
            cores=os.cpu_count(),
            peers=", ".join(WANTED[:2]),
            busy=f"{busy:.1f}",
            httpx=version("httpx"),
        )
        + f"\n{sections}\n"
    )


TITLES = {
    "pulling": "Pulling from the sandbox",
    "memory": "Memory",
    "pushing": "Pushing to the sandbox",
    "hapi": "A real HAPI FHIR server",
}
HEAD = """# Speed and memory

Written by `python benchmarks/speed.py --write` on {date}: fhir-msct {product}, Python {python}, httpx
{httpx}, {peers}, {cores} cores on which {busy} processes a core wanted to run at the end.

Ours and the bare loop alternate: shown is the median of the ratios of {rounds} round(s). The other clients
run once, right after. A server, and each client, is a process of its own. What each client holds was
compared with what the server was given before any time was:
where a client has other digits, it has made 5.40 a 5.4.

The sizes are in the names. Numbers of a machine that others keep busy say what it was like there;
`make bench` measures 100,000 Observations, a file of 1 GB and a HAPI with 10,000 on yours.

The bare loop is httpx asking for the same pages, of as many patients a search, and throwing them away: it
counts nothing, checks nothing and keeps nothing. Ours asks for counts before and after, checks every byte,
and does not go on before the disk is sure of what it holds.
"""
FOUND = "## What was found on the way"
"""Where the part of the page begins that people write: it stays as it is."""

if __name__ == "__main__":
    sys.exit(main())
