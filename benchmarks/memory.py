"""Peak memory of our pull: of searches of two sizes, of a large exported file, of the same file on disk.

    python benchmarks/memory.py [--sizes 10000,100000] [--bytes 1000000000]

`--sizes 10000,1000000` is the long run.
"""

import argparse
import tempfile
from pathlib import Path

import bulk_server
from pulling import OF_A_PATIENT
from ratios import HERE, Ratio, child, table
from serving import Serving

LARGEST_MB = 200
FLAT = 1.25
"""What counts as flat: one and a quarter times the memory for ten times the resources."""


def searches(sizes: list[int], page_size: int) -> list[Ratio]:
    """The peak of a pull of each size, and how much it grows from the first to the last."""
    peaks = []
    for size in sizes:
        patients = max(1, size // OF_A_PATIENT)
        with (
            tempfile.TemporaryDirectory() as home,
            Serving("--size", str(size), "--patients", str(patients)) as url,
        ):
            rows = Path(home) / "rows"
            peaks.append(child("client_ours.py", url, patients, page_size, rows)["peak_mb"])
    found = [
        Ratio(f"peak memory, pull of {size:,} by search", peak, LARGEST_MB, unit="MB")
        for size, peak in zip(sizes, peaks, strict=True)
    ]
    grown = f"memory at {sizes[-1]:,} / at {sizes[0]:,}"
    return [*found, Ratio(grown, peaks[-1] / peaks[0], FLAT)]


def files(size: int, patients: int = 100) -> list[Ratio]:
    """The peak of a pull of one large file: exported by a server, and lying on disk."""
    serving = Serving("--bytes", str(size), "--patients", str(patients), script=HERE / "bulk_server.py")
    with serving as url:
        exported = child("client_bulk.py", url, patients)
    with tempfile.TemporaryDirectory() as home:
        with (Path(home) / "Observation.ndjson").open("wb") as out:
            for _, part in bulk_server.blocks(size, patients):
                out.write(part)
        read = child("client_bulk.py", "http://127.0.0.1:1", patients, home)
    named = f"{size / 1e6:,.0f} MB in one file"
    assert exported["received"] == read["received"]
    return [
        Ratio(f"peak memory, {where} {named}", one["peak_mb"], LARGEST_MB, unit="MB", note=_speed(size, one))
        for where, one in (("$export of", exported), ("pull --from", read))
    ]


def _speed(size: int, one: dict[str, float]) -> str:
    return f"{one['received']:,.0f} resources, {size / 1e6 / one['seconds']:.0f} MB a second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000")
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--page-size", type=int, default=500)
    asked = parser.parse_args()
    sizes = [int(size) for size in asked.sizes.split(",")]
    print(table([*searches(sizes, asked.page_size), *files(asked.bytes)]))


if __name__ == "__main__":
    main()
