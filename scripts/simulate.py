"""Plays one bad day again, request by request: `python scripts/simulate.py search|bulk|push SEED [HOW MANY]`.

The schedule of a seed never changes as long as the code does not: what is printed is what the test saw.
With a number it plays so many seeds from this one on, silently, and names the ones that fail.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults.bulk import Exports, exported
from faults.pushing import Pushes, pushed
from faults.searching import Schedule, scratch, searched

STORIES: dict[str, Any] = {"search": Schedule, "bulk": Exports, "push": Pushes}
PLAYED: dict[str, Any] = {"search": searched, "bulk": exported, "push": pushed}


def main() -> int:
    kind, seed, many = [*sys.argv[1:], "1"][:3]
    if kind not in STORIES:
        print(__doc__, file=sys.stderr)
        return 3
    if int(many) > 1:
        return _many(kind, range(int(seed), int(seed) + int(many)))
    folder = scratch()
    schedule = STORIES[kind](int(seed), *(() if kind == "push" else (folder,)))
    honest, before = schedule.chaos.handle_request, len(schedule.server.base)

    def told(request: httpx.Request) -> httpx.Response:
        said = "no answer"
        try:
            response: httpx.Response = honest(request)
            said = str(response.status_code)
            return response
        finally:
            shown = f"{request.method} {str(request.url)[before:][:100]}"
            print(f"{schedule.time.now:10.2f}  {shown:110} {said:10} {schedule.chaos.fault}")

    schedule.chaos.handle_request = told
    try:
        schedule.play()
    finally:
        print(*(f"  {number}. {what}" for number, what in enumerate(schedule.outcomes, start=1)), sep="\n")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(schedule.folder, ignore_errors=True)
    return 0


def _many(kind: str, seeds: range) -> int:
    failed = 0
    for seed in seeds:
        try:
            PLAYED[kind](seed)
        except Exception as error:
            failed += 1
            print(f"{kind} {seed}: {type(error).__name__}: {error}")
    print(f"{len(seeds)} schedules, {failed} broke a promise")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
