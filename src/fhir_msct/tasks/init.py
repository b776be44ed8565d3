"""`fhir-msct init`: a starter study folder, every key of study.toml there and commented."""

import re
from pathlib import Path

from fhir_msct import data
from fhir_msct.errors import UsageError

_KEY = re.compile(r"[A-Za-z_]+ *=|\[\[")


def init(folder: Path) -> Path:
    """The study.toml that was written: the shipped protocol, each value a comment until it is wanted.

    Raises UsageError where the folder already has one, or cannot be written.
    """
    target = folder / "study.toml"
    if target.exists():
        raise UsageError(f"{target} is there already: nothing was changed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(starter(_name(folder)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    return target


def starter(study: str) -> str:
    """The text of a starter study.toml for a study of this id."""
    shipped = (data.mappings() / "study.toml").read_text("utf-8")
    lines = (f"# {line}" if _KEY.match(line) else line for line in shipped.splitlines())
    text = "\n".join(lines) + "\n"
    return re.sub(r'(?m)^# id = ".*"', f'id = "{study}"', text, count=1)


def _name(folder: Path) -> str:
    """A study id from a folder's name: FHIR ids are letters, digits, hyphens and dots."""
    return re.sub(r"[^A-Za-z0-9.\-]+", "-", folder.resolve().name).strip("-")[:40] or "msct"
