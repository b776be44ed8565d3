"""Records in, outcomes out: knows CDISC and numbers, no FHIR.

A trial is followed subject by subject and course by course; what each value is taken for is decided
once, and everything else is counted from that.
"""

from datetime import date

from fhir_msct.outcomes.analysis import analysis_rows
from fhir_msct.outcomes.answers import answers
from fhir_msct.outcomes.courses import open_courses
from fhir_msct.outcomes.endpoints import trial_answers
from fhir_msct.outcomes.follow import follow
from fhir_msct.outcomes.reviews import Review, read_reviews
from fhir_msct.outcomes.subjects import complete
from fhir_msct.outcomes.visits import summaries
from fhir_msct.plan import Plan
from fhir_msct.records import StudyRecords
from fhir_msct.results import Results

__all__ = ["Review", "analyse", "complete", "open_courses", "read_reviews"]


def analyse(records: StudyRecords, plan: Plan, data_cut: date | None) -> Results:
    """The trial's results up to the data cut (D16); records whose courses are open (`open_courses`)."""
    followed = follow(records, plan, data_cut)
    by_subject = tuple(answers(followed.treated, plan))
    by_visit = tuple(summaries(followed.treated, plan))
    return Results(
        analysis=tuple(analysis_rows(followed, plan)),
        by_subject=by_subject,
        by_visit=by_visit,
        endpoints=tuple(trial_answers(followed.treated, by_subject, by_visit, plan)),
    )
