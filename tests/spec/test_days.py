"""D1, D2, D4, D6: which date, which day, before or after, at which visit."""

from datetime import date

import pytest

from fhir_msct.outcomes.days import date_of, first_day, last_day, study_day
from lib.people import PLAN, analysed, changed, shown, table


def test_d1_an_evening_at_utc_minus_5_is_that_day_and_not_the_next_in_utc() -> None:
    results = analysed("""
        p1 MSCT 2024-01-01
        p1 CK   2024-01-08T19:30:00-05:00 500    # in UTC this is 2024-01-09, day 9
    """)
    assert shown(results.analysis, "adt cady avisit") == table("2024-01-08 8 W1")


def test_d1_an_instant_in_z_moves_to_the_study_time_zone_and_other_offsets_stay() -> None:
    shanghai = changed(PLAN, study={"timezone": "Asia/Shanghai"})
    lines = """
        p1 MSCT 2024-01-01
        p1 CK   2024-01-07T20:00:00Z      500    # 2024-01-08 04:00 in Shanghai
        p1 MMT8 2024-01-07T20:00:00+01:00 50     # already where it was taken
    """
    assert shown(analysed(lines, plan=shanghai).analysis, "paramcd adt cady") == table("""
        CK   2024-01-08 8
        MMT8 2024-01-07 7
    """)
    assert shown(analysed(lines).analysis, "adt", paramcd="CK") == [["2024-01-07"]]


def test_d1_a_z_instant_without_a_study_time_zone_keeps_its_flag_in_the_analysis() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   2024-01-08T08:00:00Z 500 uln=200 flags=utc_date,unit_text
    """)
    assert shown(results.analysis, "adt flags") == table("2024-01-08 utc_date")


@pytest.mark.parametrize(
    ("sent", "why"), [("2024-01", "partial_date"), ("2024", "partial_date"), ("-", "no_adt")]
)
def test_d1_a_partial_date_is_kept_as_it_is_and_not_analysed(sent: str, why: str) -> None:
    results = analysed(f"""
        p1 MSCT d1
        p1 CK   d-5     1000
        p1 CK   {sent}  <500 id=partial
    """)
    columns = "aval comparator adt course avisit anl01fl why_not"
    assert shown(results.analysis, columns, source="Observation/partial/_history/1") == [
        ["500", "<", ".", ".", ".", ".", why]
    ]


def test_d2_the_infusion_is_day_1_the_day_before_is_minus_1_and_there_is_no_day_0() -> None:
    infusion = date(2024, 1, 1)
    assert study_day(date(2024, 1, 1), infusion) == 0 + 1
    assert study_day(date(2023, 12, 31), infusion) == -1
    assert study_day(date(2024, 7, 1), infusion) == 31 + 29 + 31 + 30 + 31 + 30 + 1
    assert all(study_day(date_of(day, infusion), infusion) == day for day in range(-40, 400) if day)


def test_d2_ady_counts_from_the_first_infusion_and_cady_from_that_of_the_course() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MSCT d200
        p1 CK   d207 300
    """)
    assert shown(results.analysis, "course ady cady avisit") == table("2 207 8 W1")  # 207 - 200 + 1


@pytest.mark.parametrize(
    ("infused", "taken", "course_1"),
    [
        ("2024-01-01T09:00:00+01:00", "2024-01-01T08:59:00+01:00", "BASELINE"),
        ("2024-01-01T09:00:00+01:00", "2024-01-01T09:01:00+01:00", "UNSCHED"),
        ("2024-01-01T09:00:00+01:00", "2024-01-01T09:00:00+01:00", "BASELINE"),
        ("2024-01-01T09:00:00+01:00", "2024-01-01T08:30:00Z", "UNSCHED"),  # 09:30 where it was infused
        ("2024-01-01T09:00:00+01:00", "2024-01-01", "BASELINE"),
        ("2024-01-01", "2024-01-01T23:00:00+01:00", "BASELINE"),
        ("2024-01-01", "2024-01-02", "UNSCHED"),
    ],
)
def test_d4_before_is_by_instant_if_both_have_one_else_by_date_and_the_same_date_is_before(
    infused: str, taken: str, course_1: str
) -> None:
    results = analysed(f"""
        p1 MSCT {infused}
        p1 CK   {taken}  1000 uln=200
    """)
    by_date_alone = taken[:10] == infused[:10] and not ("T" in taken and "T" in infused)
    flag = "same_day" if course_1 == "BASELINE" and by_date_alone else "."
    assert shown(results.analysis, "course avisit flags") == [["1", course_1, flag]]


def test_d4_a_value_belongs_to_the_course_of_the_latest_infusion_before_it() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MSCT d8                # a repeat dose of course 1
        p1 MSCT d200
        p1 MMT8 d8   40  id=on-the-repeat
        p1 MMT8 d200 41  id=on-the-second
        p1 MMT8 d201 42  id=after-the-second
    """)
    assert shown(results.analysis, "source course cady avisit flags") == table("""
        on-the-repeat    1   8   W1       .
        on-the-second    1   200 M6       .
        on-the-second    2   1   BASELINE same_day
        after-the-second 2   2   UNSCHED  .
    """)


@pytest.mark.parametrize(
    ("visit", "start", "stop", "target"),
    [
        ("W1", 5, 11, 8),
        ("W2", 12, 18, 15),
        ("M1", 24, 38, 31),
        ("M3", 71, 113, 92),
        ("M6", 153, 213, 183),
        ("M12", 321, 411, 366),
    ],
)
def test_d6_a_window_takes_its_first_and_its_last_day(visit: str, start: int, stop: int, target: int) -> None:
    assert [(row.start, row.stop, row.target) for row in PLAN.visits if row.name == visit] == [
        (start, stop, target)
    ]
    for day, expected in [(start, visit), (target, visit), (stop, visit)]:
        results = analysed(f"p1 MSCT d1 \n p1 CK d{day} 500")
        assert shown(results.analysis, "cady avisit anl01fl") == [[str(day), expected, "Y"]]
    inside = {day for row in PLAN.visits for day in range(row.start, row.stop + 1)}
    for day in {start - 1, stop + 1} - inside:
        results = analysed(f"p1 MSCT d1 \n p1 CK d{day} 500")
        assert shown(results.analysis, "cady avisit anl01fl why_not") == [
            [str(day), "UNSCHED", ".", "outside_window"]
        ]


def test_d6_an_unscheduled_value_is_kept_with_its_change_and_is_not_in_by_visit() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-3  40
        p1 MMT8 d50  47
    """)
    assert shown(results.analysis, "avisit aval base chg", avisit="UNSCHED") == table("UNSCHED 47 40 7")
    assert {row.avisit for row in results.by_visit} == {"BASELINE", "W1", "W2", "M1", "M3", "M6", "M12"}
    assert sum(row.n for row in results.by_visit) == 1  # the baseline alone


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2024-02-03", date(2024, 2, 3), date(2024, 2, 3)),
        ("2024-12", date(2024, 12, 1), date(2024, 12, 31)),
        ("2024-13", None, None),
        ("", None, None),
    ],
)
def test_a_partial_date_can_mean_any_day_of_its_month_or_year(
    text: str, first: date | None, last: date | None
) -> None:
    assert (first_day(text), last_day(text)) == (first, last)
