"""The way in and out: whatever a command raises becomes one message and the exit code it deserves."""

import sys
from pathlib import Path

import typer
from typer.exceptions import TyperException

from fhir_msct.cli import demo, study, tools  # importing them makes the commands, in the order of --help
from fhir_msct.cli.command import app, say
from fhir_msct.errors import MsctError, UsageError, exit_code

__all__ = ["app", "demo", "main", "study", "tools"]


def main() -> None:
    """Runs a command and turns what it raises into one message and the exit code it deserves."""
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        say(f"fhir-msct: {error.format_message()} (see `fhir-msct --help`)")
        code = UsageError.exit_code  # typer's own is 2, which means something else here
    except (typer.Abort, KeyboardInterrupt):
        say("stopped: run the same command again to go on")
        code = MsctError.exit_code
    except MsctError as error:
        say(f"fhir-msct: {error}")
        code = exit_code(error)
    except Exception as error:
        say(f"fhir-msct: {_unforeseen(error)}")
        code = exit_code(error)
    sys.exit(code if isinstance(code, int) else 0)


def _unforeseen(error: Exception) -> str:
    """Where a defect showed itself, without what it was working on."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    where = " > ".join(frames[-3:])
    return f"a defect ({type(error).__name__} at {where}): please report it; nothing was half-written"
