"""The commands: parse, call, print, exit code. Everything else is in the rooms.

What a command found goes to stdout, how it is getting on to stderr; with `--json` stdout holds one JSON
object and nothing else. Exit codes: 0 complete, 2 incomplete or damaged input, 3 usage, configuration
or lock, 4 conflict, 5 failed but resumable.
"""

import os
import shutil
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from typer.exceptions import TyperException

from fhir_msct.errors import MsctError, UsageError, exit_code

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


def _typed() -> str:
    """What to type to get here again: `make demo` puts nothing on the PATH."""
    if shutil.which("fhir-msct"):
        return "fhir-msct"
    script = Path(sys.executable).with_name("fhir-msct")
    return os.path.relpath(script) if script.is_file() else f"{sys.executable} -m fhir_msct"


def _show(report: Any, as_json: bool, lines: Iterable[str]) -> None:
    """A report as JSON, or in words."""
    if as_json:
        _json(report)
    for line in () if as_json else lines:
        typer.echo(line)


def _json(document: Any) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=1).decode())


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the study.")] = Path(
        "demo-study"
    ),
) -> None:
    """The whole story on the synthetic trial, on a FHIR server of its own.

    Example: fhir-msct demo
    """
    from fhir_msct.tasks.demo import demo as run_demo

    typer.echo(run_demo(folder, command=_typed(), say=say))


@app.command()
def init(folder: Folder) -> None:
    """A starter study folder with a commented study.toml.

    Example: fhir-msct init my-trial
    """
    from fhir_msct.tasks.init import init as run_init

    typer.echo(f"wrote {run_init(folder)}: fill in [server] and [cohort], then run `fhir-msct pull {folder}`")


@app.command()
def check(
    folder: Folder,
    discover: Annotated[
        bool, typer.Option("--discover", help="Look for codes that nothing maps; nothing is stored.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The server doctor: read only, at most 60 requests; ready, or what blocks, or what to decide.

    Example: fhir-msct check my-trial --discover
    """
    from fhir_msct import plan
    from fhir_msct.tasks import check as task
    from fhir_msct.tasks import check_told

    report = task.check(folder, plan.load(folder), discover=discover, say=say)
    _show(report, as_json, check_told.checked(report, folder))
    check_told.require_ready(report, folder)


@app.command()
def pull(
    folder: Folder,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Take exported files instead of a server.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Ask for everything again, not only for what is new.")
    ] = False,
    only_plan: Annotated[bool, typer.Option("--plan", help="Only say what would be asked.")] = False,
    as_json: AsJson = False,
) -> None:
    """What the server, or a folder of exported files, holds of the cohort; again: what is new.

    Example: fhir-msct pull my-trial --from export/
    """
    from fhir_msct import plan
    from fhir_msct.mapping.library import Mapping
    from fhir_msct.tasks import pull as task
    from fhir_msct.tasks import told

    study = plan.load(folder)
    wanted = Mapping.load(folder, study).wanted()
    if only_plan:
        typer.echo("\n".join(task.pull_plan(study, wanted)))
        return
    report = task.pull(folder, study, wanted, source=source, full=full, say=say)
    _show(report, as_json, told.pulled(report))
    told.require_complete(report, folder)


@app.command()
def records(folder: Folder, as_json: AsJson = False) -> None:
    """The archive as records: CSV and Parquet, with every resource accounted for.

    Example: fhir-msct records my-trial
    """
    from fhir_msct import plan
    from fhir_msct.tasks import records as task
    from fhir_msct.tasks import told

    report = task.records(folder, plan.load(folder), say=say)
    _show(report, as_json, told.recorded(report, folder))


@app.command()
def outcomes(folder: Folder, as_json: AsJson = False) -> None:
    """The trial's outcomes from the records.

    Example: fhir-msct outcomes my-trial
    """
    from fhir_msct import plan
    from fhir_msct.tasks import outcomes as task

    report = task.outcomes(folder, plan.load(folder), say=say)
    _show(report, as_json, [f"wrote {folder / 'outcomes'}: next, `fhir-msct report {folder}`"])


@app.command()
def report(folder: Folder) -> None:
    """The outcomes for people: report.html, and the first screen here.

    Example: fhir-msct report my-trial
    """
    from fhir_msct import plan
    from fhir_msct.tasks import report as task

    study = plan.load(folder)
    path = task.report(folder, study, say=say)
    typer.echo(task.first_screen(folder, study))
    typer.echo(f"the report is {path}")


@app.command()
def push(
    folder: Folder,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write; give the plan's hash to write exactly that plan.")
    ] = False,
    plan_hash: Annotated[
        str | None, typer.Argument(metavar="[HASH]", help="The hash of the plan to write.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a push would write, and its hash; with --apply, writes it. Again: nothing to write.

    Example: fhir-msct push my-trial --apply
    """
    from fhir_msct import plan
    from fhir_msct.tasks import push as task
    from fhir_msct.tasks import told

    found = task.push(folder, plan.load(folder), apply=apply, plan_hash=plan_hash, say=say)
    _show(found, as_json, told.pushed(found, folder))
    told.require_pushed(found)


@app.command()
def load(
    folder: Folder,
    table: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Values entered by hand.")],
    as_json: AsJson = False,
) -> None:
    """Values entered by hand (MMT and VAS are rarely in an EHR), as resources of their own.

    Example: fhir-msct load my-trial entered.csv
    """
    from fhir_msct import plan
    from fhir_msct.tasks import load as task
    from fhir_msct.tasks import told

    found = task.load(folder, plan.load(folder), table, say=say)
    _show(found, as_json, told.loaded(found, folder))


@app.command()
def run(
    folder: Folder,
    source: Annotated[Path | None, typer.Option("--from", metavar="FOLDER", help="As for pull.")] = None,
    with_push: Annotated[bool, typer.Option("--push", help="Write the outcomes back as well.")] = False,
) -> None:
    """pull, records, outcomes and report in one go.

    Example: fhir-msct run my-trial --push
    """
    from fhir_msct.study import Study
    from fhir_msct.tasks import report as report_task
    from fhir_msct.tasks import told

    study = Study(folder, say=say)
    pulled = study.pull(source)
    study.records()
    study.outcomes()
    path = study.report()
    typer.echo(report_task.first_screen(folder, study.plan))
    typer.echo(f"the report is {path}")
    told.require_complete(pulled, folder)
    if with_push:
        found = study.push(apply=True)
        _show(found, False, told.pushed(found, folder))
        told.require_pushed(found)


@app.command()
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Re-reads and checks the whole archive; nothing is written.

    Example: fhir-msct verify my-trial
    """
    from fhir_msct.tasks import told
    from fhir_msct.tasks import verify as task

    report = task.verify(folder, say=say)
    _show(report, as_json, told.verified(report))
    told.require_sound(report, folder)


@app.command()
def views(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One mapping only.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--study", metavar="DIR", help="With a study's own rows.")
    ] = None,
) -> None:
    """The SQL-on-FHIR v2 ViewDefinitions of the mappings, as JSON.

    Example: fhir-msct views measurement
    """
    from fhir_msct.mapping.library import Mapping

    found = Mapping.load(folder).views()
    if name is not None and name not in found:
        raise UsageError(f"no mapping is called {name}: there are {', '.join(found)}")
    chosen = found if name is None else found[name]
    _json(chosen)


@app.command()
def sandbox(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to keep the data; else in memory.")
    ] = None,
    port: Annotated[int, typer.Option(help="The port on loopback.")] = 8080,
    trial: Annotated[bool, typer.Option("--trial", help="With the synthetic trial on it.")] = False,
    jwks: Annotated[
        Path | None,
        typer.Option("--smart", metavar="JWKS", help="Only for tokens of client fhir-msct, with these keys."),
    ] = None,
) -> None:
    """A small FHIR R4 server on this machine, to try things on.

    Example: fhir-msct sandbox --trial
    """
    from fhir_msct import data
    from fhir_msct.sandbox.server import serve
    from fhir_msct.sandbox.smart import registered
    from fhir_msct.tasks.demo import resources

    held = resources(data.fixtures() / "resources") if trial else ()
    smart = registered(jwks, "fhir-msct") if jwks else None
    serve(path, port=port, resources=held, smart=smart, say=say)


class Algorithm(StrEnum):
    """How an assertion is signed: both are known to every SMART server."""

    RS384 = "RS384"
    ES384 = "ES384"


@app.command()
def keys(
    folder: Folder,
    alg: Annotated[Algorithm, typer.Option(help="How it signs.")] = Algorithm.ES384,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Where to keep the private key.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Only print the public half of the key there.")
    ] = False,
) -> None:
    """A key pair for SMART Backend Services; prints the public JWK Set, which the hospital gets.

    Example: fhir-msct keys my-trial > jwks.json
    """
    from fhir_msct.client import keys as pairs

    path = to or folder / pairs.FILE
    key = pairs.read_key(path) if show else pairs.make(path, alg.value)
    if not show:
        say(f"wrote {path}: it never leaves this machine; name it as key_file in study.toml")
    _json(key.jwks)
