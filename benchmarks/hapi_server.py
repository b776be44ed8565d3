"""The same on a real HAPI FHIR server, which is built and started for it: what `make hapi` needs is needed.

python benchmarks/hapi_server.py [--size 10000] [--rounds 3] [--page-size 500] [--no-peers]
"""

import argparse
import re
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import observations
import pulling
import pushing
from fhir_msct.client.rest import Client
from hapi import trial
from hapi.building import Broken, Unavailable
from hapi.running import Hapi
from ratios import Ratio, child, table

TARGET = 1.2
PAGE_SIZES = (50, 100, 250, 500, 1000)


def measure(size: int, rounds: int, page_size: int, *, others: bool = True) -> tuple[list[Ratio], str]:
    """The ratios; none, and the reason, where HAPI cannot be had here."""
    with tempfile.TemporaryDirectory() as home:
        server = Hapi(log=Path(home) / "hapi.log")
        try:
            server.start()
        except (Unavailable, Broken) as error:
            return [], f"HAPI was not measured: {error}"
        try:
            return _measured(server.url, Path(home), size, rounds, page_size, others=others), ""
        finally:
            server.stop()


def _measured(url: str, home: Path, size: int, rounds: int, page_size: int, *, others: bool) -> list[Ratio]:
    patients = max(1, size // pulling.OF_A_PATIENT)
    _filled(url, size, patients)
    found = _page_sizes(url, size, patients)
    found += pulling.compared(
        url, home, size, patients, rounds, page_size, target=TARGET, others=others, peers_target=0
    )
    found.append(_answered_from_memory(url, size, patients, page_size))
    print(table(found), flush=True)  # what took long is not lost where what follows fails
    with Client(url) as client:
        trial.load(client, trial.lines())
    return [msg._replace(name=f"HAPI: {msg.name}") for msg in [*found, *_pushes(url, home, rounds)]]


def _filled(url: str, size: int, patients: int) -> None:
    """The same Observations as elsewhere; without references to what is not there."""
    with httpx.Client(trust_env=False, timeout=300) as http:
        everybody = [(f"Patient/p{number:05}", observations.patient(number)) for number in range(patients)]
        lines = (
            (f"Observation/o{number:08}", _HANGING.sub("", line))
            for number, line in enumerate(observations.lines(size, patients))
        )
        for source in (iter(everybody), lines):
            while part := list(islice(source, trial.LARGEST)):
                body = trial.transaction((place, line.encode()) for place, line in part)
                answer = http.post(url, content=body, headers={"Content-Type": "application/fhir+json"})
                assert answer.status_code == 200, answer.text[:500]


_HANGING = re.compile(
    r'"encounter":\{[^}]*\},|"performer":\[[^\]]*\],|,"specimen":\{[^}]*\}|"specimen":\{[^}]*\},?'
)


def _page_sizes(url: str, size: int, patients: int) -> list[Ratio]:
    """What the page size alone does to a bare loop."""
    together = pulling.together(patients)
    for _ in range(2):  # the first one warms the server
        took = {
            count: child("client_bare.py", url, patients, count, together, "no-cache")["seconds"]
            for count in PAGE_SIZES
        }
    best = min(took.values())
    return [
        Ratio(
            f"bare download with _count={count} / the quickest",
            took[count] / best,
            note=f"{size / took[count]:,.0f} a second",
        )
        for count in PAGE_SIZES
    ]


def _answered_from_memory(url: str, size: int, patients: int, page_size: int) -> Ratio:
    """What HAPI saves where it may answer a search by what it found up to a minute ago."""
    fresh, stale = (
        child("client_bare.py", url, patients, page_size, pulling.together(patients), control)["seconds"]
        for control in ("no-cache", "max-age=60")
    )
    note = f"{size / stale:,.0f} a second, of what was found a minute ago"
    return Ratio("bare download, fresh / from HAPI's cache", fresh / stale, note=note)


def _pushes(url: str, home: Path, rounds: int, copies: int = 3) -> list[Ratio]:
    """Pushes under study ids of their own, and the same bundles once more under others."""
    bundles: list[bytes] = []
    resources, number = [], iter(range(rounds + 1))

    def ours() -> dict[str, Any]:
        study_id = f"push-a{next(number)}"
        resources[:] = pushing.copied(home / study_id, copies, study_id)
        return pushing.pushed(url, study_id, resources, bundles)

    def bare() -> dict[str, Any]:
        return pushing.posted(url, [_under_other_ids(bundle) for bundle in bundles])

    ours()
    pairs = []
    for _ in range(rounds):
        pairs.append((ours(), bare()))
    return pushing.told(pairs, len(resources), len(bundles), TARGET)


def _under_other_ids(bundle: bytes) -> bytes:
    for id_ in set(re.findall(rb'"url":"(?:Device|ResearchStudy|Provenance|Observation)/([^"]+)"', bundle)):
        bundle = bundle.replace(id_, b"bare" + id_[4:])
    return re.sub(rb"push-a(\d)", rb"push-b\1", bundle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page-size", type=int, default=500)
    parser.add_argument("--no-peers", action="store_true")
    asked = parser.parse_args()
    ratios, why = measure(asked.size, asked.rounds, asked.page_size, others=not asked.no_peers)
    print(why or table(ratios))


if __name__ == "__main__":
    main()
