"""The whole story on the synthetic trial: a real FHIR server on loopback, pulled from and pushed to.

The folder it leaves behind is a study folder like any other.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from fhir_msct import data
from fhir_msct import plan as protocol
from fhir_msct.archive.guest_book import uncleaned
from fhir_msct.client.connect import connect
from fhir_msct.client.origin import shown
from fhir_msct.client.retry import Patience
from fhir_msct.errors import ServerFailed, UsageError
from fhir_msct.mapping import outgoing
from fhir_msct.mapping.library import Mapping
from fhir_msct.plan import Plan
from fhir_msct.results import Outcome
from fhir_msct.tables import read_csv
from fhir_msct.tasks import outcomes, pull, push, records, report

MARKER = ".fhir-msct-demo"
"""A file in a folder that a demo made, and that the next demo may therefore replace."""

_SECTION = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_ADDRESS = re.compile(r"\s*(url|same_as_source)\s*=")

Say = Callable[[str], None]


def demo(folder: Path, *, command: str = "fhir-msct", say: Say) -> str:
    """The first screen of the synthetic trial, computed from a server and written back to it.

    `command` is what the reader has to type to run the tool again.

    Raises UsageError for a folder that holds something else, or a run whose resources are still on
    somebody's server.
    """
    from fhir_msct.sandbox.server import Sandbox

    prepare(folder, command)
    with Sandbox() as server:
        server.load(resources(data.fixtures() / "resources"))
        say(f"the synthetic trial is on a FHIR server at {server.url}")
        write(folder / "study.toml", filled(fixture_plan(), server.url))
        plan = protocol.load(folder)
        pulled = compute(folder, plan, say=say)
        told = [*push_twice(folder, plan, say=say), read_back(folder, plan)]
        then = _next(folder, command)
        return report.first_screen(folder, plan, pull=pull_lines(pulled), push=told, then=then)


def compute(
    folder: Path, plan: Plan, *, transport: Any = None, patience: Patience | None = None, say: Say
) -> pull.PullReport:
    """From the server to the report; what the pull brought."""
    wanted = Mapping.load(folder, plan).wanted()
    pulled = pull.pull(folder, plan, wanted, transport=transport, patience=patience, say=say)
    records.records(folder, plan, say=say)
    outcomes.outcomes(folder, plan, say=say)
    report.report(folder, plan, say=say)
    return pulled


def push_twice(folder: Path, plan: Plan, *, transport: Any = None, say: Say) -> list[str]:
    """Back to the server, and once more, which shall find nothing to write: the lines that say so."""
    first = push.push(folder, plan, apply=True, transport=transport, say=say)
    again = push.push(folder, plan, apply=True, transport=transport, say=say)
    equal = "read back equal" if first.read_back_equal else f"{len(first.differing)} READ BACK DIFFERENT"
    return [f"{first.written} resources written to {first.target}; {equal}; again: {again.written} written"]


def resources(folder: Path) -> Iterator[bytes]:
    """Every line of the NDJSON files of a folder, by file name."""
    for path in sorted(folder.glob("*.ndjson")):
        yield from (line for line in path.read_bytes().split(b"\n") if line.strip())


def filled(plan: str, url: str) -> str:
    """The text of a study.toml with a server to pull from and to push back to; all else stays."""
    wanted = {"server": [f'url = "{url}"'], "push": [f'url = "{url}"', "same_as_source = true"]}
    lines, section = [], ""
    for line in plan.splitlines():
        header = _SECTION.fullmatch(line)
        section = header[1] if header else section
        if section in ("server", "push") and _ADDRESS.match(line):
            continue
        lines += [line, *wanted.pop(section, [])] if header else [line]
    for name, keys in wanted.items():
        lines += ["", f"[{name}]", *keys]
    return "\n".join(lines) + "\n"


def fixture_plan() -> str:
    """The text of the synthetic trial's study.toml, which names no server."""
    return (data.fixtures() / "study.toml").read_text(encoding="utf-8")


def check_free(folder: Path, command: str) -> None:
    """Returns for a folder that a demo may use; raises UsageError (Locked while a demo is at work there)."""
    if server := uncleaned(folder):
        raise UsageError(
            f"{folder}: an earlier demo may have left resources on {shown(server)}, and only this folder "
            f"knows which: run `{command} demo {folder} --clean` first"
        )
    try:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
            raise UsageError(f"{folder} is not empty and was not made by the demo: name another folder")
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}; name another folder") from error


def prepare(folder: Path, command: str) -> None:
    """An empty folder with the marker in it; only what a demo made is replaced."""
    check_free(folder, command)
    try:
        if folder.is_dir() and any(folder.iterdir()):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; name another folder") from error
    write(folder / MARKER, "Made by `fhir-msct demo`, which replaces this folder when it runs again.\n")


def write(path: Path, text: str) -> None:
    """Writes a file of the demo's own; raises UsageError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def pull_lines(pulled: pull.PullReport) -> list[str]:
    """What a pull brought, for the screen."""
    same = "=" if pulled.received == pulled.counted else "BUT"
    counted = "not counted" if pulled.counted is None else f"{pulled.counted} counted"
    proof = "complete" if pulled.complete else f"NOT COMPLETE: {'; '.join(pulled.problems)}"
    received = f"{pulled.received} resources of {pulled.patients} patients received"
    return [f"{received} {same} {counted} on the server; {proof}"]


def read_back(folder: Path, plan: Plan, *, transport: Any = None) -> str:
    """One pushed change, asked of the server and compared with the file.

    Raises ServerFailed when the server does not hold it.
    """
    rows = read_csv(folder / "outcomes" / "by_subject.csv", Outcome)
    changes = {endpoint.name(code): endpoint for endpoint in plan.endpoints for code in endpoint.paramcds}
    row = next(row for row in rows if row.status == "value" and row.endpoint in changes)
    visit = changes[row.endpoint].avisit
    own = outgoing.identity("outcome", plan.study.id, row.usubjid, row.endpoint, row.course, visit)
    with connect(plan.push.url or "", plan, pushing=True, transport=transport) as client:
        held = client.read("Observation", own)
    tree = json.loads(held.body, parse_float=Decimal, parse_int=Decimal) if held else {}
    if tree.get("valueQuantity", {}).get("value") != Decimal(row.value):
        raise ServerFailed(f"Observation/{own}: the server does not hold what was pushed: run the demo again")
    about = f"{row.endpoint} of {row.usubjid} at {visit} is {row.value} {row.unit}"
    return f"one of them, read back: {about} ({len(tree['derivedFrom'])} source versions named)"


def _next(folder: Path, command: str) -> list[str]:
    """What to type next; all of it works without the server, which is gone."""
    return in_columns(
        {
            f"{folder / report.NAME}": "the whole report: open it in a browser",
            f"{command} records {folder}": f"after a change in {folder / 'study.toml'}: read again,",
            f"{command} outcomes {folder}": "... compute again,",
            f"{command} report {folder}": "... and report: this screen and report.html",
            f"{command} init my-trial": "a study of your own: then edit my-trial/study.toml",
            f"{command} sandbox --trial": "the same server again, to look at",
        }
    )


def in_columns(lines: dict[str, str]) -> list[str]:
    """What to type, and beside it what that does."""
    width = max(map(len, lines)) + 2
    return [f"{line.ljust(width)}{why}" for line, why in lines.items()]
