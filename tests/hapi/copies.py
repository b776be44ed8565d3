"""A copy of the synthetic trial under ids of its own, so that several can be on one server."""

import csv
import io
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fhir_msct import Study, data
from fhir_msct.archive.store import Archive
from fhir_msct.client.rest import Client
from fhir_msct.tasks.demo import filled
from fhir_msct.tasks.push import PushReport, push
from hapi import trial

STAGES = ("records", "outcomes")


class Copy:
    """One copy: its resources, and the study folder that pulls it from a server and pushes it back."""

    def __init__(
        self, folder: Path, url: str, prefix: str, settings: str = "", *, patients: Collection[str] = ()
    ) -> None:
        """`settings`: more of study.toml; `patients`: those of the trial who are copied, else all."""
        self.url, self.prefix, self.folder = url, prefix, folder
        lines = [line for line in trial.lines() if not patients or _is_about(json.loads(line), patients)]
        self.bodies = [self._own(_among(line, patients)) for line in lines]
        text = filled((data.fixtures() / "study.toml").read_text("utf-8"), url)
        for own in ("msct-demo", "msct-trial"):
            text = text.replace(f'"{own}"', f'"{prefix}-{own}"')
        (folder / "study.toml").write_text(f"{text}\n{settings}", "utf-8")
        self.study = Study(folder)

    def load(self) -> int:
        """Puts the copy on the server."""
        with Client(self.url) as client:
            return trial.load(client, self.bodies)

    def compute(self) -> None:
        """Archive to outcomes."""
        self.study.records()
        self.study.outcomes()

    def push(self, transport: Any = None) -> PushReport:
        """Outcomes to the server, read back."""
        plan = self.study.plan
        return push(self.folder, plan, apply=True, transport=transport, say=lambda line: None)

    def tables(self) -> dict[str, bytes]:
        """Every CSV file of the stages with the ids of the original."""
        return {
            name: body.replace(f"{self.prefix}-".encode(), b"") for name, body in tables(self.folder).items()
        }

    def versions(self, places: tuple[str, ...]) -> dict[str, str | None]:
        """The version that the server holds of each `Type/id`."""
        with Client(self.url) as client:
            held = {place: client.read(*place.split("/")) for place in places}
        return {place: one.version if one else None for place, one in held.items()}

    def _own(self, body: bytes) -> bytes:
        """A resource with its id and its references prefixed; no other byte changes."""
        own = json.loads(body)["id"].encode()
        body = re.sub(
            rb'("id": ?")' + re.escape(own) + rb'"', rb"\g<1>%b-%b" % (self._head, own) + b'"', body, count=1
        )
        return re.sub(rb'("reference"\s*:\s*"[A-Z]\w+\\?/)', rb"\g<1>%b-" % self._head, body)

    @property
    def _head(self) -> bytes:
        return self.prefix.encode()


def _is_about(tree: Any, patients: Collection[str]) -> bool:
    """Whether a resource is of one of these patients, or of nobody."""
    about = tree.get("subject") or tree.get("individual") or {}
    own = tree["id"] if tree["resourceType"] == "Patient" else about.get("reference", "")
    return not own or own.removeprefix("Patient/") in patients


def _among(body: bytes, patients: Collection[str]) -> bytes:
    """A Group with these members only; anything else as it is."""
    tree = json.loads(body)
    if tree["resourceType"] != "Group" or not patients:
        return body
    members = [one for one in tree["member"] if one["entity"]["reference"].split("/")[1] in patients]
    return json.dumps(tree | {"member": members}).encode()


def tables(folder: Path) -> dict[str, bytes]:
    """Every CSV file of the stages, by its path in the folder."""
    found = [path for stage in STAGES for path in sorted((folder / stage).glob("*.csv"))]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def archived(folder: Path) -> dict[str, bytes]:
    """The newest body of each resource of an archive."""
    with Archive.open(folder) as archive:
        return {
            f"{one.type}/{one.id}": one.body for type_ in archive.types() for one in archive.current(type_)
        }


def without(column: str, table: bytes) -> list[list[str]]:
    """The cells of a table, those of one column left out."""
    rows = list(csv.reader(io.StringIO(table.decode("utf-8"), newline="")))
    at = rows[0].index(column) if column in rows[0] else len(rows[0])
    return [row[:at] + row[at + 1 :] for row in rows]
