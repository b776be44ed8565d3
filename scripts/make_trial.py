"""Writes the synthetic trial into fixtures/, or says whether what lies there is what it would write.

    python scripts/make_trial.py            rewrites resources/, truth.json, study.toml and README.md
    python scripts/make_trial.py --check    compares; exit code 1 where a file differs
    python scripts/make_trial.py --into DIR another place than fixtures/

The same seed gives the same bytes. Nothing here imports the package.
"""

import argparse
import json
import sys
from pathlib import Path

from trial import words
from trial.rows import planned
from trial.server import holdings, lines
from trial.truth import truth

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def files() -> dict[str, bytes]:
    """Every file of the trial by its path inside fixtures/."""
    rows = planned()
    found = holdings(rows)
    known = truth(rows, found)
    texts = {f"resources/{name}": text for name, text in lines(found).items()}
    texts["truth.json"] = json.dumps(known, indent=1, ensure_ascii=False) + "\n"
    texts["study.toml"] = words.study()
    texts["README.md"] = words.readme(known)
    return {name: text.encode() for name, text in sorted(texts.items())}


def differences(wanted: dict[str, bytes], into: Path) -> list[str]:
    """Which files are missing, differ, or should not be there."""
    wrong = [name for name, body in wanted.items() if not _same(into / name, body)]
    there = {f"resources/{path.name}" for path in (into / "resources").glob("*")}
    return wrong + sorted(there - set(wanted))


def _same(path: Path, body: bytes) -> bool:
    return path.is_file() and path.read_bytes() == body


def main() -> int:
    """Exit code 0: written, or the same; 1: a file differs."""
    parser = argparse.ArgumentParser(description="the synthetic trial in fixtures/")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--into", type=Path, default=FIXTURES)
    arguments = parser.parse_args()
    wanted = files()
    if arguments.check:
        for name in (wrong := differences(wanted, arguments.into)):
            print(f"{arguments.into / name} is not what scripts/make_trial.py writes: run it")
        return 1 if wrong else 0
    for name, body in wanted.items():
        path = arguments.into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    print(f"{len(wanted)} files, {sum(map(len, wanted.values())):,} bytes, in {arguments.into}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
