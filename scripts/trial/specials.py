"""What a plain table of visits cannot say: odd results, transplants, findings.

Day: of course 1 (no day 0); for p11, who has no course, a date.
"""

from datetime import date
from typing import NamedTuple


class Own(NamedTuple):
    """A study Observation outside the plain table. `use`: the visit it is chosen for, as `course:visit`."""

    id: str
    paramcd: str
    day: int | date
    value: str
    unit: str
    use: str = ""
    why: str = ""
    """Why it is not chosen, where the rules leave no doubt."""
    marks: tuple[tuple[str, str], ...] = ()


def marks(**how: str) -> tuple[tuple[str, str], ...]:
    """How a row is written, as in plan.MARKED."""
    return tuple(how.items())


OWN_ROWS = (
    # Before the infusion: too early, early, and after it on the same day by the clock.
    Own("ck-p01-early-1", "CK", -31, "1990", "U/L", why="before_window"),
    Own("ck-p01-early-2", "CK", -20, "2210", "U/L"),
    Own("ck-p01-day1-2", "CK", 1, "1590", "U/L", why="outside_window", marks=marks(clock="16:20")),
    # Two values three days before and after the target: the later day.
    Own("ck-p01-m01-1", "CK", 28, "305", "U/L", why="not_closest"),
    Own("ck-p01-m01-2", "CK", 34, "268", "U/L", use="1:M1"),
    # Two on one day without a time: the day's median, at the baseline too.
    Own("ck-p03-base-1", "CK", -2, "950", "[IU]/L", use="1:BASELINE"),
    Own("ck-p03-base-2", "CK", -2, "978", "[IU]/L", use="1:BASELINE"),
    Own("ck-p03-m03-1", "CK", 90, "140", "[IU]/L", use="1:M3"),
    Own("ck-p03-m03-2", "CK", 90, "160", "[IU]/L", use="1:M3"),
    # The same value twice on one day.
    Own("ck-p06-m03-1", "CK", 99, "166", "text IU/L", use="1:M3"),
    Own("ck-p06-m03-2", "CK", 99, "166", "text IU/L", use="1:M3"),
    # Two on one day with times: the latest.
    Own("ck-p07-w01-1", "CK", 10, "1180", "U/L", why="same_day_other", marks=marks(clock="08:00")),
    Own("ck-p07-w01-2", "CK", 10, "1104", "U/L", use="1:W1", marks=marks(clock="15:30")),
    # One result sent twice under one identifier, then corrected: the newest corrected one.
    Own("ck-p08-m06-1", "CK", 201, "161", "U/L", marks=marks(identifier="SYN-0801")),
    Own(
        "ck-p08-m06-2", "CK", 201, "101", "U/L", use="1:M6",
        marks=marks(identifier="SYN-0801", status="corrected"),
    ),
    # One id in two versions: the newer, corrected one is the result.
    Own("ck-p09-w02", "CK", 17, "948", "U/L", marks=marks(superseded="yes")),
    Own("ck-p09-w02", "CK", 17, "498", "U/L", use="1:W2", marks=marks(status="corrected", version="2")),
    # A comparator among differing values of one day: no value for that visit.
    Own("ckmbm-p10-m03-1", "CKMBMASS", 94, "<2.0", "ng/mL", why="day_conflict"),
    Own("ckmbm-p10-m03-2", "CKMBMASS", 94, "3.1", "ng/mL", why="day_conflict"),
    # Too early to be a baseline: this patient has none for CK-MB.
    Own("ckmbm-p08-early", "CKMBMASS", -31, "4.1", "ng/mL", why="before_window"),
    # More than a scale of 80 can hold, on the target day itself.
    Own("mmt8-p04-m01-x", "MMT8", 31, "84", "{score}", why="outside_scale"),
    # Between two windows; after the data cut; only a month is known.
    Own("ck-p09-unsched", "CK", 21, "402", "U/L", why="outside_window"),
    Own("ck-p10-late", "CK", 325, "164", "U/L", why="after_cut"),
    Own("ck-p06-month", "CK", 33, "231", "text IU/L", why="partial_date", marks=marks(when="month")),
    # The cohort member who was never infused.
    Own("ck-p11-1", "CK", date(2022, 5, 9), "611", "U/L", why="no_course"),
    Own("ck-p11-2", "CK", date(2022, 11, 21), "540", "U/L", why="no_course"),
    Own("ptgvas-p11-1", "PTGVAS", date(2022, 5, 9), "5.5", "cm", why="no_course"),
    Own("mmt8-p11-1", "MMT8", date(2022, 5, 9), "58", "{score}", why="no_course"),
)  # fmt: skip


class Odd(NamedTuple):
    """A study Observation that must be set aside, each for one reason only."""

    id: str
    paramcd: str
    day: int
    value: str
    unit: str
    reason: str
    marks: tuple[tuple[str, str], ...] = ()


ODD_ROWS = (
    Odd("ck-p01-odd-nounit", "CK", 92, "5000", "none", "unit-missing", marks(clock="18:00")),
    Odd("ptgvas-p02-odd-bare", "PTGVAS", 183, "63", "none", "unit-missing"),
    Odd("ck-p03-odd-mmol", "CK", 8, "5.1", "mmol/L", "unit-unknown"),
    Odd("ck-p04-odd-dalton", "CK", 15, "399", "u/L", "unit-unknown"),
    Odd("ck-p05-odd-nounitname", "CK", 92, "77", "text NOT DEFINED IN SOURCE", "unit-unknown"),
    Odd("ck-p06-odd-nocode", "CK", 183, "4100", "U/L", "no-code", marks(odd="no-code")),
    Odd("ck-p07-odd-masked", "CK", 183, "", "U/L", "absent-masked", marks(odd="masked")),
    Odd("ck-p08-odd-notdone", "CK", 15, "", "U/L", "absent-not-performed", marks(odd="not-performed")),
    Odd("ckmbm-p02-odd-unknown", "CKMBMASS", 183, "", "ug/L", "absent-unknown", marks(odd="unknown")),
    Odd("ck-p07-odd-haemolysed", "CK", 15, "9120", "U/L", "modifier", marks(odd="modifier")),
    Odd(
        "ck-p04-odd-error", "CK", -1, "9999", "U/L", "status-entered-in-error",
        marks(status="entered-in-error"),
    ),
    Odd("ck-p09-odd-prelim", "CK", 183, "7777", "U/L", "status-preliminary", marks(status="preliminary")),
    Odd("ck-p10-odd-cancelled", "CK", 31, "3456", "U/L", "status-cancelled", marks(status="cancelled")),
    Odd("ck-p01-odd-twocodes", "CK", 183, "52", "U/L", "codes-contradict", marks(code="two")),
    Odd("ck-p02-odd-rules", "CK", 8, "8888", "U/L", "implicit-rules", marks(odd="implicit-rules")),
    Odd("ck-p06-odd-text", "CK", 8, "", "U/L", "value-kind", marks(odd="string")),
    Odd("mmt8-p10-odd-novalue", "MMT8", 183, "", "{score}", "no-value", marks(odd="no-value")),
    Odd("ck-p10-odd-nodate", "CK", 92, "6543", "U/L", "no-date", marks(when="issued")),
    Odd("ck-p03-odd-endonly", "CK", 15, "4321", "U/L", "no-date", marks(when="end")),
    Odd("ptgvas-p09-odd-timing", "PTGVAS", 183, "9.9", "cm", "date-kind", marks(when="timing")),
)  # fmt: skip


class Cells(NamedTuple):
    """A Procedure or MedicationAdministration that says, or seems to say, that cells were given."""

    type: str
    id: str
    patient: str
    when: str
    course: int = 0
    infusion: int = 0
    tier: str = ""
    """How it is recognised; empty where it must be refused."""
    refused: str = ""
    source: str = ""
    dose: str = ""
    how: str = ""
    """local, product, hsct, category, text, words, not-done."""


PROC, MED = "Procedure", "MedicationAdministration"
UC, BM = "umbilical cord", "bone marrow"
LOCAL, PRODUCT = "local code", "product code"

CELLS = (
    Cells(PROC, "msct-p01-1", "p01", "2021-03-15T10:30:00+08:00", 1, 1, LOCAL, "", UC, "1.0", "local"),
    Cells(PROC, "msct-p02-1", "p02", "2021-04-20", 1, 1, LOCAL, "", BM, "", "local"),
    Cells(PROC, "msct-p02-2", "p02", "2021-12-15", 2, 2, LOCAL, "", UC, "", "local"),
    Cells(PROC, "msct-p03-1", "p03", "2021-06-07", 1, 1, LOCAL, "", UC, "1.0", "local"),
    Cells(PROC, "msct-p03-2", "p03", "2021-06-14", 1, 2, LOCAL, "", UC, "1.0", "local"),
    Cells(PROC, "msct-p04-1", "p04", "2021-09-01T00:00:00+08:00", 1, 1, PRODUCT, "", UC, "", "product"),
    Cells(PROC, "msct-p05-1", "p05", "2021-11-10", 1, 1, LOCAL, "", UC, "", "local"),
    Cells(
        MED, "cells-p05-1", "p05", "2021-11-10T09:30:00+08:00/2021-11-10T11:00:00+08:00",
        1, 1, PRODUCT, "", UC, "1.00", "product",
    ),
    Cells(PROC, "msct-p05-2", "p05", "2022-03-19", 2, 2, LOCAL, "", UC, "", "local"),
    Cells(PROC, "msct-p06-1", "p06", "2022-01-18", 1, 1, LOCAL, "", BM, "", "local"),
    Cells(
        PROC, "msct-p07-1", "p07", "2022-10-11T09:00:00+08:00/2022-10-11T10:15:00+08:00",
        1, 1, LOCAL, "", UC, "", "local",
    ),
    Cells(MED, "cells-p07-2", "p07", "2023-07-07T10:00:00+08:00", 2, 2, PRODUCT, "", UC, "1.2", "product"),
    Cells(PROC, "msct-p08-1", "p08", "2022-03-09T18:30:00Z", 1, 1, PRODUCT, "", BM, "", "product"),
    Cells(PROC, "msct-p09-1", "p09", "2022-06-21", 1, 1, LOCAL, "", UC, "", "local"),
    Cells(MED, "cells-p10-1", "p10", "2023-10-24T11:05:00+08:00", 1, 1, PRODUCT, "", UC, "1.0", "product"),
    # Awaiting review: said in words only, or in words beside a code that does not name the cells.
    Cells(PROC, "msct-p11-words", "p11", "2023-05-16", tier="text only", how="text"),
    Cells(PROC, "msct-p11-codewords", "p11", "2023-09-12", tier="code + text", how="words"),
    # Refused.
    Cells(PROC, "hsct-p11", "p11", "2016-02-03", refused="transplant-not-msc", how="hsct"),
    Cells(PROC, "transplant-p06-category", "p06", "2012-08-20", refused="transplant-not-msc", how="category"),
    Cells(PROC, "msct-p09-notdone", "p09", "2023-04-04", refused="status-not-done", how="not-done"),
)  # fmt: skip


class Illness(NamedTuple):
    """A Condition that the study reads."""

    id: str
    patient: str
    term: str
    finding: str
    onset: str
    state: str = "active"
    abated: str = ""
    codings: tuple[str, ...] = ()


SNOMED_OF = {"PM": "31384009", "DM": "396230008", "ILD": "233703007", "ULCER": "46742003"}

ILLNESSES = (
    Illness("dx-p02-again", "p02", "DM", "DX", "2021-11-30", "recurrence"),
    Illness("dx-p05-again", "p05", "PM", "DX", "2022-03-07", "recurrence", codings=("icd M33.22",)),
    Illness("dx-p09-again", "p09", "PM", "DX", "2023-03-27", "relapse"),
    Illness("ild-p02", "p02", "ILD", "ILD", "2019-05-14", codings=("sct 233703007", "icd J84.9")),
    Illness("ild-p04", "p04", "ILD", "ILD", "2020-10-02", "resolved", "2022-03-08", ("icd J84.10",)),
    Illness("ild-p06", "p06", "ILD", "ILD", "2018-03-27", codings=("sct 233703007",)),
    Illness("ild-p08", "p08", "ILD", "ILD", "2022-09-15", codings=("icd J84.89",)),
    Illness("ulcer-p03", "p03", "ULCER", "ULCER", "2019-11-05", codings=("sct 46742003", "icd L97.909")),
)
"""Beside these, each of the eleven has one Condition for the disease itself. p08's came later."""

JUDGEMENTS = (
    ("ildresp-p02", "p02", "ILDRESP", 176, "improved"),
    ("ildresp-p06", "p06", "ILDRESP", 170, "unchanged"),
    ("ulcresp-p03", "p03", "ULCRESP", 190, "improved"),
)
"""An investigator's judgement: id, patient, code, day of course 1, state."""

CK_HIGH = {
    "p01": "180", "p02": "198", "p03": "180", "p04": "150", "p05": "198",
    "p06": "170", "p07": "180", "p08": "170", "p09": "198", "p10": "170", "p11": "198",
}  # fmt: skip
"""Each laboratory's own upper limit of normal for creatine kinase, in U/L."""
