"""What every command is made of: the program it belongs to, its usual arguments, and how it speaks."""

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

app = typer.Typer(
    help="Trial data out of FHIR servers and results back in, without losing or bending a number.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with locals would show patients' values
    rich_markup_mode=None,
)

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The study folder: study.toml and what came of it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, all else on stderr.")]


def say(line: str) -> None:
    """Progress, for people."""
    typer.echo(line, err=True)


def show(report: Any, as_json: bool, lines: Iterable[str]) -> None:
    """A report as JSON, or in words."""
    if as_json:
        show_json(report)
    for line in () if as_json else lines:
        typer.echo(line)


def show_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=1).decode())


def typed() -> str:
    """What to type to get here again: `make demo` puts nothing on the PATH."""
    if shutil.which("fhir-msct"):
        return "fhir-msct"
    script = Path(sys.executable).with_name("fhir-msct")
    return os.path.relpath(script) if script.is_file() else f"{sys.executable} -m fhir_msct"
