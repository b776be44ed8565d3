"""Plants each bug of tests/planted in a copy of src and says which are caught: `make planted`, or with names.

    python scripts/plant_bugs.py [NAME ...]

Ends with 1 where a bug survives, is caught by something else than an assertion, or the control is caught.
"""

import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from planted.planting import CONTROL, SCHEDULES, Bug, bugs, planted


def main() -> int:
    wanted = set(sys.argv[1:])
    chosen = [bug for bug in bugs() if not wanted or bug.name in wanted]
    wrong, killed = 0, 0
    with ThreadPoolExecutor(2) as pool:
        for one in as_completed([pool.submit(planted, bug, schedules=_schedules(bug)) for bug in chosen]):
            fate = one.result()
            verdict = "caught" if fate.caught else "survives"
            wrong += not fate.right
            killed += fate.caught
            mark = " " if fate.right else "!"
            print(f"{mark} {fate.bug.name:36} {verdict:9} {fate.by:34} {fate.said[:90]}", flush=True)
    planted_bugs = sum(bug.name != CONTROL for bug in chosen)
    print(f"{killed} of {planted_bugs} planted bugs caught; {wrong} not as they should be")
    return 1 if wrong else 0


def _schedules(bug: Bug) -> int:
    return 20 if bug.name == CONTROL else SCHEDULES


if __name__ == "__main__":
    sys.exit(main())
