"""`pull --plan` with an export: what would be asked, said before a server has said what it can do."""

from pathlib import Path
from urllib.parse import unquote

import pytest

from bulk.test_lost_polls_and_secrets import BASE, TOML, Exporter
from client.test_pull_server import Study
from fhir_msct.tasks.pull import pull_plan

ALL = "_type=Patient,Observation,Procedure"
CODES = {"Observation": ("http://loinc.org|2157-6", "http://loinc.org|6768-6")}


def plan_of(folder: Path, how: str, cohort: str = 'group = "g"', kind: str = "hospital") -> list[str]:
    toml = TOML.replace('how = "export"', f'how = "{how}"').replace('group = "g"', cohort)
    study = Study(folder, toml.replace("[cohort]", f'kind = "{kind}"\n[cohort]'), BASE)
    return list(pull_plan(study.plan, study.wanted))


def test_the_export_is_in_the_plan_and_the_search_that_may_follow(tmp_path: Path) -> None:
    lines = plan_of(tmp_path / "study", "export")
    assert lines[:8] == [
        f"GET {BASE}/metadata",
        f"GET {BASE}/Group/g",
        f"GET {BASE}/Group/g/$export?{ALL}  (where the server takes it; by POST where it refuses that)",
        "    and _since=[shortly before the last complete pull began], where there was one",
        "GET [the export's status address]  (until it is done; and its further parts)",
        "GET [each file of the export]",
        "DELETE [the export's status address]  (when it is over)",
        "what follows is counted before and after an export, and searched for where none is taken, "
        "where it stalls, and as far as it lacks something:",
    ]
    assert [line for line in lines[8:] if not line.startswith("    ")][:2] == [
        f"GET {BASE}/{asked}=[each patient of the cohort]&_count=10  "
        "(and its pages; counted before and after)"
        for asked in ("Patient?_id", "Observation?patient")
    ]
    assert lines[-1] == (
        "scopes: system/Group.rs system/Patient.rs system/Observation.rs system/Procedure.rs"
    )


@pytest.mark.parametrize("codes", [{}, CODES])
def test_what_is_sent_is_what_the_plan_says(tmp_path: Path, codes: dict[str, tuple[str, ...]]) -> None:
    study, server = Study(tmp_path / "study", TOML, BASE, codes=codes), Exporter()
    study.pull(server)
    planned = [line.partition("  (")[0] for line in pull_plan(study.plan, study.wanted)]
    sent = [unquote(f"{one.method} {one.url}") for one in server.requests if "$export" in str(one.url)]
    assert sent == [line for line in planned if "/$export" in line]
    assert [one.count("_typeFilter") for one in sent] == [sum(map(len, codes.values()))]


@pytest.mark.parametrize(
    ("how", "cohort", "kind", "exports"),
    [
        ("search", 'group = "g"', "hospital", {}),
        ("auto", 'group = "g"', "hospital", {"Group/g": "where the server says that it exports a Group"}),
        ("auto", 'patients = ["p1"]', "hospital", {}),
        ("export", 'patients = ["p1"]', "hospital", {}),
        (
            *("export", 'patients = ["p1"]', "research"),
            {
                "Patient": "where the server takes it",
                "": "where the server says that it exports only everything",
            },
        ),
        (
            *("auto", 'patients = ["p1"]', "research"),
            {
                "Patient": "where the server says that it exports all patients",
                "": "where the server says that it exports only everything",
            },
        ),
    ],
)
def test_what_depends_on_the_server_is_said_with_its_condition(
    tmp_path: Path, how: str, cohort: str, kind: str, exports: dict[str, str]
) -> None:
    lines = plan_of(tmp_path / "study", how, cohort, kind)
    assert [line for line in lines if "/$export" in line] == [
        f"GET {BASE}/{level}{'/' * bool(level)}$export?{ALL}  ({where}; by POST where it refuses that)"
        for level, where in exports.items()
    ]
    assert any("DELETE" in line for line in lines) == bool(exports)
    brings_everybody = "no export: an export without a Group brings everybody's data"
    forbidden = (how, kind) == ("export", "hospital")
    assert any(line.startswith(brings_everybody) for line in lines) == forbidden
