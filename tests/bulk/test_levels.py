"""Where an export is asked for, and where a search is the better guest."""

from pathlib import Path

import pytest

from fhir_msct import plan as plans
from fhir_msct.tasks.export_level import level

EXPORT = [{"name": "export", "definition": "x"}]


def says(*places: str) -> dict[str, object]:
    """A CapabilityStatement that exports at these levels."""
    listed = [{"type": one, "operation": EXPORT} for one in places if one != "system"]
    return {"rest": [{"resource": listed, "operation": EXPORT if "system" in places else []}]}


@pytest.mark.parametrize(
    ("how", "cohort", "kind", "places", "found"),
    [
        ("search", 'group = "g"', "research", ("Group", "Patient", "system"), None),
        ("auto", 'group = "g"', "hospital", ("Group",), "Group/g"),
        ("auto", 'group = "Group/g"', "hospital", ("Group",), "Group/g"),
        ("auto", 'group = "g"', "hospital", ("Patient", "system"), None),
        ("export", 'group = "g"', "hospital", (), "Group/g"),
        ("auto", 'patients = ["p"]', "hospital", ("Group", "Patient", "system"), None),
        ("export", 'patients = ["p"]', "hospital", ("Group", "Patient", "system"), None),
        ("auto", 'patients = ["p"]', "research", ("Patient", "system"), "Patient"),
        ("auto", 'patients = ["p"]', "research", ("system",), ""),
        ("auto", 'patients = ["p"]', "research", ("Group",), None),
        ("export", 'patients = ["p"]', "research", (), "Patient"),
    ],
)
def test_the_level_is_that_of_the_cohort(
    tmp_path: Path, how: str, cohort: str, kind: str, places: tuple[str, ...], found: str | None
) -> None:
    server = f'[server]\nurl = "http://127.0.0.1:1/fhir"\nkind = "{kind}"\n'
    (tmp_path / "study.toml").write_text(f'{server}[cohort]\n{cohort}\n[pull]\nhow = "{how}"\n')
    where, why = level(plans.load(tmp_path), says(*places))
    assert where == found
    assert bool(why) == (how == "export" and found is None)
