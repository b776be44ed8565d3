"""A trial of two subjects that a reader can compute in the head, on a sandbox over real HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from fhir_msct import plan as protocol
from fhir_msct.mapping.library import Mapping
from fhir_msct.plan import Plan
from fhir_msct.results import Outcome
from fhir_msct.sandbox.server import Sandbox
from fhir_msct.tables import read_csv
from fhir_msct.tasks.outcomes import outcomes
from fhir_msct.tasks.pull import pull
from fhir_msct.tasks.push import PushReport, push
from fhir_msct.tasks.records import records

LOINC, UCUM, OURS = "http://loinc.org", "http://unitsofmeasure.org", "urn:fhir-msct:codes"
TAGS = "urn:fhir-msct:tags"
Tree = dict[str, Any]


def quiet(line: str) -> None:
    """Progress is not looked at here."""


def ck(own: str, subject: str, day: str, value: float, **more: Any) -> Tree:
    """A creatine kinase result; CK was 1000 U/L before and 250 U/L six months after the infusion."""
    return {
        "resourceType": "Observation",
        "id": own,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "2157-6"}]},
        "subject": {"reference": f"Patient/{subject}"},
        "effectiveDateTime": day,
        "valueQuantity": {"value": value, "unit": "U/L", "system": UCUM, "code": "U/L"},
        **more,
    }


def resources() -> list[Tree]:
    """Two patients, infused on 1 March 2024, with CK at baseline and at month 6."""
    found: list[Tree] = []
    for subject in ("anna", "bert"):
        found += [
            {"resourceType": "Patient", "id": subject, "gender": "female", "birthDate": "1970-01-01"},
            {
                "resourceType": "Procedure",
                "id": f"{subject}-msct",
                "status": "completed",
                "code": {"coding": [{"system": OURS, "code": "MSCT"}]},
                "subject": {"reference": f"Patient/{subject}"},
                "performedDateTime": "2024-03-01",
            },
            ck(f"{subject}-ck-0", subject, "2024-02-28T08:00:00+08:00", 1000),
            ck(
                f"{subject}-ck-6",
                subject,
                "2024-08-30T08:00:00+08:00",
                250,
                issued="2024-08-30T16:00:00+08:00",
            ),
        ]
    return found


class Trial:
    """A study folder beside the server that it is pulled from and pushed to."""

    def __init__(self, folder: Path, server: Sandbox, settings: str = "") -> None:
        self.folder, self.server = folder, server
        folder.mkdir(exist_ok=True)
        push_to = settings or f'[push]\nurl = "{server.url}"\nsame_as_source = true\n'
        text = f'[study]\nid = "small"\ndata_cut = 2024-12-31\n[server]\nurl = "{server.url}"\n'
        (folder / "study.toml").write_text(
            f'{text}{push_to}[cohort]\npatients = ["anna", "bert"]\n', encoding="utf-8"
        )

    @property
    def plan(self) -> Plan:
        """The plan as study.toml has it now."""
        return protocol.load(self.folder)

    def pull(self) -> None:
        """Server to archive."""
        wanted = Mapping.load(self.folder, self.plan).wanted()
        assert pull(self.folder, self.plan, wanted, say=quiet).complete

    def compute(self) -> bytes:
        """Archive to outcomes; gives by_subject.csv."""
        records(self.folder, self.plan, say=quiet)
        outcomes(self.folder, self.plan, say=quiet)
        return (self.folder / "outcomes" / "by_subject.csv").read_bytes()

    def push(self, *, apply: bool = True, **more: Any) -> PushReport:
        """Outcomes to server."""
        return push(self.folder, self.plan, apply=apply, say=quiet, **more)

    def story(self) -> PushReport:
        """Pull, records, outcomes, push."""
        self.pull()
        self.compute()
        return self.push()

    def answers(self) -> list[Outcome]:
        """The answers that are pushed."""
        rows = read_csv(self.folder / "outcomes" / "by_subject.csv", Outcome)
        return [row for row in rows if row.status != "not evaluable"]

    def get(self, place: str) -> Tree:
        """One resource as the server has it."""
        found: Tree = httpx.get(f"{self.server.url}/{place}").json()
        return found

    def put(self, tree: Tree) -> None:
        """The hospital changes something."""
        place = f"{tree['resourceType']}/{tree['id']}"
        headers = {"Content-Type": "application/fhir+json"}
        assert httpx.put(f"{self.server.url}/{place}", json=tree, headers=headers).status_code in (200, 201)

    def held(self, type_: str = "Observation", tag: str = "derived") -> list[Tree]:
        """What the server holds that carries a tag of ours."""
        found = [json.loads(body) for body in self.server.dump(type_)]
        return [tree for tree in found if tag in our_tags(tree)]

    def outcome(self, endpoint: str, subject: str = "anna") -> Tree:
        """One pushed answer."""
        about = {"reference": f"Patient/{subject}"}
        return next(t for t in self.held() if code(t) == endpoint and t["subject"] == about)


def our_tags(tree: Tree) -> list[str]:
    """The codes of our own tags."""
    tags = tree.get("meta", {}).get("tag", [])
    return [tag["code"] for tag in tags if tag.get("system") == TAGS]


def code(tree: Tree) -> str:
    """The first code of a resource."""
    return str(tree["code"]["coding"][0]["code"])


def lines(trees: list[Tree]) -> Iterator[bytes]:
    """The resources as bytes."""
    return (json.dumps(tree).encode() for tree in trees)
