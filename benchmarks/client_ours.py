"""Our pull, in a process of its own: what it took, its peak memory, and the rows it holds.

python benchmarks/client_ours.py URL PATIENTS PAGE_SIZE ROWS_FILE
"""

import json
import re
import sys
import tempfile
import time
from pathlib import Path

from fhir_msct.archive.store import Archive
from fhir_msct.plan import Cohort, Wanted, load
from fhir_msct.tasks.pull import pull
from peak import peak_mb

VALUE = re.compile(rb'"valueQuantity":\{"value": ?([-+0-9.eE]+)')


def main() -> None:
    url, patients, page_size, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    ids = tuple(f"p{number:05}" for number in range(patients))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "study.toml").write_text(
            f'[server]\nurl = "{url}"\n[cohort]\npatients = {json.dumps(ids)}\n'
        )
        wanted = Wanted(types=("Observation",), cohort=Cohort(patients=ids), page_size=page_size)
        began, cpu = time.perf_counter(), time.process_time()
        report = pull(folder, load(folder), wanted, say=lambda text: None)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        peak = peak_mb()
        assert report.complete, report.problems
        with Archive.open(folder) as archive, rows.open("wb") as out:
            for one in archive.current("Observation"):
                found = VALUE.search(one.body)
                out.write(b"%b\t%b\n" % ((one.id or "").encode(), found[1] if found else b""))
    said = {"seconds": seconds, "cpu": cpu, "peak_mb": peak, "requests": report.requests}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
