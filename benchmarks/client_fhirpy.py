"""fhirpy, getting every Observation of a server.

python benchmarks/client_fhirpy.py URL PAGE_SIZE ROWS_FILE
"""

import json
import sys
import time

from fhirpy import SyncFHIRClient

from peak import peak_mb


def main() -> None:
    url, page_size, rows = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    began = time.perf_counter()
    found = SyncFHIRClient(url).resources("Observation").limit(page_size).fetch_all()
    seconds = time.perf_counter() - began
    peak = peak_mb()
    with open(rows, "w", encoding="utf-8") as out:  # noqa: PTH123
        for one in found:
            out.write(f"{one['id']}\t{one['valueQuantity']['value']}\n")
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    main()
