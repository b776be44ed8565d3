"""How the numbers were computed, in sentences made from the plan, and what they were computed from."""

from fhir_msct.plan import Plan
from fhir_msct.report.rounding import ABSENT, percent
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import Table, listed
from fhir_msct.report.words import table

VERSIONS = ("tool", "python", "msgspec", "scipy", "pandas", "fhir.resources", "httpx")


def facts(files: StudyFiles) -> list[tuple[str, str]]:
    """What the head of the report says about the study."""
    base = files.accounting.get("base") or files.runs["records"].get("base") or "files on disk"
    cut = "none" if files.data_cut in ("", "none") else files.data_cut
    return [("study", files.plan.study.id), ("data from", str(base)), ("data cut", cut)]


def visit_text(files: StudyFiles) -> str:
    """The visits and their windows in one sentence."""
    spans = [
        f"{visit.name} day {visit.start} to {visit.stop} (target {visit.target})"
        for visit in files.plan.visits
    ]
    return f"Days count from the first infusion of a course, which is day 1. Visits: {listed(spans)}."


def short_text(files: StudyFiles) -> str:
    """What the brackets and the p of the first chapter are."""
    return str(table("text")["short"]).format(conf=percent(files.plan.statistics.conf))


def sentences(files: StudyFiles) -> list[str]:
    """The rules that decided the numbers; each is a key of study.toml."""
    known = _values(files.plan)
    return [str(sentence).format_map(known) for sentence in table("methods")["lines"]]


def provenance(files: StudyFiles) -> tuple[Table, ...]:
    """Versions, and the hash of every file that a stage read or wrote."""
    return (_versions(files), *(_hashes(files, stage) for stage in files.runs))


def _values(plan: Plan) -> dict[str, str]:
    spans = {(p.baseline_from, p.baseline_to) for p in plan.parameters.values()}
    return {
        "repeat": str(plan.course.repeat_within_days),
        "trusted": listed(plan.course.trusted, "or"),
        "baseline": listed(sorted(f"day {start} to {stop}" for start, stop in spans)),
        "statuses": listed(plan.records.accept_status, "or"),
        "conf": percent(plan.statistics.conf),
        "pairs": str(plan.statistics.exact_pairs),
        "fewest": str(plan.statistics.min_ci_n),
        "states": listed(plan.recurrence.states, "or"),
        "zone": plan.study.timezone or "none: dates as they were sent",
    }


def _versions(files: StudyFiles) -> Table:
    return Table(
        title="Versions",
        columns=("", *files.runs),
        rows=tuple((name, *(str(run.get(name, ABSENT)) for run in files.runs.values())) for name in VERSIONS),
    )


def _hashes(files: StudyFiles, stage: str) -> Table:
    run = files.runs[stage]
    rows = [
        (path, part, digest or "absent")
        for part, key in (("read", "inputs"), ("written", "outputs"))
        for path, digest in sorted(run.get(key, {}).items())
    ]
    return Table(
        title=f"Files of the stage {stage}",
        columns=("file", "", "sha256"),
        rows=tuple(rows),
        empty="Unknown.",
    )
