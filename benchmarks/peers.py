"""Other people's clients, in an environment of their own: made once, below `build/`."""

import subprocess
import sys
from pathlib import Path

from ratios import child

HOME = Path(__file__).parents[1] / "build" / "peers"
WANTED = ("fhirpy==2.3.1", "fhir-pyrate==0.2.6", "smart-fetch==1.0.3")


def environment(home: Path = HOME) -> Path | None:
    """The folder of the environment; None (and a word why) where it cannot be made."""
    python = home / "bin" / "python"
    if not python.exists():
        print(f"making an environment for {', '.join(WANTED)} in {home}", flush=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WANTED]
        for command in ([sys.executable, "-m", "venv", str(home)], install):
            if subprocess.run(command, check=False).returncode:
                print("the other clients cannot be installed here: left out")
                return None
    return home


def pulled(client: str, url: str, page_size: int, rows: Path, home: Path) -> dict[str, float]:
    """What one of them takes to get every Observation; `rows` is where it writes what it holds."""
    script, python = f"client_{client}.py", str(home / "bin" / "python")
    return child(script, url, page_size, rows, python=python)


def unlike(rows: Path, truth: Path) -> str:
    """How a client's rows differ from what the server was given, in words."""
    held, right = _read(rows), _read(truth)
    missing, changed = len(right.keys() - held.keys()), sum(held[key] != right.get(key) for key in held)
    if not missing and not changed:
        return f"{len(held)} rows, every digit as sent"
    return f"{len(held)} rows, {missing} missing, {changed} values with other digits"


def _read(path: Path) -> dict[str, str]:
    return dict(line.rstrip("\n").split("\t") for line in path.open(encoding="utf-8"))
