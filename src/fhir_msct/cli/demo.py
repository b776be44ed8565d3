"""The demo: on a FHIR server of its own, or on one that others use and that it leaves as it found it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fhir_msct.cli.command import app, say, typed
from fhir_msct.errors import Incomplete, UsageError


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the study.")] = Path(
        "demo-study"
    ),
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="On this FHIR server instead.")
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Take what it wrote off that server again, with proof.")
    ] = False,
    yes_host: Annotated[
        str | None, typer.Option("--yes-host", metavar="NAME", help="In scripts: the host that is meant.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="With --server: a bearer token, in a file."),
    ] = None,
) -> None:
    """The whole story on the synthetic trial, on a FHIR server of its own or, with a tag, on yours.

    Example: fhir-msct demo
    """
    if token_file is not None and not clean and server is None:
        raise UsageError("--token-file is for --server: the demo's own server asks for no token")
    if clean:
        from fhir_msct.tasks import clearing

        confirm = _confirming(yes_host)
        report = clearing.clear(folder, url=server, confirm=confirm, token_file=token_file, say=say)
        typer.echo(clearing.told(report))
    elif server is not None:
        _on(server, folder, _confirming(yes_host), token_file)
    else:
        from fhir_msct.tasks.demo import demo as run_demo

        typer.echo(run_demo(folder, command=typed(), say=say))


def _on(server: str, folder: Path, confirm: Callable[[str], None], token_file: Path | None) -> None:
    from fhir_msct.tasks.guest import guest_demo

    told = guest_demo(folder, server, command=typed(), confirm=confirm, token_file=token_file, say=say)
    typer.echo(told.screen)
    if not told.complete:
        raise Incomplete("the pull could not prove itself complete: the screen says why")


def _confirming(yes_host: str | None) -> Callable[[str], None]:
    """Has the name of a host typed back before anything is sent there."""

    def confirm(host: str) -> None:
        if yes_host is None and not sys.stdin.isatty():
            raise UsageError(
                f"{host} is not this machine: say --yes-host {host} to mean it; nothing was sent"
            )
        given = yes_host or str(typer.prompt(f"{host} is not this machine: type its name to go on", err=True))
        if str(given).strip().lower() != host.lower():
            raise UsageError(f"{host} is where this would go, and another name was given: nothing was sent")

    return confirm
