"""Our pull of an export, or of a file on disk, in a process of its own: what it took, its peak memory.

python benchmarks/client_bulk.py URL PATIENTS [FOLDER]
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from fhir_msct.plan import Cohort, Wanted, load
from fhir_msct.tasks.pull import pull
from peak import peak_mb


def main() -> None:
    url, patients = sys.argv[1], int(sys.argv[2])
    source = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    ids = tuple(f"p{number:05}" for number in range(patients))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "study.toml").write_text(
            f'[server]\nurl = "{url}"\nkind = "research"\n[cohort]\npatients = {json.dumps(ids)}\n'
            '[pull]\nhow = "export"\n'
        )
        wanted = Wanted(types=("Observation",), cohort=Cohort(patients=ids))
        began, cpu = time.perf_counter(), time.process_time()
        report = pull(folder, load(folder), wanted, source=source, say=lambda text: None)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = peak_mb()
    assert report.complete, report.problems
    assert not [note for note in report.notes if "searched for" in note], report.notes
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": peak, "received": report.received}))


if __name__ == "__main__":
    main()
