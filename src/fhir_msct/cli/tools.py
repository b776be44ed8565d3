"""The commands beside a study: the mappings as views, a server to try things on, a key pair."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fhir_msct.cli.command import Folder, app, say, show_json
from fhir_msct.errors import UsageError


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
    show_json(chosen)


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
    named = "--to" if to else str(path)
    key = pairs.read_key(path, named) if show else pairs.make(path, alg.value)
    if not show:
        say(f"wrote {path}: it never leaves this machine; name it as key_file in study.toml")
    show_json(key.jwks)
