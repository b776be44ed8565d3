"""Everything known of one subject in one course: what the endpoints look at, and nothing else."""

from datetime import date

from msgspec import Struct

from fhir_msct.outcomes.change import Change, change
from fhir_msct.outcomes.chosen import Series
from fhir_msct.outcomes.courses import Course, why_absent
from fhir_msct.outcomes.days import BASELINE
from fhir_msct.outcomes.values import Value
from fhir_msct.plan import Visit
from fhir_msct.records import Finding, Subject


class Pair(Struct, frozen=True, kw_only=True):
    """A baseline, the value of a visit, and the change between them."""

    base: Value
    value: Value
    change: Change


class Treated(Struct, frozen=True, kw_only=True):
    """One subject in one course: the population INFUSED is all of them (D17)."""

    usubjid: str
    course: Course
    series: dict[str, Series]
    """By paramcd; every parameter of the plan is there, also what was never measured."""
    subject: Subject | None = None
    died: date | None = None
    """The date of death, where it is known in full."""
    findings: tuple[Finding, ...] = ()
    data_cut: date | None = None

    def why_absent(self, paramcd: str, visit: Visit) -> str:
        """Why there is no value at a visit (D7, D15)."""
        if visit.name in self.series[paramcd].conflicts:
            return "day_conflict"
        return why_absent(self.course, visit, died=self.died, data_cut=self.data_cut)

    def why_no_baseline(self, paramcd: str) -> str:
        """Why there is no baseline (D5, D7)."""
        return "day_conflict" if BASELINE in self.series[paramcd].conflicts else "no_baseline"

    def pair(self, paramcd: str, visit: Visit) -> Pair | str:
        """Baseline and value of a visit that can be compared, or the reason why there are none.

        What is not yet due comes first, since it leaves every denominator; then the baseline, which
        nothing can replace; then the value.
        """
        series = self.series[paramcd]
        value = series.visits.get(visit.name)
        absent = "" if value else self.why_absent(paramcd, visit)
        if absent == "not_due":
            return absent
        if series.baseline is None:
            return self.why_no_baseline(paramcd)
        if value is None:
            return absent
        if self.died is not None and self.died <= value.day:
            return "died"
        changed = change(series.baseline, value)
        return changed.why_not or Pair(base=series.baseline, value=value, change=changed)
