"""The trial's answers: each endpoint in each population, and those that these data cannot give."""

from fractions import Fraction

from fhir_msct.plan import Endpoint
from fhir_msct.report.rounding import ABSENT, interval, measured, p_value, share, statistic
from fhir_msct.report.study_files import StudyFiles
from fhir_msct.report.table import Table, listed
from fhir_msct.report.visits import level, name
from fhir_msct.report.words import table, unit, word
from fhir_msct.results import Answer, Outcome

NO_ANSWER = "not evaluable"
PAIRED = "EVALUABLE"
ABNORMAL = "ABN"
NEVER = "never measured, as far as these data say"


def endpoint_of(files: StudyFiles, code: str) -> Endpoint | None:
    """The endpoint that an answer's code comes from: RESP20 for RESP20_CK."""
    for endpoint in files.plan.endpoints:
        if code == endpoint.id or code in [endpoint.name(paramcd) for paramcd in endpoint.paramcds]:
            return endpoint
    return None


def family(files: StudyFiles, endpoint: Endpoint, paramcd: str) -> list[Answer]:
    """The answers of one endpoint for one parameter, one a population."""
    code = endpoint.name(paramcd) if paramcd else endpoint.id
    return [row for row in files.endpoints if row.endpoint == code]


def of_all(answers: list[Answer]) -> Answer | None:
    """The answer whose denominator is everybody treated (enzyme responders: with an abnormal baseline)."""
    return next((row for row in answers if row.population != PAIRED), None)


def text(row: Answer | None) -> str:
    """An answer as one reads it: a share or a change with its interval, or why there is none."""
    if row is None:
        return ABSENT
    if row.status == NO_ANSWER:
        return f"{NO_ANSWER}: {word('reason', row.reason)}"
    if row.x is not None:
        return share(row.x, row.n, row.ci_lo, row.ci_hi)
    between = interval(row.ci_lo, row.ci_hi)
    return f"{statistic(row.value)} {unit(row.unit)}".strip() + (f" ({between})" if between else "")


def among(row: Answer) -> str:
    """Whose answers were counted."""
    extra = table("at_risk").get(row.rule, "") if row.population != ABNORMAL else ""
    return f"{word('population', row.population)} {extra}".rstrip()


def of_those(row: Answer) -> str:
    """Whom the denominator of a given answer is of, where that is not everybody."""
    at_risk = table("at_risk").get(row.rule, "")
    return f" of those {at_risk}" if at_risk and row.status != NO_ANSWER else ""


def remarks(row: Answer) -> str:
    """What limits an answer that was given."""
    return "; ".join(word("flag", flag) for flag in row.reason.split()) if row.status != NO_ANSWER else ""


def endpoints_table(files: StudyFiles) -> Table:
    """Every answer, and every endpoint without one."""
    return Table(
        title="Endpoints",
        columns=(
            "endpoint",
            "course",
            "visit",
            "among",
            "n",
            "answer (interval)",
            "level",
            "p",
            "method",
            "remarks",
        ),
        rows=tuple(
            (
                *(row.endpoint, str(row.course), row.avisit or ABSENT, among(row)),
                *(ABSENT if row.n is None else str(row.n), text(row)),
                *(level(row.conf), p_value(row.p), row.method or ABSENT, remarks(row)),
            )
            for row in files.endpoints
        ),
        numbers=frozenset({1, 4, 6, 7}),
        empty="No endpoint was computed.",
    )


def rules_table(files: StudyFiles) -> Table:
    """What each endpoint asks, in words, and where its rule comes from."""
    return Table(
        title="What each endpoint means",
        columns=("endpoint", "question", "rule", "source"),
        rows=tuple(
            (endpoint.id, endpoint.words, rule(endpoint), endpoint.source)
            for endpoint in files.plan.endpoints
        ),
    )


def rule(endpoint: Endpoint) -> str:
    """The rule of an endpoint as a sentence."""
    words = str(table("rule")[endpoint.rule])
    return words.format(
        visit=endpoint.avisit or "every visit",
        threshold=endpoint.threshold or "",
        finding=word("finding", endpoint.finding),
        event=word("event", endpoint.id).lower(),
        course=endpoint.course,
    )


def unanswered(files: StudyFiles) -> Table:
    """What these data cannot support: endpoints without an answer, by reason."""
    measured_at_all = {row.paramcd for row in files.analysis}
    asked: dict[str, dict[str, list[str]]] = {}
    for row in files.endpoints:
        if row.status == NO_ANSWER:
            never = bool(row.paramcd) and row.paramcd not in measured_at_all
            about = name(files.plan.parameters[row.paramcd]) if never else question(files, row)
            because = NEVER if never else word("reason", row.reason)
            asked.setdefault(because, {}).setdefault(about, []).append(row.population)
    rows = [
        (because, listed([_among(about, populations) for about, populations in abouts.items()]))
        for because, abouts in asked.items()
    ]
    return Table(
        title="What these data cannot support",
        columns=("because", "no answer for"),
        rows=tuple(rows),
        empty="Every endpoint has an answer.",
    )


def _among(about: str, populations: list[str]) -> str:
    """One population is named where the other has an answer."""
    alone = len(set(populations)) == 1 and populations[0] == PAIRED
    return f"{about} ({word('population', PAIRED)})" if alone else about


def answered_parameters(files: StudyFiles) -> set[str]:
    """The parameters about which at least one endpoint has an answer."""
    return {row.paramcd for row in files.endpoints if row.status != NO_ANSWER}


def question(files: StudyFiles, row: Answer) -> str:
    """What an answer is about, short: "CK response at M6"."""
    endpoint = endpoint_of(files, row.endpoint)
    asked = word("family", endpoint.id) if endpoint else row.endpoint
    asked = word("event", row.endpoint) if asked == row.endpoint else f"{row.paramcd} {asked}"
    return f"{asked} at {row.avisit}" if row.avisit else asked


def subject_answers(files: StudyFiles, endpoint: Endpoint) -> Table:
    """Each subject's answer to one family of endpoints, a column a parameter."""
    shown = [code for code in endpoint.paramcds if code in answered_parameters(files)]
    held: dict[str, dict[str, Outcome]] = {}
    for row in files.by_subject:
        if row.endpoint in [endpoint.name(code) for code in shown] and row.course == endpoint.course:
            held.setdefault(row.usubjid, {})[row.paramcd] = row
    return Table(
        title=f"By subject, course {endpoint.course}: {word('family', endpoint.id)}",
        columns=("subject", *shown),
        rows=tuple(
            (usubjid, *(_answer(answers.get(code)) for code in shown)) for usubjid, answers in held.items()
        ),
        note=rule(endpoint),
        empty="Nobody is in this course.",
    )


def _answer(row: Outcome | None) -> str:
    if row is None:
        return ABSENT
    if row.status == NO_ANSWER:
        return f"({word('brief_reason', row.reason)})"
    before, after = _measured(row.base_comparator, row.base), _measured(row.comparator, row.aval)
    pair = f"{before} to {after}: " if before and after else ""
    return pair + word("status", row.status)


def _measured(comparator: str, digits: str) -> str:
    return comparator + measured(Fraction(digits)) if digits else ""
