"""The whole story on the synthetic trial: a real FHIR server on loopback, pulled from and pushed to.

The folder it leaves behind is a study folder like any other.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

from fhir_msct import data
from fhir_msct import plan as protocol
from fhir_msct.client.rest import Client
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

    Raises UsageError for a folder that holds something else.
    """
    from fhir_msct.sandbox.server import Sandbox

    _prepare(folder)
    with Sandbox() as server:
        server.load(resources(data.fixtures() / "resources"))
        say(f"the synthetic trial is on a FHIR server at {server.url}")
        _write(folder / "study.toml", filled(_fixture_plan(), server.url))
        return _story(folder, protocol.load(folder), command, say=say)


def _story(folder: Path, plan: Plan, command: str, *, say: Say) -> str:
    """From server to server; the screen at the end."""
    pulled = pull.pull(folder, plan, Mapping.load(folder, plan).wanted(), say=say)
    records.records(folder, plan, say=say)
    outcomes.outcomes(folder, plan, say=say)
    report.report(folder, plan, say=say)
    first = push.push(folder, plan, apply=True, say=say)
    again = push.push(folder, plan, apply=True, say=say)
    return report.first_screen(
        folder,
        plan,
        pull=_pull_lines(pulled),
        push=[*_push_lines(first, again), _read_back(folder, plan)],
        then=_next(folder, command),
    )


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


def _fixture_plan() -> str:
    return (data.fixtures() / "study.toml").read_text(encoding="utf-8")


def _prepare(folder: Path) -> None:
    """An empty folder with the marker in it; only what a demo made is replaced."""
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if not (folder / MARKER).is_file():
                raise UsageError(f"{folder} is not empty and was not made by the demo: name another folder")
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; name another folder") from error
    _write(folder / MARKER, "Made by `fhir-msct demo`, which replaces this folder when it runs again.\n")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _pull_lines(pulled: pull.PullReport) -> list[str]:
    same = "=" if pulled.received == pulled.counted else "BUT"
    counted = "not counted" if pulled.counted is None else f"{pulled.counted} counted"
    proof = "complete" if pulled.complete else f"NOT COMPLETE: {'; '.join(pulled.problems)}"
    received = f"{pulled.received} resources of {pulled.patients} patients received"
    return [f"{received} {same} {counted} on the server; {proof}"]


def _push_lines(first: push.PushReport, again: push.PushReport) -> list[str]:
    equal = "read back equal" if first.read_back_equal else f"{len(first.differing)} READ BACK DIFFERENT"
    return [f"{first.written} resources written to {first.target}; {equal}; again: {again.written} written"]


def _read_back(folder: Path, plan: Plan) -> str:
    """One pushed change, asked of the server and compared with the file.

    Raises ServerFailed when the server does not hold it.
    """
    rows = read_csv(folder / "outcomes" / "by_subject.csv", Outcome)
    changes = {endpoint.name(code): endpoint for endpoint in plan.endpoints for code in endpoint.paramcds}
    row = next(row for row in rows if row.status == "value" and row.endpoint in changes)
    visit = changes[row.endpoint].avisit
    own = outgoing.identity("outcome", plan.study.id, row.usubjid, row.endpoint, row.course, visit)
    with Client(plan.push.url or "") as client:
        held = client.read("Observation", own)
    tree = json.loads(held.body, parse_float=Decimal, parse_int=Decimal) if held else {}
    if tree.get("valueQuantity", {}).get("value") != Decimal(row.value):
        raise ServerFailed(f"Observation/{own}: the server does not hold what was pushed: run the demo again")
    about = f"{row.endpoint} of {row.usubjid} at {visit} is {row.value} {row.unit}"
    return f"one of them, read back: {about} ({len(tree['derivedFrom'])} source versions named)"


def _next(folder: Path, command: str) -> list[str]:
    """What to type next; all of it works without the server, which is gone."""
    lines = {
        f"{folder / report.NAME}": "the whole report: open it in a browser",
        f"{command} records {folder}": f"after a change in {folder / 'study.toml'}: read again,",
        f"{command} outcomes {folder}": "... compute again,",
        f"{command} report {folder}": "... and report: this screen and report.html",
        f"{command} init my-trial": "a study of your own: then edit my-trial/study.toml",
        f"{command} sandbox --trial": "the same server again, to look at",
    }
    width = max(map(len, lines)) + 2
    return [f"{line.ljust(width)}{why}" for line, why in lines.items()]
