"""Pushing outcomes, beside bare POSTs of the very same transaction Bundles to an empty server of its own.

    python benchmarks/pushing.py [--copies 10] [--rounds 3]

The outcomes are those of the synthetic trial, so many copies of each under ids of their own. Measured is
the sending: from the first byte of the first transaction to the last byte of the answer to the last,
with all that we do in between (intent and answer in the ledger, each on the disk before we go on, and the
check of each Provenance). Outside of it, and not compared, is what bare POSTs do not do at all: asking
the server what it holds, checking that each resource is valid FHIR, and reading back what was written.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec

import fhir_msct as fm
from fhir_msct import data, plan
from fhir_msct.archive.store import Archive
from fhir_msct.client.rest import Client
from fhir_msct.tasks.push import bring
from fhir_msct.tasks.wanted import wanted
from ratios import Ratio, alternated, median, table
from serving import Serving

PROTOCOL = "0" * 64
"""Stands for the hash of plan and mappings that a Provenance names."""


class Recorder(httpx.HTTPTransport):
    """Keeps each transaction that goes by, and when the first began and the last was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.bundles: list[bytes] = []
        self.began = self.ended = self.cpu = 0.0
        self._cpu_began = 0.0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST" or b'"type":"transaction"' not in request.read()[:100]:
            return super().handle_request(request)
        if not self.bundles:
            self.began, self._cpu_began = time.perf_counter(), time.process_time()
        self.bundles.append(request.read())
        answer = super().handle_request(request)
        body = b"".join(cast(Iterable[bytes], answer.stream))
        answer.close()
        self.ended, self.cpu = time.perf_counter(), time.process_time() - self._cpu_began
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(body))


def measure(copies: int, rounds: int) -> list[Ratio]:
    """The ratio of the sending, and what the whole push takes beside it."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "study"
        shall = list(copied(folder, copies))
        bundles: list[bytes] = []

        def ours() -> dict[str, Any]:
            with Serving() as url:
                return pushed(url, "msct", shall, bundles)

        def bare() -> dict[str, Any]:
            with Serving() as url:
                return posted(url, bundles)

        ours()  # the bundles that both send: the ids and digests are the same in every round
        pairs = alternated(rounds, ours, bare)
    return told(pairs, len(shall), len(bundles))


def told(pairs: Any, resources: int, transactions: int, target: float = 1.3) -> list[Ratio]:
    """The ratios of pairs of a push and of bare POSTs."""
    note = f"{resources} resources in {transactions} transactions"
    whole = sum(one["whole"] for one, _ in pairs) / sum(one["seconds"] for one, _ in pairs)
    return [
        Ratio("sending of a push / bare POSTs of the same bundles", median(pairs), target, note=note),
        Ratio("a whole push / its sending", whole, note="deciding, validation, reading back"),
    ]


def pushed(url: str, study_id: str, shall: list[Any], bundles: list[bytes]) -> dict[str, Any]:
    """One push to a server without such outcomes, from a ledger that knows nothing of it."""
    recorder, began = Recorder(), time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as home,
        Archive.open(Path(home), create=True) as archive,
        Client(url, transport=recorder) as client,
    ):
        report = bring(
            client, archive.connection, study_id, shall, protocol=PROTOCOL, apply=True, say=lambda text: None
        )
        assert report.read_back_equal and report.written >= len(shall), report
    bundles[:] = recorder.bundles
    whole = time.perf_counter() - began
    return {"seconds": recorder.ended - recorder.began, "cpu": recorder.cpu, "whole": whole}


def posted(url: str, bundles: list[bytes]) -> dict[str, Any]:
    """The same transactions, posted one after the other."""
    with httpx.Client(trust_env=False, timeout=300) as http:
        began, cpu = time.perf_counter(), time.process_time()
        for bundle in bundles:
            answer = http.post(url, content=bundle, headers={"Content-Type": "application/fhir+json"})
            assert answer.status_code == 200 and answer.content, answer.status_code
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def copied(folder: Path, copies: int, study_id: str = "msct") -> Iterator[Any]:
    """The outcomes of the trial, so many times, each copy of a subject of its own."""
    folder.mkdir()
    (folder / "study.toml").write_text(f'[study]\nid = "{study_id}"\ndata_cut = 2024-06-30\n')
    study = fm.Study(folder)
    study.pull(data.fixtures() / "resources")
    study.records()
    study.outcomes()
    with Archive.open(folder) as archive:
        shall = list(wanted(folder, plan.load(folder), archive))
    yield from (one for one in shall if not one.derived)
    for copy in range(copies):
        for one in (one for one in shall if one.derived):
            id_ = f"{one.id[:58]}-{copy:03}"
            body = one.body.replace(one.id.encode(), id_.encode())
            yield msgspec.structs.replace(one, id=id_, body=body, subject=f"{one.subject}-{copy:03}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(table(measure(asked.copies, asked.rounds)))


if __name__ == "__main__":
    main()
