"""D5, D7, D8: the baseline, the value of a visit, and what is done with the others."""

import pytest

from lib.people import analysed, said, shown, table, visit

COLUMNS = "source avisit aval anl01fl why_not"


def test_d5_the_baseline_is_the_last_usable_value_before_the_infusion() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-31 40  id=a
        p1 MMT8 d-30 41  id=b
        p1 MMT8 d-2  42  id=c
        p1 MMT8 d-1  81  id=d     # the scale ends at 80
        p1 MMT8 d1   43  id=e     # the infusion's own date counts as before
    """)
    assert shown(results.analysis, "source cady avisit ablfl base why_not") == table("""
        a -31 .        . .  before_window
        b -30 BASELINE . .  not_closest
        c -2  BASELINE . .  not_closest
        d -1  .        . .  outside_scale
        e 1   BASELINE Y 43 .
    """)


def test_d5_without_a_value_in_its_window_there_is_no_baseline_and_no_change() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-31 1000 uln=200
        p1 CK   d183 500  uln=200
    """)
    assert said(results, "p1", "CHG_CK") == "no_baseline"
    assert shown(results.analysis, "avisit aval base chg", avisit="M6") == table("M6 500 . .")
    row = visit(results, "CK", "BASELINE")
    assert (row.n, row.missing, row.n_infused) == (0, 1, 1)


def test_d5_the_windows_first_and_last_day_are_the_parameters_own() -> None:
    for day, expected in [("d-31", "."), ("d-30", "BASELINE"), ("d-1", "BASELINE"), ("d1", "BASELINE")]:
        results = analysed(f"p1 MSCT d1 \n p1 CK {day} 1000")
        assert shown(results.analysis, "avisit") == [[expected]]


def test_d5_course_2_takes_its_own_baseline() -> None:
    """A value of course 1: once as course 1's M6, once as course 2's baseline."""
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-5  1000 id=before
        p1 CK   d190 600  id=m6
        p1 MSCT d200
        p1 CK   d382 150  id=after     # 382 - 200 + 1 = day 183 of course 2
    """)
    assert shown(results.analysis, "source course cady avisit base chg") == table("""
        before 1 -5  BASELINE 1000 .
        m6     1 190 M6       1000 -400
        m6     2 -10 BASELINE 600  .
        after  2 183 M6       600  -450
    """)


def test_d5_course_2_never_takes_course_1s_baseline() -> None:
    """The infusions are 29 days apart, so course 1's baseline lies inside course 2's window too."""
    results = analysed("""
        p1 MSCT d1
        p1 CK   d1   1000
        p1 MSCT d30
        p1 CK   d212 150       # 212 - 30 + 1 = day 183 of course 2
    """)
    assert shown(results.analysis, "course cady avisit base") == table("""
        1 1   BASELINE 1000
        2 183 M6       .
    """)
    assert said(results, "p1", "RESP2_CK") == "no_baseline"


def test_d7_of_several_in_a_window_the_closest_to_the_target_is_taken() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d170 50 id=a      # 183 - 170 = 13
        p1 MMT8 d190 51 id=b      # 190 - 183 = 7
        p1 MMT8 d210 52 id=c      # 210 - 183 = 27
    """)
    assert shown(results.analysis, COLUMNS) == table("""
        a M6 50 . not_closest
        b M6 51 Y .
        c M6 52 . not_closest
    """)


def test_d7_of_two_as_close_the_later_day_is_taken() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d180 50 id=three-days-before
        p1 MMT8 d186 51 id=three-days-after
    """)
    assert shown(results.analysis, COLUMNS, anl01fl="Y") == table("three-days-after M6 51 Y .")


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ("updated=2024-07-02T09:00:00Z", "updated=2024-07-01T10:00:00Z", "a"),
        ("updated=2024-07-02T01:00:00Z", "updated=2024-07-02T09:00:00+09:00", "a"),  # 01:00Z and 00:00Z
        ("updated=2024-07-02T09:00:00Z", "updated=2024-07-03T09:00:00Z", "b"),
        ("updated=2024-07-02T09:00:00Z status=corrected", "updated=2024-07-02T09:00:00Z", "a"),
        ("status=corrected", "", "a"),
        ("updated=2024-07-02T09:00:00Z status=corrected", "updated=2024-07-03T09:00:00Z", "a"),
        ("updated=2024-07-02T09:00:00Z status=amended", "updated=2024-07-03T09:00:00Z", "a"),
        (
            "updated=2024-07-02T09:00:00Z status=corrected",
            "updated=2024-07-03T09:00:00Z status=corrected",
            "b",
        ),
    ],
)
def test_d7_the_same_identifier_is_the_same_result_and_the_newest_corrected_wins(
    first: str, second: str, taken: str
) -> None:
    results = analysed(f"""
        p1 MSCT d1
        p1 CK 2024-07-01T08:00:00Z 500 id=a ident=lab|7 {first}
        p1 CK 2024-07-01T08:00:00Z 600 id=b ident=lab|7 {second}
    """)
    assert shown(results.analysis, "source", anl01fl="Y") == [[taken]]
    assert shown(results.analysis, "why_not", anl01fl="") == [["same_day_other"]]


def test_d7_equal_values_of_a_day_are_one() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d183 500 id=a
        p1 CK   d183 500.0 id=b
    """)
    assert shown(results.analysis, COLUMNS) == table("""
        a M6 500 . same_day_other
        b M6 500 Y .
    """)
    assert visit(results, "CK", "M6").n == 1


def test_d7_with_times_the_latest_of_the_day_is_taken() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK 2024-07-01T08:00:00+08:00 500 id=morning
        p1 CK 2024-07-01T18:00:00+08:00 600 id=evening
        p1 CK 2024-07-01T12:00:00+08:00 700 id=noon
    """)
    assert shown(results.analysis, COLUMNS) == table("""
        evening M6 600 Y .
        morning M6 500 . same_day_other
        noon    M6 700 . same_day_other
    """)


def test_d7_an_equal_value_earlier_in_the_day_does_not_hide_that_it_was_the_latest() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK 2024-07-01T08:00:00Z 500 id=a
        p1 CK 2024-07-01T12:00:00Z 600 id=b
        p1 CK 2024-07-01T18:00:00Z 500 id=c
    """)
    assert shown(results.analysis, "source aval", anl01fl="Y") == [["c", "500"]]


@pytest.mark.parametrize(
    ("values", "median"),
    [((500, 600), "550"), ((500, 600, 900), "600"), ((1, 2), "1.5"), ((500, 500, 700), "600")],
)
def test_d7_without_times_the_days_median_stands_beside_all_its_results(
    values: tuple[int, ...], median: str
) -> None:
    """500 sent twice is one result: (500 + 700) / 2."""
    lines = "\n".join(f"p1 MMT24 d183 {value / 10} id=v{n}" for n, value in enumerate(values))
    results = analysed(f"p1 MSCT d1 \n {lines}")
    [row] = shown(results.analysis, "avisit aval flags", anl01fl="Y")
    assert row == ["M6", f"{float(median) / 10:g}", "day_median"]
    assert len(shown(results.analysis, "why_not", why_not="same_day_other")) == len(values)


def test_d7_the_median_names_every_result_it_is_of() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-2 1000 id=b uln=200
        p1 CK   d-2 1200 id=a uln=200
    """)
    assert shown(results.analysis, "source ablfl aval flags why_not") == table("""
        a   . 1200 .          same_day_other
        a+b Y 1100 day_median .
        b   . 1000 .          same_day_other
    """)


def test_d7_one_result_without_a_time_leaves_the_day_without_an_order() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK 2024-07-01                500
        p1 CK 2024-07-01T18:00:00+08:00 600
    """)
    assert shown(results.analysis, "aval", anl01fl="Y") == [["550"]]


def test_d7_two_results_of_one_instant_have_no_order_either() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK 2024-07-01T08:00:00Z      100
        p1 CK 2024-07-01T18:00:00+08:00 500
        p1 CK 2024-07-01T10:00:00Z      600      # 18:00 at +08:00
    """)
    assert shown(results.analysis, "aval flags", anl01fl="Y") == [["550", "day_median+no_uln"]]


@pytest.mark.parametrize("values", [("<5", "7"), ("<5", "5"), ("<5", "<6")])
def test_d7_differing_values_with_a_comparator_and_no_times_contradict_each_other(
    values: tuple[str, str],
) -> None:
    a, b = values
    results = analysed(f"""
        p1 MSCT     d1
        p1 CKMBMASS d-2  30
        p1 CKMBMASS d183 {a}
        p1 CKMBMASS d183 {b}
        p1 CKMBMASS d190 6        # farther from the target: no stand-in
    """)
    assert said(results, "p1", "CHG_CKMBMASS") == "day_conflict"
    assert shown(results.analysis, "cady anl01fl why_not", avisit="M6") == table("""
        183 . day_conflict
        183 . day_conflict
        190 . not_closest
    """)
    row = visit(results, "CKMBMASS", "M6")
    assert (row.n, row.missing, row.flags) == (0, 1, ("day_conflict",))


def test_d7_the_same_limit_twice_is_one_value() -> None:
    results = analysed("""
        p1 MSCT     d1
        p1 CKMBMASS d183 <5
        p1 CKMBMASS d183 <5
    """)
    assert shown(results.analysis, "aval comparator", anl01fl="Y") == table("5 <")


def test_d7_a_conflict_on_the_day_of_the_baseline_leaves_no_baseline() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-9  900
        p1 CK   d-2  <1000
        p1 CK   d-2  1200
        p1 CK   d183 150
    """)
    assert said(results, "p1", "CHG_CK") == "day_conflict"
    assert visit(results, "CK", "BASELINE").flags == ("day_conflict",)


def test_d7_the_two_sides_of_the_body_are_never_averaged() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d183 60 side=right
        p1 MMT8 d183 50 side=left
    """)
    assert shown(results.analysis, "anl01fl why_not") == [[".", "day_conflict"]] * 2
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d183 60 side=right
        p1 MMT8 d183 50 side=right
    """)
    assert shown(results.analysis, "aval", anl01fl="Y") == [["55"]]


def test_d8_a_value_outside_its_scale_is_kept_and_not_used() -> None:
    results = analysed("""
        p1 MSCT   d1
        p1 PTGVAS d8  10.1 id=above
        p1 PTGVAS d8  -0.1 id=below
        p1 PTGVAS d9  10   id=top
    """)
    assert shown(results.analysis, COLUMNS) == table("""
        above . 10.1 . outside_scale
        below . -0.1 . outside_scale
        top   W1 10  Y .
    """)


def test_d8_nothing_is_carried_forward() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5 40
        p1 MMT8 d8  45
    """)
    assert [visit(results, "MMT8", name).n for name in ("W1", "W2", "M1", "M3", "M6", "M12")] == [
        *(1, 0, 0, 0, 0, 0)
    ]


def test_d8_a_subject_without_an_infusion_has_values_and_no_course() -> None:
    results = analysed("p1 CK d8 500")
    assert shown(results.analysis, "course avisit aval why_not") == table(". . 500 no_course")
    assert results.by_visit == results.by_subject == ()
