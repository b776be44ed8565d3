"""A bare loop: GET, take the body, follow `next`; nothing is looked at, nothing is kept.

python benchmarks/client_bare.py URL PATIENTS PAGE_SIZE PATIENTS_OF_A_SEARCH CACHE_CONTROL
"""

import json
import re
import sys
import time

import httpx

from peak import peak_mb

NEXT = re.compile(rb'"relation":"next","url":"([^"]+)"')


def main() -> None:
    url, patients, page_size, together = sys.argv[1], *map(int, sys.argv[2:5])
    ids = [f"p{number:05}" for number in range(patients)]
    parts = [ids[start : start + together] for start in range(0, patients, together)]
    pages = size = 0
    with httpx.Client(trust_env=False, timeout=120, headers={"Cache-Control": sys.argv[5]}) as http:
        began, cpu = time.perf_counter(), time.process_time()
        for part in parts:
            address = f"{url}/Observation?patient={','.join(part)}&_count={page_size}"
            while address:
                body = http.get(address).content
                pages, size = pages + 1, size + len(body)
                found = NEXT.search(body[:2000])
                address = found[1].decode() if found else ""
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = peak_mb()
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": peak, "requests": pages, "bytes": size}))


if __name__ == "__main__":
    main()
