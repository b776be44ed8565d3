"""Pulling Observations by search from the sandbox, beside a bare loop and other people's clients.

    python benchmarks/pulling.py [--size 100000] [--rounds 3] [--page-size 500] [--no-peers]

The bare loop asks for the same pages (as many patients a search, the same `_count`, no answer from a cache),
takes the bodies and keeps nothing. Ours counts before and after, checks, and keeps every byte durably. The
others get all Observations in one search, which is the least they can do.
"""

import argparse
import tempfile
from pathlib import Path

import observations
import peers
from client_ours import VALUE
from fhir_msct.client.windows import LARGEST, PATIENTS
from ratios import Ratio, alternated, child, median, table
from serving import Serving

OF_A_PATIENT = 1000


def measure(size: int, rounds: int, page_size: int, *, others: bool = True) -> list[Ratio]:
    """The ratios; results are compared before any time is."""
    patients = max(1, size // OF_A_PATIENT)
    with (
        tempfile.TemporaryDirectory() as home,
        Serving("--size", str(size), "--patients", str(patients)) as url,
    ):
        return compared(url, Path(home), size, patients, rounds, page_size, others=others)


def compared(
    url: str,
    home: Path,
    size: int,
    patients: int,
    rounds: int,
    page_size: int,
    *,
    target: float = 1.3,
    others: bool = True,
    peers_target: float = 2.0,
) -> list[Ratio]:
    """The ratios of clients of one server that holds `observations.lines(size, patients)`."""
    truth, rows = home / "truth", home / "rows"
    write_truth(truth, size, patients)
    pairs = alternated(
        rounds,
        lambda: child("client_ours.py", url, patients, page_size, rows),
        lambda: child("client_bare.py", url, patients, page_size, together(patients), "no-cache"),
    )
    said = peers.unlike(rows, truth)
    assert said == f"{size} rows, every digit as sent", said
    ours, bare = (
        sorted(one["seconds"] for one in column)[rounds // 2] for column in zip(*pairs, strict=True)
    )
    peak = max(one["peak_mb"] for one, _ in pairs)
    speeds = f"{size / ours:,.0f} a second against {size / bare:,.0f}; {said}"
    cpu = median(pairs, "cpu")
    found = [
        Ratio(f"pull of {size:,} / bare download of the same pages", median(pairs), target, note=speeds),
        Ratio("the same, processor time of the client alone", cpu),
        Ratio(f"peak memory, pull of {size:,} by search", peak, 200, unit="MB"),
    ]
    place = peers.environment() if others else None
    for client, name in (("fhirpy", "fhirpy"), ("pyrate", "FHIR-PYrate")) if place else ():
        took = peers.pulled(client, url, page_size, rows, place)
        note = f"{size / took['seconds']:,.0f} a second; {peers.unlike(rows, truth)}"
        found.append(
            Ratio(f"{name} / our pull", took["seconds"] / ours, peers_target, at_most=False, note=note)
        )
    return found


def together(patients: int) -> int:
    """Patients of one search of ours: a window is parted at once into as many as its count asks for."""
    many = min(patients, PATIENTS)
    return max(1, many // (many * OF_A_PATIENT // LARGEST + 1))


def write_truth(path: Path, size: int, patients: int) -> None:
    """Id and value of each Observation, as the server was given it."""
    with path.open("w", encoding="utf-8") as out:
        for number, line in enumerate(observations.lines(size, patients)):
            value = VALUE.search(line.encode())
            out.write(f"o{number:08}\t{value[1].decode() if value else ''}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page-size", type=int, default=500)
    parser.add_argument("--no-peers", action="store_true")
    asked = parser.parse_args()
    print(table(measure(asked.size, asked.rounds, asked.page_size, others=not asked.no_peers)))


if __name__ == "__main__":
    main()
