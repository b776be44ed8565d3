"""D21, D22: lung disease and skin ulcers, deaths and adverse events."""

import pytest

from lib.people import analysed, changed, outcome, records, said, share, shown, table, trial

SOURCES = changed(safety={"sources": ("AdverseEvent",)})


@pytest.mark.parametrize(
    ("condition", "present"),
    [
        ("p1 ILD d-90", True),
        ("p1 ILD d1", True),  # the infusion's own date counts as before
        ("p1 ILD d2", False),
        ("p1 ILD - recorded=d-90", True),
        ("p1 ILD - recorded=d2", False),
        ("p1 ILD -", False),
        ("p1 ILD 2023", True),  # every day of 2023 is before
        ("p1 ILD 2024", False),  # most days of 2024 are not
        ("p1 ILD d-90 abated=d-10", False),
        ("p1 ILD 2022 abated=2023", False),
        ("p1 ILD 2022 abated=2024", True),  # not known to have ended before the infusion
        ("p1 ILD d-90 abated=d1", False),
        ("p1 ILD d-90 abated=d2", True),
        ("p1 ULCER d-90", False),
    ],
)
def test_d21_the_denominator_is_the_condition_present_at_infusion(condition: str, present: bool) -> None:
    results = analysed(f"""
        p1 MSCT    d1
        p1 ILDRESP d183 worse
        {condition}
    """)
    row = trial(results, "ILDIMP", "INFUSED")
    assert row.n == int(present)
    assert said(results, "p1", "ILDIMP") != "no_findings" if present else row.reason == "no_findings"


@pytest.mark.parametrize(
    ("after", "answer", "value"),
    [
        ("p1 ILDRESP d183 improved", "met", "improved"),
        ("p1 ILDRESP d183 unchanged", "not met", "unchanged"),
        ("p1 ILDRESP d183 worse", "not met", "worse"),
        ("p1 ILDRESP d92 improved \n p1 ILDRESP d183 worse", "not met", "worse"),  # the latest
        ("p1 ILDRESP d-9 improved", "no_findings", ""),
        ("p1 ILDRESP d1 improved", "no_findings", ""),
        ("p1 ILDRESP d183 improved \n p1 ILDRESP d183 worse", "day_conflict", ""),
        ("p1 ULCRESP d183 improved", "no_findings", ""),
        ("p1 ILDRESP d310 improved \n p1 MSCT d300", "no_findings", ""),  # of course 2
        ("p1 ILDRESP d300 improved \n p1 MSCT d300", "met", "improved"),  # before course 2
        ("", "no_findings", ""),
    ],
)
def test_d21_improved_is_what_an_investigator_found_after_the_infusion(
    after: str, answer: str, value: str
) -> None:
    results = analysed(f"""
        p1 MSCT d1
        p1 ILD  d-90
        {after}
    """)
    assert said(results, "p1", "ILDIMP") == answer
    assert outcome(results, "p1", "ILDIMP").value == value


@pytest.mark.parametrize(
    ("abated", "answer"),
    [("d50", "met"), ("2024-03", "met"), ("2024", "no_findings")],
)
def test_d21_an_abatement_dated_after_the_infusion_is_improvement_too(abated: str, answer: str) -> None:
    """2024 alone could mean the day of the infusion."""
    results = analysed(f"p1 MSCT d1 \n p1 ULCER d-90 abated={abated}")
    assert said(results, "p1", "ULCIMP") == answer


def test_d21_of_two_ulcers_the_first_that_ended_dates_the_improvement() -> None:
    results = analysed("p1 MSCT d1 \n p1 ULCER d-90 abated=d80 \n p1 ULCER d-60 abated=d50")
    assert shown([outcome(results, "p1", "ULCIMP")], "value adt") == table("abated 2024-02-19")


def test_d21_an_abatement_after_the_data_cut_is_not_known_yet() -> None:
    lines = "p1 MSCT d1 \n p1 ULCER d-90 abated=d50"
    assert said(analysed(lines, cut="d49"), "p1", "ULCIMP") == "no_findings"
    assert said(analysed(lines, cut="d50"), "p1", "ULCIMP") == "met"


def test_d21_a_judgement_after_the_data_cut_is_not_known_yet() -> None:
    lines = "p1 MSCT d1 \n p1 ILD d-90 \n p1 ILDRESP d183 improved"
    assert said(analysed(lines, cut="d182"), "p1", "ILDIMP") == "no_findings"
    assert said(analysed(lines, cut="d183"), "p1", "ILDIMP") == "met"


def test_d21_who_was_not_judged_stays_in_all_infused_with_the_finding() -> None:
    results = analysed("""
        p1 MSCT    d1   id=i1
        p1 ILD     d-90 id=lung
        p1 ILDRESP d183 improved id=judged
        p2 MSCT    d1
        p2 ILD     d-90
        p3 MSCT    d1
    """)
    assert share(results, "ILDIMP", "INFUSED") == "1/2"
    assert share(results, "ILDIMP", "EVALUABLE") == "1/1"
    assert shown([outcome(results, "p1", "ILDIMP")], "adt source") == table("2024-07-01 lung+judged+i1")


def test_d21_nobody_judged_is_not_nobody_improved() -> None:
    results = analysed("p1 MSCT d1 \n p1 ILD d-90")
    row = trial(results, "ILDIMP", "INFUSED")
    assert (row.n, row.x, row.status, row.reason) == (1, None, "not evaluable", "no_findings")


def test_d22_without_a_safety_source_there_is_no_zero() -> None:
    results = analysed("p1 MSCT d1")
    for endpoint in ("AE", "SAE"):
        row = trial(results, endpoint, "INFUSED")
        assert (row.n, row.x, row.status, row.reason) == (1, None, "not evaluable", "no_safety_source")


def test_d22_a_source_that_nothing_reads_yet_is_no_zero_either() -> None:
    row = trial(analysed("p1 MSCT d1", plan=SOURCES), "SAE", "INFUSED")
    assert (row.x, row.reason) == (None, "no_findings")


def test_d22_death_is_what_the_patients_own_record_says() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 died d250
        p2 MSCT d1
        p2 died Y           # a date nobody wrote
        p3 MSCT d1
        p4 died d250        # never infused
    """)
    assert shown(results.by_subject, "usubjid status value adt", endpoint="DEATH") == table("""
        p1 met     2024-09-06 2024-09-06
        p2 met     Y          .
        p3 not+met .          .
    """)
    assert share(results, "DEATH", "INFUSED") == "2/3"


def test_a_subjects_age_is_in_whole_years_at_the_first_infusion() -> None:
    rows = records("""
        p1 MSCT d1
        p1 born 1980-01-01      # 44 on the day itself
        p2 MSCT d1
        p2 born 1980-01-02
        p3 MSCT d1
        p3 born 1980
        p4 born 1980-01-01      # never infused
        p5 MSCT 2023-02-28
        p5 born 2000-02-29
        p6 MSCT d1
        p6 born 2024-01-02
        p7 MSCT d1
        p7 born 2024-01-01
    """).subjects
    assert shown(rows, "usubjid age") == table("""
        p1 44
        p2 43
        p3 .
        p4 .
        p5 22
        p6 .
        p7 0
    """)


def test_a_subject_says_what_they_had_and_why_they_are_not_evaluable() -> None:
    rows = records("""
        p1 MSCT d1
        p1 DX   d-90 DM
        p1 DX   d250 DM state=relapse
        p1 CK   d-5  1000
        p1 CK   d8   800
        p1 MSCT d200
        p2 MSCT d1
        p2 CK   d8   800
        p3 MSCT d1
        p3 CK   d-5  800
        p4 CK   d-5  800
    """).subjects
    assert shown(rows, "usubjid dx trtsdt courses infusedfl evalfl excluded_why") == table("""
        p1 DM 2024-01-01 2 Y Y .
        p2 .  2024-01-01 1 Y N no_baseline
        p3 .  2024-01-01 1 Y N no_value
        p4 .  .          0 N N not_infused
    """)
