"""The planned Observations of the study, one row each: the tables of plan.py and the rows of specials.py."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from trial.plan import DAYS, MARKED, PEOPLE, SIDES, VALUES, VISITS, WINDOWS
from trial.specials import CK_HIGH, ODD_ROWS, OWN_ROWS

FACTORS = {
    "U/L": Fraction(1), "U/l": Fraction(1), "IU/L": Fraction(1), "[IU]/L": Fraction(1),
    "ukat/L": Fraction(60), "ng/mL": Fraction(1), "ug/L": Fraction(1), "%": Fraction(1),
    "cm": Fraction(1), "mm": Fraction(1, 10),
    "{score}": Fraction(1), "{points}": Fraction(1), "1": Fraction(1), "none": Fraction(1),
}  # fmt: skip
"""Study units in one unit as sent; the plan's own copy, on purpose."""
STUDY_UNITS = {
    "CK": "U/L", "CKMBMASS": "ug/L", "CKMBACT": "U/L", "CKMBCK": "%", "PTGVAS": "cm",
    "PTGNRS": "{score}", "MMT8": "{score}", "MMT8BI": "{score}",
}  # fmt: skip
PREFIX = {
    "CK": "ck", "CKMBMASS": "ckmbm", "CKMBACT": "ckmba", "CKMBCK": "ckmbp", "PTGVAS": "ptgvas",
    "PTGNRS": "ptgnrs", "MMT8": "mmt8", "MMT8BI": "mmt8bi",
}  # fmt: skip
KEYS = dict(zip(VISITS, ("base", "w01", "w02", "m01", "m03", "m06", "m12"), strict=True))
LABORATORY = ("CK", "CKMBMASS", "CKMBACT", "CKMBCK")
BOUNDS = {"CKMBMASS": "5.0", "CKMBACT": "24"}


class Row(NamedTuple):
    """One Observation of a study parameter as planned."""

    id: str
    patient: str
    paramcd: str
    day: date
    value: str
    unit: str
    uses: tuple[tuple[int, str], ...] = ()
    why: str = ""
    reason: str = ""
    marks: Mapping[str, str] = MappingProxyType({})

    @property
    def comparator(self) -> str:
        """`<`, or nothing."""
        return self.value[:1] if self.value[:1] == "<" else ""

    @property
    def number(self) -> str:
        """The digits as sent."""
        return self.value.lstrip("<")

    @property
    def unit_name(self) -> str:
        """The unit without the word that says it comes as text only."""
        return self.unit.removeprefix("text ")

    @property
    def exact(self) -> Fraction:
        """The value in the study's unit."""
        return Fraction(self.number) * FACTORS[self.unit_name]

    @property
    def source(self) -> str:
        """The resource version it becomes."""
        return f"Observation/{self.id}/_history/{self.marks.get('version', '1')}"

    @property
    def superseded(self) -> bool:
        """Whether a newer version of the same id follows."""
        return "superseded" in self.marks

    @property
    def high(self) -> str:
        """The upper limit of normal in the unit sent; empty where none is given that means anything."""
        if self.paramcd not in ("CK", *BOUNDS) or self.marks.get("range") in ("none", "zero"):
            return ""
        study = self.marks.get("high") or (
            CK_HIGH[self.patient] if self.paramcd == "CK" else BOUNDS[self.paramcd]
        )
        return plain(Fraction(study) / FACTORS.get(self.unit_name, Fraction(1)))


def plain(number: Fraction) -> str:
    """A number with few decimals as text."""
    return f"{float(number):.6f}".rstrip("0").rstrip(".")


def on_day(patient: str, course: int, day: int) -> date:
    """The date of a day of a course: the first infusion is day 1, the day before it is day -1."""
    person = PEOPLE[patient]
    start = person.infusions[0] if course == 1 else person.second
    if start is None:
        raise ValueError(f"{patient} has no course {course}")
    return start + timedelta(days=day - 1 if day > 0 else day)


def course_day(patient: str, course: int, when: date) -> int:
    """The day of the course that a date is."""
    gap = (when - on_day(patient, course, 1)).days
    return gap + 1 if gap >= 0 else gap


def planned() -> list[Row]:
    """Every planned Observation of a study parameter, odd ones included; checked against the windows."""
    rows = [*_tabled(), *_own(), *_odd()]
    for row in rows:
        for course, visit in row.uses:
            low, high = WINDOWS[visit]
            if not low <= course_day(row.patient, course, row.day) <= high:
                raise ValueError(f"{row.id} is planned for {visit}, and its day is not of that visit")
    return rows


def _tabled() -> Iterator[Row]:
    for (paramcd, course), people in VALUES.items():
        for patient, text in people.items():
            usual, values = text.split(": ")
            for visit, cell in zip(VISITS, values.split(), strict=True):
                if cell in "-*":
                    continue
                value, _, other = cell.partition("@")
                yield _visit_row(paramcd, course, patient, visit, value, other or usual)


def _visit_row(paramcd: str, course: int, patient: str, visit: str, value: str, unit: str) -> Row:
    day = DAYS[patient, course][VISITS.index(visit)]
    if day is None:
        raise ValueError(f"{patient} did not come at {visit}")
    if paramcd not in LABORATORY and day == 1:
        day = -1  # what is asked and tested was done the day before
    key = f"{PREFIX[paramcd]}-{patient}-{'c2-' if course == 2 else ''}{KEYS[visit]}"
    date_ = on_day(patient, course, day)
    return Row(
        key, patient, paramcd, date_, value, unit, ((course, visit),), marks=_marks(key, paramcd, patient)
    )


def _marks(key: str, paramcd: str, patient: str) -> dict[str, str]:
    sides = {"MMT8": SIDES.get(patient, "right"), "MMT8BI": "both"}
    return {"side": sides.get(paramcd, ""), **MARKED.get(key, {})}


def _own() -> Iterator[Row]:
    for own in OWN_ROWS:
        patient = own.id.split("-")[1]
        day = own.day if isinstance(own.day, date) else on_day(patient, 1, own.day)
        course, _, visit = own.use.partition(":")
        uses = ((int(course), visit),) if own.use else ()
        how = {**_marks(own.id, own.paramcd, patient), **dict(own.marks)}
        yield Row(own.id, patient, own.paramcd, day, own.value, own.unit, uses, own.why, marks=how)


def _odd() -> Iterator[Row]:
    for odd in ODD_ROWS:
        patient = odd.id.split("-")[1]
        how = {**_marks(odd.id, odd.paramcd, patient), **dict(odd.marks)}
        day = on_day(patient, 1, odd.day)
        yield Row(odd.id, patient, odd.paramcd, day, odd.value, odd.unit, reason=odd.reason, marks=how)
