"""One copy of the trial on a server, and every road by which it may come from there."""

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet
from msgspec import Struct

from fhir_msct import Study
from fhir_msct.mapping.library import Mapping
from fhir_msct.tasks.pull import PullReport, pull
from fhir_msct.tasks.push import PushReport
from hapi.copies import STAGES, Copy, archived
from push.wires import Wire

EXPORTS = ("Group", "Patient", "system")
"""The levels of an export (https://hl7.org/fhir/uv/bulkdata/export.html)."""

ENTERED = """usubjid,paramcd,adtc,value,unit,side,entered_by,entered_at,source_doc,state
{p}-msct-p04,MMT8,2022-06-01,66,{{score}},right,Dr Example,2022-06-02,worksheet 12,
{p}-msct-p04,PTGVAS,2022-06-01,21,mm,,Dr Example,2022-06-02,worksheet 12,
{p}-msct-p04,ILDRESP,2022-06-01,,,,Dr Example,2022-06-02,CT report 7,improved
"""


class Came(Struct):
    """What a road has brought, and what was made of it."""

    report: PullReport
    asked: list[str]
    """Path and query of each request."""
    resources: dict[str, bytes]
    tables: dict[str, bytes]
    parquet: dict[str, list[dict[str, Any]]]


class OnlyWhole(Wire):
    """A server that says that it exports as a whole, and not by Group or Patient."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if not request.url.path.endswith("/metadata"):
            return response
        response.read()
        tree = response.json()
        for one in tree["rest"][0]["resource"]:
            one["operation"] = [op for op in one.get("operation", []) if op["name"] != "export"]
        response.close()
        headers = {"Content-Type": "application/fhir+json", "Date": response.headers["Date"]}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(json.dumps(tree).encode()))


def settled(folder: Path, url: str, prefix: str) -> tuple[Copy, PushReport]:
    """The trial put on a server, pulled, values entered by hand, computed, pushed, and pulled once more."""
    folder.mkdir()
    copy = Copy(folder, url, prefix)
    copy.load()
    copy.study.pull()
    (folder / "entered.csv").write_text(ENTERED.format(p=prefix), "utf-8")
    assert copy.study.load(folder / "entered.csv").new == 3
    copy.compute()
    pushed = copy.push()
    copy.study.pull()
    copy.compute()
    return copy, pushed


def by_export(folder: Path, url: str, prefix: str, level: str) -> Copy:
    """A folder of its own that pulls the copy by an export of this level."""
    folder.mkdir()
    copy = Copy(folder, url, prefix, '[pull]\nhow = "export"\n')
    if level != "Group":  # everybody's data are only asked for where that is what the server is for
        path = folder / "study.toml"
        people = [tree["id"] for tree in map(json.loads, copy.bodies) if tree["resourceType"] == "Patient"]
        text = path.read_text("utf-8").replace(f'group = "{prefix}-msct-trial"', f"patients = {people}")
        path.write_text(text.replace("[server]\n", '[server]\nkind = "research"\n'), "utf-8")
        copy.study = Study(folder)
    return copy


def travelled(copy: Copy, level: str) -> Came:
    """The pull by export, and what comes of it."""
    plan = copy.study.plan
    wanted = Mapping.load(copy.folder, plan).wanted()
    with OnlyWhole() if level == "system" else Wire() as wire:
        report = pull(copy.folder, plan, wanted, transport=wire, say=lambda line: None)
    copy.compute()
    return came(copy, report, [f"{one.url.path}?{one.url.query.decode()}" for one in wire.sent])


def came(copy: Copy, report: PullReport, asked: list[str]) -> Came:
    """What a study folder holds."""
    parquet = [path for stage in STAGES for path in sorted((copy.folder / stage).glob("*.parquet"))]
    return Came(
        report,
        asked,
        archived(copy.folder),
        copy.tables(),
        {
            path.relative_to(copy.folder).as_posix(): pyarrow.parquet.read_table(path).to_pylist()
            for path in parquet
        },
    )
