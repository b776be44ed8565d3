"""The commands of a study: each calls its task, shows what came of it, and ends as that deserves."""

from pathlib import Path
from typing import Annotated

import typer

from fhir_msct.cli.command import AsJson, Folder, app, say, show


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
    show(report, as_json, check_told.checked(report, folder))
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
    show(report, as_json, told.pulled(report))
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
    show(report, as_json, told.recorded(report, folder))


@app.command()
def outcomes(folder: Folder, as_json: AsJson = False) -> None:
    """The trial's outcomes from the records.

    Example: fhir-msct outcomes my-trial
    """
    from fhir_msct import plan
    from fhir_msct.tasks import outcomes as task

    report = task.outcomes(folder, plan.load(folder), say=say)
    show(report, as_json, [f"wrote {folder / 'outcomes'}: next, `fhir-msct report {folder}`"])


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
    show(found, as_json, told.pushed(found, folder))
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
    show(found, as_json, told.loaded(found, folder))


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
        show(found, False, told.pushed(found, folder))
        told.require_pushed(found)


@app.command()
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Re-reads and checks the whole archive; nothing is written.

    Example: fhir-msct verify my-trial
    """
    from fhir_msct.tasks import told
    from fhir_msct.tasks import verify as task

    report = task.verify(folder, say=say)
    show(report, as_json, told.verified(report))
    told.require_sound(report, folder)
