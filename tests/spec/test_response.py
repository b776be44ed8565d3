"""D17-D20: populations, responders, recurrence, response to the second MSCT."""

import pytest

from lib.people import PLAN, analysed, changed, outcome, said, share, shown, table, trial


def test_d17_evaluable_has_baseline_and_value_and_infused_has_everybody() -> None:
    results = analysed("""
        p1 MSCT   d1
        p1 PTGVAS d-5  8
        p1 PTGVAS d183 4
        p2 MSCT   d1
        p2 PTGVAS d-5  8
        p3 MSCT   d1
        p3 PTGVAS d183 4
        p4 PTGVAS d183 4       # never infused
    """)
    assert share(results, "RESP20_PTGVAS", "INFUSED") == "1/3"
    assert share(results, "RESP20_PTGVAS", "EVALUABLE") == "1/1"


def test_d17_enzyme_responders_are_counted_among_those_with_an_abnormal_baseline() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-5  1000 uln=200
        p1 CK   d183 100  uln=200
        p2 MSCT d1
        p2 CK   d-5  1000 uln=200     # abnormal, no value at M6
        p3 MSCT d1
        p3 CK   d-5  150  uln=200     # normal
        p3 CK   d183 100  uln=200
        p4 MSCT d1
        p4 CK   d-5  1000             # nobody knows
        p4 CK   d183 100  uln=200
        p5 MSCT d1
        p5 CK   d-5  200  uln=200     # the limit itself is normal
        p6 MSCT d1
        p6 CK   d-5  >200 uln=200     # abnormal, whatever it was
        p6 CK   d183 500  uln=200
        p7 MSCT d1
        p7 CK   d-5  >=200 uln=200    # could be either
    """)
    rows = [row for row in results.endpoints if row.endpoint == "RESP20_CK"]
    assert [row.population for row in rows] == ["ABN", "EVALUABLE"]
    assert share(results, "RESP20_CK", "ABN") == "1/3"  # p1, p2, p6
    assert share(results, "RESP20_CK", "EVALUABLE") == "3/4"  # p1, p3, p4, p6
    assert [row.population for row in results.endpoints if row.endpoint == "IMP_EVER_CK"] == [
        "INFUSED",
        "EVALUABLE",
    ]


@pytest.mark.parametrize(
    ("paramcd", "base", "m6", "answer"),
    [
        ("CK", "1000", "800", "met"),  # exactly 20 % of 1000
        ("CK", "1000", "800.1", "not met"),
        ("MMT8", "50", "60", "met"),
        ("MMT8", "50", "59.9", "not met"),
        ("PTGVAS", "6.3", "5.04", "met"),  # 0.8 x 6.3
        ("PTGVAS", "6.3", "5.05", "not met"),
    ],
)
def test_d18_at_least_20_percent_of_the_own_baseline_better_and_20_exactly_counts(
    paramcd: str, base: str, m6: str, answer: str
) -> None:
    results = analysed(f"p1 MSCT d1 \n p1 {paramcd} d-5 {base} \n p1 {paramcd} d183 {m6}")
    assert said(results, "p1", f"RESP20_{paramcd}") == answer


def test_d18_a_response_is_at_m6_and_ever_better_is_at_any_scheduled_visit() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40
        p1 MMT8 d15  41
        p1 MMT8 d92  70
        p1 MMT8 d183 40
        p2 MSCT d1
        p2 MMT8 d-5  40
        p2 MMT8 d50  70       # no visit's window
        p2 MMT8 d92  39
    """)
    columns = "usubjid endpoint status value avisit base aval"
    rows = [row for row in results.by_subject if row.endpoint in ("IMP_EVER_MMT8", "RESP20_MMT8")]
    assert shown(rows, columns) == table("""
        p1 IMP_EVER_MMT8 met            W2 W2 40 41
        p1 RESP20_MMT8   not+met        0  M6 40 40
        p2 IMP_EVER_MMT8 not+met        .  .  .  .
        p2 RESP20_MMT8   not+evaluable  .  M6 40 .
    """)
    assert share(results, "IMP_EVER_MMT8", "INFUSED") == "1/2"
    assert trial(results, "IMP_EVER_MMT8", "INFUSED").p is None


def test_d18_ever_better_rests_on_every_visit_when_it_was_never_so() -> None:
    results = analysed("""
        p1 MSCT d1 id=infusion
        p1 MMT8 d-5 40 id=base
        p1 MMT8 d8  40 id=w1
        p1 MMT8 d15 39 id=w2
    """)
    assert shown([outcome(results, "p1", "IMP_EVER_MMT8")], "status source adt") == table("""
        not+met base+w1+w2+infusion 2024-01-15
    """)


def test_d18_ever_better_without_any_visit_yet_due_leaves_the_denominator() -> None:
    lines = "p1 MSCT d1 \n p1 MMT8 d-5 40"
    assert said(analysed(lines, cut="d10"), "p1", "IMP_EVER_MMT8") == "not_due"  # W1 closes on day 11
    assert said(analysed(lines, cut="d11"), "p1", "IMP_EVER_MMT8") == "no_value"


def test_d18_ck_is_normal_at_or_below_its_own_limit_among_those_whose_baseline_was_not() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-5  1000 uln=200
        p1 CK   d183 200  uln=200
        p2 MSCT d1
        p2 CK   d-5  1000 uln=200
        p2 CK   d183 201  uln=200
        p3 MSCT d1
        p3 CK   d-5  150  uln=200
        p3 CK   d183 140  uln=200
        p4 MSCT d1
        p4 CK   d-5  1000 uln=200
        p5 MSCT d1
        p5 CK   d-5  1000 uln=200
        p5 CK   d183 <200 uln=150
    """)
    assert [said(results, f"p{n}", "CKNORM") for n in range(1, 6)] == [
        *("met", "not met", "not_abnormal", "no_value", "cens")
    ]
    assert share(results, "CKNORM", "ABN") == "1/4"
    assert share(results, "CKNORM", "EVALUABLE") == "1/3"  # p5 is open and stays in n


RESPONDED = """
    p1 MSCT d1   id=infusion
    p1 MMT8 d-5  40 id=base
    p1 MMT8 d92  60 id=m3
"""


def test_d19_a_relapse_on_record_after_a_response_is_a_recurrence_with_its_onset() -> None:
    results = analysed(RESPONDED + "p1 DX d250 DM state=relapse id=again")
    assert shown([outcome(results, "p1", "RECUR")], "status value adt base_adt source") == table("""
        met 2024-09-06 2024-09-06 2024-04-01 again+base+m3+infusion
    """)
    assert share(results, "RECUR", "INFUSED") == "1/1"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("p1 DX d92  DM  state=relapse", "not met"),  # the day of the response, not after it
        ("p1 DX d93  PM  state=recurrence", "met"),
        ("p1 DX d93  DM  state=active", "not met"),
        ("p1 DX d93  IBM state=relapse", "not met"),  # another disease
        ("p1 DX -    DM  state=relapse recorded=d100", "met"),
        ("p1 DX 2024-04 DM state=relapse", "not met"),  # could be 1 April, the day of the response
        ("p1 DX 2024-05 DM state=relapse", "met"),
    ],
)
def test_d19_only_a_pm_or_dm_condition_in_relapse_dated_after_the_response_counts(
    line: str, answer: str
) -> None:
    assert said(analysed(RESPONDED + line), "p1", "RECUR") == answer


def test_d19_the_next_course_is_an_intervention_and_leaves_the_onset_empty() -> None:
    results = analysed(RESPONDED + "p1 MSCT d300 id=second")
    assert shown([outcome(results, "p1", "RECUR")], "status value reason adt source") == table("""
        met . retreated 2024-10-26 base+m3+infusion+second
    """)


def test_d19_the_first_of_relapse_and_next_course_decides() -> None:
    before = analysed(RESPONDED + "p1 DX d250 DM state=relapse \n p1 MSCT d300")
    after = analysed(RESPONDED + "p1 DX d350 DM state=relapse \n p1 MSCT d300")
    same = analysed(RESPONDED + "p1 DX d300 DM state=relapse \n p1 MSCT d300")
    assert [outcome(results, "p1", "RECUR").value for results in (before, after, same)] == [
        *("2024-09-06", "", "2024-10-26")
    ]


def test_d19_who_never_responded_is_not_at_risk_of_recurrence() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40
        p1 MMT8 d92  41
        p1 DX   d250 DM state=relapse
    """)
    assert said(results, "p1", "RECUR") == "no_response"
    assert share(results, "RECUR", "INFUSED") == "no_response"


def test_d19_those_at_risk_are_the_denominator() -> None:
    results = analysed(
        RESPONDED
        + """
        p2 MSCT d1
        p2 MMT8 d-5 40
        p2 MMT8 d92 41
    """
    )
    assert share(results, "RECUR", "INFUSED") == "0/1"


def test_d19_the_lowest_value_of_the_course_is_not_the_baseline() -> None:
    """300 is twice the nadir of 150 after the infusion; 250 is only twice the baseline."""
    lines = RESPONDED + "p1 CK d-5 100 uln=200 \n p1 CK d92 150 uln=200 \n"
    twice_250 = "p1 CK d200 250 uln=200 \n p1 CK d210 250 uln=200"
    assert said(analysed(lines + twice_250, plan=LABORATORY), "p1", "RECUR") == "not met"


def test_d19_any_resp20_criterion_at_any_visit_of_the_course_makes_a_responder() -> None:
    results = analysed("""
        p1 MSCT   d1
        p1 MMT8   d-5 40
        p1 MMT8   d92 41
        p1 PTGVAS d-5 8
        p1 PTGVAS d8  6       # 0.8 x 8 = 6.4
        p1 DX     d50 DM state=relapse
    """)
    assert said(results, "p1", "RECUR") == "met"


LABORATORY = changed(recurrence={"laboratory": True})


@pytest.mark.parametrize(
    ("later", "onset"),
    [
        ("p1 CK d200 300 uln=200 \n p1 CK d210 310 uln=200", "2024-07-18"),  # >= 2 x 150, > 200, twice
        ("p1 CK d200 299 uln=200 \n p1 CK d210 310 uln=200", None),
        ("p1 CK d200 300 uln=200 \n p1 CK d205 290 uln=200 \n p1 CK d210 310 uln=200", None),
        ("p1 CK d200 300 \n p1 CK d210 310", None),  # no limit of normal
        ("p1 CK d200 300 uln=200", None),
        ("p1 MMT8 d200 48 \n p1 MMT8 d210 48", "2024-07-18"),  # 0.8 x 60 = 48
        ("p1 MMT8 d200 48.1 \n p1 MMT8 d210 48", None),
    ],
)
def test_d19_the_laboratory_rule_wants_two_consecutive_dates_and_is_off_by_default(
    later: str, onset: str | None
) -> None:
    lines = RESPONDED + "p1 CK d-5 1000 uln=200 \n p1 CK d92 150 uln=200 \n" + later
    assert said(analysed(lines), "p1", "RECUR") == "not met"
    assert outcome(analysed(lines, plan=LABORATORY), "p1", "RECUR").value == (onset or "")


def test_d20_response_to_the_second_msct_is_against_its_own_baseline_among_those_who_had_one() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40
        p1 MMT8 d183 64
        p1 MMT8 d290 50
        p1 MSCT d300
        p1 MMT8 d482 59        # 482 - 300 + 1 = day 183; 59 < 1.2 x 50, though >= 1.2 x 40
        p2 MSCT d1
        p2 MMT8 d-5  40
        p2 MMT8 d183 64
    """)
    assert shown(results.by_subject, "usubjid course status base aval", endpoint="RESP2_MMT8") == table("""
        p1 2 not+met 50 59
    """)
    assert share(results, "RESP2_MMT8", "INFUSED") == "0/1"
    assert share(results, "RESP20_MMT8", "INFUSED") == "2/2"


def test_d20_without_a_second_course_nobody_can_respond_to_it() -> None:
    results = analysed("p1 MSCT d1 \n p1 MMT8 d-5 40 \n p1 MMT8 d183 64")
    row = trial(results, "RESP2_MMT8", "INFUSED")
    assert (row.n, row.status, row.reason) == (0, "not evaluable", "no_course")


def test_d20_courses_are_never_pooled() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40
        p1 MMT8 d290 50
        p1 MSCT d300
        p1 MMT8 d482 60
    """)
    rows = [row for row in results.by_visit if row.paramcd == "MMT8" and row.n]
    assert [(row.course, row.avisit, row.n) for row in rows] == [
        *((1, "BASELINE", 1), (2, "BASELINE", 1), (2, "M6", 1))
    ]
    assert PLAN.endpoints and {row.course for row in results.endpoints if row.endpoint == "CHG_MMT8"} == {1}
