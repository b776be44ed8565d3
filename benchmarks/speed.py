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
        DOCS.write_text(page(parts, asked.date, ROUNDS[asked.small]), encoding="utf-8")
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
    """docs/speed.md."""
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
        + f"\n{sections}\n{TAIL}"
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
TAIL = """
## What was found on the way

- The end of a pull took a time that grew with the square of its resources: 37 s of processor time for
  10,000 of them, now 0.9 s. SQLite had chosen an index by which it went through the whole run for each row.
- The numbers of a plan with thousands of resources are counted in the database, not in sets of their ids.
- What waits to be written is written in one transaction: rows and cursor together, as before.
- Windows hold up to 5,000 resources, no longer 1,000, and a larger one is parted at once into as many as its
  count asks for: 31 requests for 10,000 Observations of 10 patients, before 56.
- A page of a search is parsed once less, and its codes only where codes were asked for; 50 rows go into the
  database with one statement, and the ids of a page with one.
- A push asks its ledger for the one entry that it needs, and makes and checks the Provenance of the next
  transaction while the server answers.
- The archive has pages of 16 KiB, 12 MiB of them in memory (32 were no quicker), and copies its log into the
  file every 64 MiB: a row costs half of the time it did. Leaving indexes out brought nothing beside that.
- The numbers of a run were counted from a copy of the table that SQLite made in memory: 12 MB at 100,000.
- A long address was taken apart by the HTTP library for each question about it: once is enough.
- A push began to make its next transaction while the intent of this one was written, and each waited for the
  other's turn: now it begins just before the request leaves.
- The bare loop asked for one patient a search when our windows had grown to several, and the sandbox went
  through all resources of a type for each search: 1.66 times as long as that loop was too kind to us. The
  loop asks for as many patients as we do now, and the sandbox begins with its index: 2.75.
- Rows that are as usual go to SQLite in a third of the values: 13 microseconds a row, before 16.
- SQLite keeps each statement at hand, with the rows it was last given; one for each size of a last page took
  60 MB at 1,000,000. There are eight sizes now.
- What an export of 1 GB had brought was counted by a set of its ids: 85 MB. The database counts it.
- What is left of a pull of 100,000: some 90 microseconds of processor time a resource of the client on that
  machine (40 on a quicker one), where a bare loop and the sandbox together take 45. With the other core for
  the server, 1.3 would want those 90 nearly halved and nothing waiting for anything. On HAPI, where a bare
  loop takes 1,100, it does not show.
- A push stands at 1.47.
"""

if __name__ == "__main__":
    sys.exit(main())
