"""The fault matrix: what each client makes of thirty Observations when the second page misbehaves.

    python benchmarks/fault_matrix.py [--peers FOLDER] [--date 2026-11-24]

Ours and fhirpy (of the development lock) run here; smart-fetch and FHIR-PYrate run when FOLDER is a virtual
environment that has them (`python -m venv FOLDER; FOLDER/bin/pip install smart-fetch fhir-pyrate`).
Writes docs/fault-matrix.md: what could not be run is left out and named.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults.trouble_server import FAULTS, TroubleServer
from fhir_msct.errors import MsctError

ROOT = Path(__file__).parents[1]
PATIENCE = 90
"""Seconds after which a client counts as hanging."""

FHIRPY = """
import sys
from fhirpy import SyncFHIRClient
found = SyncFHIRClient(sys.argv[1]).resources("Observation").search(patient="p1").fetch_all()
print("ROWS", len(found), len({one["id"] for one in found}))
"""
PYRATE = """
import sys
from fhir_pyrate import Pirate
pirate = Pirate(base_url=sys.argv[1], auth=None, num_processes=1, print_request_url=False)
found = pirate.steal_bundles_to_dataframe(resource_type="Observation", request_params={"patient": "p1"})
print("ROWS", len(found), found["id"].nunique())
"""
Runner = Callable[[TroubleServer, Path], str]


def ours(server: TroubleServer, folder: Path) -> str:
    """What our pull says, by the same assertions as the test."""
    from faults.test_fault_matrix import RIGHT, held, pulled

    RIGHT[server.fault](folder, server)
    with contextlib.suppress(MsctError):
        if server.fault not in ("expired", "login"):
            report = pulled(folder, server)
            if not report.complete:
                return f"{held(folder)}, PARTIAL, exit 2: {report.problems[0].rpartition(': ')[2]}"
            rows = held(folder)
            return f"{rows}, complete" + (
                "" if rows == len(server.rows) else f" ({len(server.rows)} rows came)"
            )
    return "30, complete, with a new token" if server.fault == "expired" else "stops, exit 3: names the page"


def script(python: Path, text: str) -> Runner:
    """A client that is driven by a few lines of Python."""

    def run(server: TroubleServer, folder: Path) -> str:
        said = _run([str(python), "-c", text, server.url], folder)
        return said if isinstance(said, str) else _told(said)

    return run


def smart_fetch(program: Path) -> Runner:
    """smart-fetch, crawling by search."""

    def run(server: TroubleServer, folder: Path) -> str:
        out = folder / "out"
        options = ["--export-mode", "crawl", "--type", "Observation", "--id-list", "p1"]
        more = ["--no-compression", "--no-default-filters", "--hydration-tasks", "none"]
        done = _run([str(program), "export", str(out), "--fhir-url", server.url, *options, *more], folder)
        ids = [
            json.loads(line)["id"]
            for path in out.rglob("*Observation*.ndjson")
            if not path.is_symlink()
            for line in path.read_text().splitlines()
        ]
        rows = f"{len(ids)}" + (f" ({len(set(ids))} different)" if len(set(ids)) < len(ids) else "")
        return f"{rows}, {done}" if isinstance(done, str) else f"{rows}, exit {done.returncode}"

    return run


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str] | str:
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"still running after {PATIENCE} s"


def _told(done: subprocess.CompletedProcess[str]) -> str:
    for line in done.stdout.splitlines():
        if line.startswith("ROWS"):
            rows, unique = line.split()[1:]
            return f"{rows}, no error" + (f" ({unique} different)" if unique != rows else "")
    named = re.findall(r"^[\w.]*?(\w+)(?::.*)?$", done.stderr, re.M)
    return f"raises {(named or ['an error'])[-1]}, all lost"


def clients(peers: Path | None) -> tuple[dict[str, Runner], list[str]]:
    """The columns that can be run here, and the names of those that cannot."""
    found: dict[str, Runner] = {f"fhir-msct {version('fhir-msct')}": ours}
    found[f"fhirpy {version('fhirpy')}"] = script(Path(sys.executable), FHIRPY)
    absent = []
    for name, module in (("smart-fetch", "smart_fetch"), ("FHIR-PYrate", "fhir_pyrate")):
        release = _release(peers, module.replace("_", "-"))
        if peers is None or not release:
            absent.append(name)
        elif module == "smart_fetch":
            found[f"{name} {release}"] = smart_fetch(peers / "bin" / "smart-fetch")
        else:
            found[f"{name} {release}"] = script(peers / "bin" / "python", PYRATE)
    return found, absent


def _release(peers: Path | None, package: str) -> str:
    if peers is None or not (peers / "bin" / "python").exists():
        return ""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run(
        [str(peers / "bin" / "python"), "-c", code], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--date", default=datetime.now(UTC).date().isoformat())
    asked = parser.parse_args()
    columns, absent = clients(asked.peers.absolute() if asked.peers else None)
    cells: dict[tuple[str, str], str] = {}
    for fault in FAULTS:
        for name, runner in columns.items():
            began = time.monotonic()
            with TroubleServer(fault) as server, tempfile.TemporaryDirectory() as folder:
                cells[fault, name] = runner(server, Path(folder))
            print(
                f"{fault:10} {name:22} {cells[fault, name]}  ({time.monotonic() - began:.1f} s)", flush=True
            )
    (ROOT / "docs" / "fault-matrix.md").write_text(page(cells, list(columns), absent, asked.date))
    return 0


def page(cells: dict[tuple[str, str], str], names: list[str], absent: list[str], date: str) -> str:
    """docs/fault-matrix.md."""
    rows = [f"| Fault on page 2 | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    rows += [
        f"| {said} | {' | '.join(cells[fault, name] for name in names)} |" for fault, said in FAULTS.items()
    ]
    left_out = f"Not run here, and left out: {', '.join(absent)}.\n" if absent else ""
    return (
        "# The fault matrix\n\n"
        "A server holds 30 Observations of one patient in 3 pages, and its second page misbehaves in ten\n"
        "ways. Each client asks for all of them over real HTTP, with the retries it has by default.\n"
        f"Measured on {date} by `python benchmarks/fault_matrix.py`, which writes this page; our column is\n"
        "also a test (`tests/faults/test_fault_matrix.py`).\n"
        f"{left_out}\n" + "\n".join(rows) + "\n\n"
        "A number is the rows that the client handed over. Right is: all of them, or an error that nobody\n"
        "can overlook. Repeated rows are right when the 25 different ones are there once. A token that\n"
        "expired can only be renewed by a client that was given a key; the peers had none.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
