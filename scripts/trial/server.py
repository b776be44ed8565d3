"""What the synthetic server holds: every resource, labelled SYNTHETIC, as lines of NDJSON by type."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from trial import json_text, noise, observations, people
from trial.plan import PEOPLE, SEED
from trial.rows import Row

Tree = dict[str, Any]

FIRST = datetime(2024, 10, 1, 2, 0, tzinfo=UTC)
"""The first resource was last updated then; every further one some seconds later."""
LABEL = {
    "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}],
    "tag": [{"system": "urn:fhir-msct:fixtures", "code": "SYNTHETIC"}],
}


class Holding(NamedTuple):
    """One resource version on the server."""

    tree: Tree
    patient: str
    version: str = "1"
    noise: bool = False

    @property
    def source(self) -> str:
        """`Type/id/_history/version`."""
        return f"{self.tree['resourceType']}/{self.tree['id']}/_history/{self.version}"


def holdings(rows: list[Row]) -> list[Holding]:
    """Everything, patients first."""
    found = [Holding(people.patient(key), key) for key in PEOPLE]
    found += [Holding(people.group(), ""), Holding(people.research_study(), "")]
    found += [Holding(people.research_subject(key), key) for key in PEOPLE]
    trees = [people.condition(illness) for illness in people.illnesses()]
    trees += [people.transplant_status(), *people.infusions(), *observations.judgements()]
    found += [Holding(tree, _owner(tree)) for tree in trees]
    found += [Holding(observations.observation(r), r.patient, r.marks.get("version", "1")) for r in rows]
    found += [Holding(tree, _owner(tree), noise=True) for tree in noise.noise(Random(SEED))]
    _check_unique(found)
    return found


def _owner(tree: Tree) -> str:
    return str(tree["subject"]["reference"]).removeprefix("Patient/msct-")


def _check_unique(found: list[Holding]) -> None:
    sources = [holding.source for holding in found]
    twice = {source for source in sources if sources.count(source) > 1}
    if twice:
        raise ValueError(f"planned twice: {', '.join(sorted(twice))}")


def lines(found: list[Holding]) -> dict[str, str]:
    """File name -> its text; each patient's server writes JSON in its own style."""
    chance = Random(SEED + 1)
    files: dict[str, list[str]] = {}
    for n, holding in enumerate(found):
        style = PEOPLE[holding.patient].style if holding.patient else "compact"
        tree = _labelled(holding, FIRST + timedelta(seconds=37 * n))
        name = f"{tree['resourceType']}.ndjson"
        files.setdefault(name, []).append(json_text.line(tree, style, chance))
    return {name: "".join(f"{text}\n" for text in texts) for name, texts in files.items()}


def _labelled(holding: Holding, when: datetime) -> Tree:
    first = ("resourceType", "id")
    moment = when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.second * 17 % 1000:03}+00:00"
    meta = {"versionId": holding.version, "lastUpdated": moment, **LABEL}
    rest = {key: value for key, value in holding.tree.items() if key not in first}
    return {**{key: holding.tree[key] for key in first}, "meta": meta, **rest}
