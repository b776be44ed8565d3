"""What a reader must see first: warnings, and the trial's answers in a few sentences."""

from fhir_msct.plan import Endpoint
from fhir_msct.report import answers, flow, people
from fhir_msct.report.rounding import p_value, statistic
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import counted, listed
from fhir_msct.report.words import word
from fhir_msct.results import Answer, Outcome

SYNTHETIC = "SYNTHETIC DATA: invented patients, made to try the tool on. Nothing here is evidence."

FEWEST = 2
"""Subjects that a parameter needs to stand among the highlights; the report's tables hold every one."""
NAMELESS = ("normal", "retreated")
"""Rules whose subjects are not listed: no event, or named with the infusions."""


def banners(files: StudyFiles) -> list[str]:
    """The warnings that stand above everything."""
    said = [SYNTHETIC] if files.synthetic else []
    if files.partial:
        said.append("PARTIAL: the pull could not prove itself complete. Every number below may change.")
    if files.stale:
        said.append(
            f"STALE: what {listed(files.stale)} was made from has changed since, or a file of it. "
            "Run records, outcomes and report again."
        )
    return said


def mark(files: StudyFiles) -> str:
    """The word that stands on every table of data that are not whole or not current."""
    parts = (["PARTIAL"] if files.partial else []) + (["STALE"] if files.stale else [])
    return ", ".join(parts)


def lines(files: StudyFiles) -> list[str]:
    """The trial in a few sentences."""
    return [
        resources_line(files),
        treated_line(files),
        *change_lines(files),
        *response_lines(files),
        *[f"{name}: {answer}." for name, answer in event_lines(files)],
    ]


def resources_line(files: StudyFiles) -> str:
    """What became of the resources, as a sum."""
    sums = flow.totals(files)
    text = (
        f"{sums['seen']} resources = {sums['mapped']} mapped + {sums['set_aside']} set aside + "
        f"{sums['out_of_scope']} out of scope"
    )
    return text + ("." if flow.balanced(files) else "; BUT THE COUNTS DO NOT ADD UP.")


def treated_line(files: StudyFiles) -> str:
    """How many were infused, once and again."""
    opened = people.openings(files)
    again = sorted(usubjid for usubjid, courses in opened.items() if len(courses) > 1)
    text = f"{counted(len(opened), 'subject')} infused with MSC"
    return text + (f"; {len(again)} of them again ({listed(again)})." if again else "; nobody again.")


def change_lines(files: StudyFiles) -> list[str]:
    """One sentence for each parameter whose change at the endpoint's visit has an answer."""
    said = []
    for endpoint in files.plan.endpoints:
        if endpoint.rule == "change":
            for paramcd in endpoint.paramcds:
                said += [_change(files, row) for row in answers.family(files, endpoint, paramcd)]
    return [line for line in said if line]


def response_lines(files: StudyFiles) -> list[str]:
    """One sentence for each parameter with an answer to the response endpoint of course 1."""
    said = []
    for endpoint in files.plan.endpoints:
        if endpoint.rule == "response" and endpoint.course == 1:
            said += [_response(files, endpoint, paramcd) for paramcd in endpoint.paramcds]
    return [line for line in said if line]


def event_lines(files: StudyFiles) -> list[tuple[str, str]]:
    """Each endpoint about an event or a finding, with its answer and whom it concerns."""
    said = []
    for endpoint in files.plan.endpoints:
        if endpoint.rule in ("ever_better", "response", "change"):
            continue
        for row in answers.family(files, endpoint, endpoint.paramcds[0] if endpoint.paramcds else ""):
            if row.population != answers.PAIRED:
                text = answers.text(row) + answers.of_those(row) + who(files, endpoint)
                said.append((word("event", endpoint.id), text))
    return said


def who(files: StudyFiles, endpoint: Endpoint) -> str:
    """The subjects whom an event met, with its date; "by" where only a consequence has one."""
    if endpoint.rule in NAMELESS:
        return ""
    met = [row for row in files.by_subject if row.endpoint == endpoint.id and row.status == "met"]
    return f": {', '.join(_when(row) for row in met)}" if met else ""


def _when(row: Outcome) -> str:
    if not row.adt:
        return row.usubjid
    return f"{row.usubjid} {'by ' if row.reason else ''}{row.adt.isoformat()}"


def _change(files: StudyFiles, row: Answer) -> str:
    """Before and after in the same subjects, and the change; nothing of fewer than two of them."""
    place = (row.paramcd, row.course, row.avisit)
    visit = next((one for one in files.by_visit if (one.paramcd, one.course, one.avisit) == place), None)
    if visit is None or row.status == answers.NO_ANSWER or (row.n or 0) < FEWEST:
        return ""
    remark = f"; {answers.remarks(row)}" if row.reason else ""
    return (
        f"{row.paramcd} at {row.avisit}: median {statistic(visit.pair_base_median)} before, "
        f"{statistic(visit.pair_median)} after, in {counted(row.n or 0, 'subject')}; "
        f"Hodges-Lehmann change {answers.text(row)}, p {p_value(row.p)}{remark}."
    )


def _response(files: StudyFiles, endpoint: Endpoint, paramcd: str) -> str:
    """Nothing for a parameter with fewer than two evaluable subjects: it is no result of the trial."""
    rows = answers.family(files, endpoint, paramcd)
    row = answers.of_all(rows)
    evaluable = max((answer.n or 0 for answer in rows if answer.population == answers.PAIRED), default=0)
    if row is None or row.status == answers.NO_ANSWER or evaluable < FEWEST:
        return ""
    return (
        f"{paramcd}: at least {endpoint.threshold} % better at {endpoint.avisit} in "
        f"{answers.text(row)} of {answers.among(row)}."
    )
