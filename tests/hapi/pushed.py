"""What a server holds of one study's results, and what the ledger in a study folder says of them."""

from collections import Counter
from pathlib import Path

import msgspec

from fhir_msct.archive import ledger
from fhir_msct.archive.store import Archive
from fhir_msct.client.rest import Client
from fhir_msct.mapping import outgoing
from hapi.ground import Tree


class Pushed:
    """A look at a server: everything that carries the marks of one study."""

    def __init__(self, url: str, study: str) -> None:
        with Client(url) as client:
            asked = {"identifier": f"{outgoing.system(study)}|", "_count": "200"}
            recorded = {"agent": f"Device/{outgoing.device_id(study)}", "_count": "200"}
            found = [one for page in client.search("Observation", asked) for one in page.resources]
            found += [one for page in client.search("Provenance", recorded) for one in page.resources]
            own = (
                ("Device", outgoing.device_id(study)),
                ("ResearchStudy", outgoing.research_study_id(study)),
            )
            found += [one for key in own if (one := client.read(*key))]
        self.versions = {f"{one.type}/{one.id}": one.version for one in found}
        self.trees: dict[str, Tree] = {f"{one.type}/{one.id}": msgspec.json.decode(one.body) for one in found}

    @property
    def results(self) -> list[str]:
        """Every result."""
        return [place for place in self.versions if place.startswith("Observation/")]

    @property
    def provenances(self) -> list[Tree]:
        """Every Provenance."""
        return [tree for tree in self.trees.values() if tree["resourceType"] == "Provenance"]

    @property
    def explained(self) -> Counter[str]:
        """How many Provenances speak of each result."""
        return Counter(target["reference"] for tree in self.provenances for target in tree["target"])

    @property
    def once(self) -> bool:
        """Whether everything is there in its first version, and each result has one Provenance."""
        return set(self.versions.values()) == {"1"} and self.explained == Counter(self.results)


def states(folder: Path, url: str) -> Counter[str]:
    """How many rows of the ledger are in each state."""
    return Counter(one.state for one in entries(folder, url).values())


def entries(folder: Path, url: str) -> dict[str, ledger.Entry]:
    """The ledger's rows by `Type/id`."""
    with Archive.open(folder) as archive:
        return {f"{one.type}/{one.id}": one for one in ledger.entries(archive.connection, url).values()}


def transactions(folder: Path) -> list[list[str]]:
    """What was sent together and is not known to have arrived."""
    found: dict[str, list[str]] = {}
    with Archive.open(folder) as archive:
        for bundle, type_, own in archive.connection.execute(
            "select bundle, type, id from push_op where state = 'INTENT'"
        ):
            found.setdefault(bundle, []).append(f"{type_}/{own}")
    return list(found.values())
