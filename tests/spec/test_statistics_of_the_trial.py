"""D23-D25: what is computed at each visit, and that every endpoint has its row.

The statistics themselves are proved in tests/oracle; here, that the trial's numbers reach them whole.
"""

from fractions import Fraction
from statistics import stdev
from time import perf_counter

import pytest

from lib.people import PLAN, analysed, changed, pairs, share, shown, trial, visit

BEFORE = (1681, 900, 2500, 600, 1200, 3000, 450, 800, 1500, 700)
AFTER = (175, 200, 400, 180, 150, 900, 300, 160, 210, 690)


def test_d23_the_visits_change_has_test_estimate_and_interval_of_one_kind() -> None:
    """Ten constructed CK pairs whose numbers were computed elsewhere (clinical facts, 4.2)."""
    row = visit(pairs(BEFORE, AFTER), "CK", "M6")
    assert row.p == 2 / 2**10
    assert row.estimate == -995
    assert (row.ci_lo, row.ci_hi) == (-1575, -420)
    assert row.conf == pytest.approx(0.9512, abs=5e-5)
    assert row.t_p == pytest.approx(0.00224172, abs=5e-9)
    assert (row.gmr, row.gmr_lo, row.gmr_hi) == pytest.approx((0.24459, 0.14543, 0.41134), abs=5e-6)
    assert "exact" in row.method
    assert row.flags == ()


@pytest.mark.parametrize(
    ("n", "flags"),
    [(5, ("ci_unattainable", "cannot_reach_05")), (6, ())],
)
def test_d23_below_six_pairs_there_is_no_interval_and_p_cannot_reach_05(
    n: int, flags: tuple[str, ...]
) -> None:
    results = pairs(BEFORE[:n], AFTER[:n])
    row = visit(results, "CK", "M6")
    assert (row.p, row.flags) == (2 / 2**n, flags)
    assert (row.ci_lo is None) == (n < 6)
    assert trial(results, "CHG_CK", "EVALUABLE").reason == " ".join(flags)


def test_d23_zeros_and_ties_are_counted_as_pratt_says() -> None:
    """[0,0,0,0,2,3,4,5,6,-1]: 0.0625 by enumeration, where a common exact routine says 0.232."""
    differences = (0, 0, 0, 0, 2, 3, 4, 5, 6, -1)
    row = visit(pairs((50,) * 10, tuple(50 + d for d in differences), "MMT8"), "MMT8", "M6")
    assert row.p == 0.0625
    assert row.chg_n == 10


def test_d23_beyond_the_plans_number_of_pairs_the_method_says_normal() -> None:
    plan = changed(statistics={"exact_pairs": 9})
    lines = [
        f"p{n} MSCT d1 \n p{n} CK d-5 {a} \n p{n} CK d183 {b}"
        for n, (a, b) in enumerate(zip(BEFORE, AFTER, strict=True))
    ]
    assert "normal" in visit(analysed("\n".join(lines), plan=plan), "CK", "M6").method


def test_d23_a_thousand_subjects_take_seconds() -> None:
    lines = [f"p{n} MSCT d1 \n p{n} CK d-5 {1000 + n} \n p{n} CK d183 {n * n % 997}" for n in range(1000)]
    started = perf_counter()
    row = visit(analysed("\n".join(lines)), "CK", "M6")
    assert perf_counter() - started < 60
    assert row.chg_n == 1000
    assert row.ci_lo is not None and row.ci_hi is not None and row.estimate is not None
    assert row.ci_lo < row.estimate < row.ci_hi
    assert row.method.startswith("normal") and row.method.endswith("interval by the normal quantile")


def test_d24_quartiles_are_sas_default_and_sd_is_of_n_minus_1() -> None:
    row = visit(pairs(BEFORE, AFTER), "CK", "M6")
    assert (row.q1, row.median, row.q3) == (175, Fraction(200 + 210, 2), 400)
    assert (row.n, row.min, row.max) == (10, 150, 900)
    assert row.mean == Fraction(sum(AFTER), 10)
    assert row.sd == pytest.approx(stdev(AFTER), rel=1e-14)
    assert (row.base_n, row.base_mean, row.base_median) == (10, Fraction(sum(BEFORE), 10), (900 + 1200) / 2)
    changes = [b - a for a, b in zip(BEFORE, AFTER, strict=True)]
    assert (row.chg_mean, row.chg_sd) == (Fraction(sum(changes), 10), pytest.approx(stdev(changes)))


def test_d24_proportions_have_clopper_pearson_intervals() -> None:
    row = trial(pairs((8,) * 10, (4,) * 9 + (8,), "PTGVAS"), "RESP20_PTGVAS", "INFUSED")
    assert (row.x, row.n, row.value, row.method) == (9, 10, Fraction(9, 10), "Clopper-Pearson")
    assert (row.ci_lo, row.ci_hi) == pytest.approx((0.5550, 0.9975), abs=5e-5)
    assert row.conf == 0.95


def test_d24_one_value_has_no_spread() -> None:
    row = visit(pairs((8,), (4,), "PTGVAS"), "PTGVAS", "M6")
    assert (row.n, row.sd, row.chg_sd, row.t_p) == (1, None, None, None)


def expected_rows() -> list[tuple[str, str, str]]:
    """Written out by hand from rule D25, not from endpoints.toml."""
    enzymes, others = ("CK", "CKMBMASS", "CKMBACT"), ("PTGVAS", "PTGNRS", "MMT8", "MMT8BI", "MMT24")
    rows = []
    for family in ("IMP_EVER", "RESP20", "CHG", "RESP2"):
        for paramcd in enzymes + others:
            first = "ABN" if family.startswith("RESP") and paramcd in enzymes else "INFUSED"
            populations = ("EVALUABLE",) if family == "CHG" else (first, "EVALUABLE")
            rows += [(f"{family}_{paramcd}", paramcd, population) for population in populations]
    rows += [("CKNORM", "CK", "ABN"), ("CKNORM", "CK", "EVALUABLE")]
    rows += [(name, "", p) for name in ("ILDIMP", "ULCIMP") for p in ("INFUSED", "EVALUABLE")]
    return rows + [(name, "", "INFUSED") for name in ("RECUR", "RETREAT", "DEATH", "SAE", "AE")]


@pytest.mark.parametrize(
    "lines", ["", "p1 CK d8 500", "p1 MSCT d1", "p1 MSCT d1 \n p1 CK d-5 9 \n p1 CK d183 5"]
)
def test_d25_endpoints_has_every_row_always(lines: str) -> None:
    results = analysed(lines)
    assert [(row.endpoint, row.paramcd, row.population) for row in results.endpoints] == expected_rows()
    assert all((row.status == "value") != (row.value is None) for row in results.endpoints)
    assert all(row.reason for row in results.endpoints if row.status == "not evaluable")


def test_d25_without_any_patient_every_endpoint_says_that_there_is_no_course() -> None:
    assert {row.reason for row in analysed("").endpoints} == {"no_course"}


def test_d25_what_nobody_measured_has_no_answer_though_everybody_was_infused() -> None:
    results = analysed("p1 MSCT d1 \n p2 MSCT d1 \n p2 MSCT d100")
    assert share(results, "RESP20_PTGNRS", "INFUSED") == "no_baseline"
    assert share(results, "IMP_EVER_PTGNRS", "INFUSED") == "no_baseline"


def test_d25_an_endpoint_without_an_answer_gives_the_reason_of_most_subjects() -> None:
    results = analysed("""
        p1 MSCT   d1
        p1 PTGVAS d-5  8
        p2 MSCT   d1
        p3 MSCT   d1
        p3 PTGVAS d183 4
    """)
    assert share(results, "RESP20_PTGVAS", "EVALUABLE") == "no_baseline"
    assert share(results, "RESP20_PTGVAS", "INFUSED") == "no_baseline"


def test_d25_ck_mb_is_never_one_endpoint() -> None:
    results = analysed("""
        p1 MSCT     d1
        p1 CKMBMASS d-5  20
        p1 CKMBACT  d183 20
    """)
    names = {row.paramcd for row in results.endpoints if "CKMB" in row.endpoint}
    assert names == {"CKMBMASS", "CKMBACT"}
    assert share(results, "RESP20_CKMBMASS", "EVALUABLE") == "no_value"


def test_d25_a_change_has_estimate_interval_level_p_and_unit() -> None:
    row = trial(pairs(BEFORE, AFTER), "CHG_CK", "EVALUABLE")
    at_visit = visit(pairs(BEFORE, AFTER), "CK", "M6")
    assert (row.value, row.n, row.unit, row.avisit) == (-995, 10, "U/L", "M6")
    assert (row.ci_lo, row.ci_hi, row.conf, row.p) == (
        *(at_visit.ci_lo, at_visit.ci_hi, at_visit.conf, at_visit.p),
    )


def test_by_visit_has_every_parameter_and_visit_of_each_course_that_somebody_had() -> None:
    visits = ["BASELINE", *(row.name for row in PLAN.visits)]
    one = analysed("p1 MSCT d1")
    assert shown(one.by_visit, "paramcd course avisit") == [
        [paramcd, "1", avisit] for paramcd in PLAN.parameters for avisit in visits
    ]
    two = analysed("p1 MSCT d1 \n p1 MSCT d100")
    assert {row.course for row in two.by_visit} == {1, 2}
    assert analysed("").by_visit == ()
