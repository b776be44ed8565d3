"""D3, D15, D16: which infusion opens a course, who decides where codes cannot, when a course ends."""

from pathlib import Path

import pytest

from fhir_msct.errors import InputError
from fhir_msct.outcomes import Review, open_courses, read_reviews
from lib.people import PLAN, analysed, changed, records, said, share, shown, table, visit

YES = Review(
    source="Procedure/t", version="1", decision="yes", by="investigator", on="2024-02-01", why="letter seen"
)
COLUMNS = "usubjid exstdtc course infusion flags"


@pytest.mark.parametrize(("days", "course"), [("d20", "1"), ("d29", "1"), ("d30", "2")])
def test_d3_up_to_28_days_after_its_courses_first_infusion_is_a_repeat_dose(days: str, course: str) -> None:
    rows = records(f"""
        p1 MSCT d1
        p1 MSCT {days}    # 19, 28 and 29 days later
    """).transplants
    assert shown(rows, "course infusion") == [["1", "1"], [course, "2"]]


def test_d3_two_transplants_19_days_apart_are_one_course() -> None:
    assert shown(records("p1 MSCT 2024-01-01 \n p1 MSCT 2024-01-20").transplants, "course") == [["1"], ["1"]]


def test_d3_repeats_are_counted_from_the_courses_first_infusion_not_from_the_last() -> None:
    rows = records("""
        p1 MSCT d1
        p1 MSCT d21   # 20 days after the first
        p1 MSCT d41   # 20 days after the repeat, 40 after the first
        p1 MSCT d60   # 19 days after course 2 began
    """).transplants
    assert shown(rows, "course infusion") == table("""
        1 1
        1 2
        2 3
        2 4
    """)


def test_d3_procedure_and_medication_of_one_date_are_one_infusion_with_both_sources() -> None:
    lines = """
        p1 MSCT d1 id=procedure
        p1 DRUG d1 id=medication
        p1 CK   d-5  1000 id=base
        p1 CK   d183 500  id=m6
    """
    assert shown(records(lines).transplants, "course infusion") == [["1", "1"], ["1", "1"]]
    [row] = shown(analysed(lines).by_subject, "source", endpoint="CHG_CK")
    assert row == ["medication+base+m6+procedure"]


def test_d3_the_infusions_instant_is_known_when_any_of_its_resources_gives_it() -> None:
    results = analysed("""
        p1 MSCT 2024-01-01
        p1 DRUG 2024-01-01T10:00:00+08:00
        p1 CK   2024-01-01T11:00:00+08:00 900
    """)
    assert shown(results.analysis, "avisit cady") == table("UNSCHED 1")


def test_d3_of_two_instants_of_one_infusion_the_earlier_is_when_it_began() -> None:
    results = analysed("""
        p1 MSCT 2024-01-01T12:00:00+08:00
        p1 DRUG 2024-01-01T10:00:00+08:00
        p1 CK   2024-01-01T11:00:00+08:00 900
    """)
    assert shown(results.analysis, "avisit") == [["UNSCHED"]]


@pytest.mark.parametrize("tier", ["code_+_text", "text_only"])
def test_d3_a_tier_that_is_not_trusted_waits_for_review_and_opens_nothing(tier: str) -> None:
    rows = records(f"p1 MSCT d1 tier={tier}")
    assert shown(rows.transplants, "course infusion flags") == [[".", ".", "review"]]
    assert shown(rows.subjects, "infusedfl courses excluded_why") == table("N 0 review")


@pytest.mark.parametrize("tier", ["product_code", "local_code"])
def test_d3_product_code_and_local_code_open_a_course_by_themselves(tier: str) -> None:
    assert shown(records(f"p1 MSCT d1 tier={tier}").transplants, "course flags") == [["1", "."]]


def test_d3_what_waits_for_review_does_not_move_the_courses_that_are_sure() -> None:
    rows = records("""
        p1 MSCT d-60 tier=text_only
        p1 MSCT d1
        p1 MSCT d20  tier=code_+_text
        p1 MSCT d40
    """).transplants
    assert shown(rows, "course infusion") == [[".", "."], ["1", "1"], [".", "."], ["2", "2"]]


def test_d3_opening_courses_again_changes_nothing() -> None:
    rows = records("p1 MSCT d1 \n p1 MSCT d60 tier=text_only \n p1 MSCT 2024").transplants
    assert open_courses(rows, PLAN) == rows


def test_d3_a_review_opens_the_course_and_a_new_version_voids_it() -> None:
    lines = "p1 MSCT d1 id=t tier=text_only version="
    assert shown(records(lines + "1", reviews=[YES]).transplants, "course flags") == [["1", "."]]
    assert shown(records(lines + "2", reviews=[YES]).transplants, "course flags") == [[".", "review"]]


def test_d3_a_review_that_says_no_is_a_decision_and_holds_for_any_tier() -> None:
    no = Review(source="Procedure/t", version="1", decision="no", by="x", on="2024-02-01", why="harvest")
    for tier in ("text_only", "product_code"):
        rows = records(f"p1 MSCT d1 id=t tier={tier}", reviews=[no]).transplants
        assert shown(rows, "course flags") == [[".", "."]]


def test_d3_without_a_full_date_no_course_can_open() -> None:
    rows = records("p1 MSCT 2024-01")
    assert shown(rows.transplants, COLUMNS) == [["p1", "2024-01", ".", ".", "partial_date"]]
    assert shown(rows.subjects, "infusedfl excluded_why") == table("N partial_date")


def test_d3_the_days_between_a_repeat_dose_and_a_course_are_the_plans_to_say() -> None:
    rows = records("p1 MSCT d1 \n p1 MSCT d9", plan=changed(course={"repeat_within_days": 7})).transplants
    assert shown(rows, "course") == [["1"], ["2"]]


FOUR_OF_TEN_RETREATED = "\n".join(
    f"p{n} MSCT d1 \n p{n} PTGVAS d-5 8 \n" + (f"p{n} MSCT d300" if n < 4 else f"p{n} PTGVAS d366 4")
    for n in range(10)
)


def test_d15_a_course_ends_at_the_next_ones_first_infusion() -> None:
    """A value after it is one of course 2, so course 1 has none at M12."""
    results = analysed("""
        p1 MSCT   d1
        p1 MSCT   d300
        p1 PTGVAS d-5   8
        p1 PTGVAS d366  4
    """)
    assert shown(results.analysis, "course cady avisit") == table("""
        1 -5 BASELINE
        2 67 UNSCHED
    """)
    row = visit(results, "PTGVAS", "M12")
    assert (row.n, row.retreated, row.missing, row.flags) == (0, 1, 0, ("retreated:1",))


def test_d15_a_value_taken_in_the_window_before_the_next_course_is_course_1s_value() -> None:
    results = analysed("""
        p1 MSCT   d1
        p1 MSCT   d200
        p1 PTGVAS d-5   8
        p1 PTGVAS d190  4    # window of M6 is 153 to 213
    """)
    assert said(results, "p1", "RESP20_PTGVAS") == "met"


def test_d15_in_all_infused_the_next_course_death_and_missing_count_as_no_response() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40
        p1 MMT8 d183 60
        p2 MSCT d1
        p2 MMT8 d-5  40
        p2 MSCT d100        # a second course before M6
        p3 MSCT d1
        p3 MMT8 d-5  40
        p3 died d100
        p4 MSCT d1
        p4 MMT8 d-5  40     # nobody measured
    """)
    assert [said(results, f"p{n}", "RESP20_MMT8") for n in range(1, 5)] == [
        "met",
        "retreated",
        "died",
        "no_value",
    ]
    assert share(results, "RESP20_MMT8", "INFUSED") == "1/4"
    assert share(results, "RESP20_MMT8", "EVALUABLE") == "1/1"


def test_d15_a_visit_not_yet_due_at_the_data_cut_leaves_the_denominator() -> None:
    lines = """
        p1 MSCT d1
        p1 MMT8 d-5  40
        p1 MMT8 d183 60
        p2 MSCT d1
        p2 MMT8 d-5  40
        p3 MSCT d1
        p3 MMT8 d-5  40
        p3 MSCT d100        # known to have failed, but neither is M6 due for p3
    """
    early, due = analysed(lines, cut="d212"), analysed(lines, cut="d213")  # M6 closes on day 213
    assert share(early, "RESP20_MMT8", "INFUSED") == "1/1"
    assert share(due, "RESP20_MMT8", "INFUSED") == "1/3"
    row = visit(early, "MMT8", "M6")
    assert (row.n, row.not_due, row.retreated, row.missing, row.n_infused) == (1, 2, 0, 0, 3)
    row = visit(due, "MMT8", "M6")
    assert (row.n, row.not_due, row.retreated, row.missing, row.n_infused) == (1, 0, 1, 1, 3)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("MSCT d213", "retreated"),  # M6 closes on day 213
        ("MSCT d214", "no_value"),
        ("died d213", "died"),
        ("died d214", "no_value"),
    ],
)
def test_d15_what_ends_follow_up_explains_a_gap_only_until_the_visits_window_closes(
    event: str, why: str
) -> None:
    results = analysed(f"""
        p1 MSCT d1
        p1 MMT8 d-5 40
        p1 {event}
    """)
    assert said(results, "p1", "RESP20_MMT8") == why


def test_d15_a_death_before_the_value_is_no_response_whatever_the_value_says() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40
        p1 MMT8 d183 60
        p1 died d183
    """)
    assert said(results, "p1", "RESP20_MMT8") == "died"
    assert share(results, "RESP20_MMT8", "INFUSED") == "0/1"


def test_d15_completers_and_all_infused_when_four_of_ten_were_retreated_before_m12() -> None:
    row = visit(analysed(FOUR_OF_TEN_RETREATED), "PTGVAS", "M12")
    assert (row.n, row.retreated, row.missing, row.n_infused) == (6, 4, 0, 10)


def test_d16_records_after_the_data_cut_are_kept_and_not_used() -> None:
    lines = """
        p1 MSCT d1
        p1 MSCT d200
        p1 CK   d-5   1000
        p1 CK   d180  500
        p1 CK   d190  400
        p1 CK   d207  300
        p1 DX   d150  DM  state=relapse
        p1 died d195
    """
    results = analysed(lines, cut="d185")
    assert shown(results.analysis, "cady course avisit anl01fl why_not") == table("""
        -5  1 BASELINE Y .
        180 1 M6       Y .
        190 1 .        . after_cut
        207 1 .        . after_cut
    """)  # the infusion of day 200 has not happened yet
    assert said(results, "p1", "RETREAT") == "not met"
    assert said(results, "p1", "DEATH") == "not met"
    assert said(analysed(lines, cut="d195"), "p1", "DEATH") == "met"


def test_d16_an_infusion_on_the_day_of_the_data_cut_has_happened() -> None:
    lines = "p1 MSCT d1 \n p1 MSCT d200"
    assert said(analysed(lines, cut="d199"), "p1", "RETREAT") == "not met"
    assert said(analysed(lines, cut="d200"), "p1", "RETREAT") == "met"


def test_d16_a_result_on_the_day_of_the_data_cut_counts() -> None:
    results = analysed("p1 MSCT d1 \n p1 CK d8 500", cut="d8")
    assert shown(results.analysis, "avisit anl01fl why_not") == table("W1 Y .")


HEADER = "source,version,decision,by,on,why\n"


def test_reviews_are_read_from_the_study_folder(tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    assert read_reviews(file) == ()
    file.write_text(HEADER + "Procedure/t,1,yes,investigator,2024-02-01,letter seen\n", "utf-8-sig")
    assert read_reviews(file) == (YES,)
    assert YES.of == "Procedure/t/_history/1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("source,version,decision,by,on\n", "no column why"),
        (HEADER + "Procedure/t,1,maybe,me,2024-02-01,seen\n", "reviews.csv:2: decision"),
        (HEADER + "Procedure/t,1,yes,me,soon,seen\n", "reviews.csv:2: on"),
        (HEADER + "Procedure/t,1,yes,,2024-02-01,seen\n", "reviews.csv:2: by is empty"),
        (HEADER + "Procedure/t,1,yes\n", "reviews.csv:2: by is empty"),
        (HEADER + 2 * "Procedure/t,1,yes,me,2024-02-01,seen\n", "reviews.csv:3: Procedure/t"),
    ],
)
def test_a_review_that_does_not_say_what_by_whom_and_when_is_refused(
    text: str, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / "reviews.csv"
    file.write_text(text, "utf-8")
    with pytest.raises(InputError, match=complaint):
        read_reviews(file)
