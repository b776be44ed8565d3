"""FHIR-PYrate, getting every Observation of a server as a table.

python benchmarks/client_pyrate.py URL PAGE_SIZE ROWS_FILE
"""

import json
import sys
import time

from fhir_pyrate import Pirate

from peak import peak_mb


def main() -> None:
    url, page_size, rows = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    began = time.perf_counter()
    pirate = Pirate(base_url=url, auth=None, num_processes=1, print_request_url=False)
    found = pirate.steal_bundles_to_dataframe(
        resource_type="Observation", request_params={"_count": page_size}
    )
    seconds = time.perf_counter() - began
    peak = peak_mb()
    with open(rows, "w", encoding="utf-8") as out:  # noqa: PTH123
        for id_, value in zip(found["id"], found["valueQuantity_value"], strict=True):
            out.write(f"{id_}\t{value}\n")
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    main()
