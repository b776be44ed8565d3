"""D10-D14: units, limits of normal, scales and sides, direction, change."""

from fractions import Fraction
from math import exp, log

import pytest

from fhir_msct.errors import ConfigError
from fhir_msct.outcomes.response import is_better
from fhir_msct.outcomes.values import Value
from fhir_msct.records import Measurement
from fhir_msct.results import Analysis
from fhir_msct.tables import csv_bytes
from lib.people import PLAN, analysed, outcome, said, shown, table, visit


def test_d10_a_threshold_is_met_exactly_in_fractions_where_floats_would_miss_it() -> None:
    """7.36 cm is exactly 20 % better than 9.2 cm."""
    assert not 7.36 <= 0.8 * 9.2
    results = analysed("""
        p1 MSCT   d1
        p1 PTGVAS d-5  92  unit=mm
        p1 PTGVAS d183 7.36
    """)
    assert said(results, "p1", "RESP20_PTGVAS") == "met"
    assert outcome(results, "p1", "RESP20_PTGVAS").value == "-20"


def test_d10_numbers_without_an_end_are_printed_to_15_significant_digits_half_even() -> None:
    def printed(number: Fraction) -> str:
        text = csv_bytes([Analysis(usubjid="p", paramcd="CK", aval=number)], Analysis).decode()
        return text.splitlines()[1].split(",")[7]

    assert printed(Fraction(1681, 60)) == "28.0166666666667"  # 1681 U/L in ukat/L
    assert printed(Fraction("28.0166666666666666")) == "28.0166666666666666"
    assert printed(Fraction(2, 3) * 100) == "66.6666666666667"


def test_d10_a_change_is_exact_across_units() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-5  28.0167 unit=ukat/L     # 28.0167 x 60 = 1681.002
        p1 CK   d183 175
    """)
    assert outcome(results, "p1", "CHG_CK").value == "-1506.002"


@pytest.mark.parametrize(
    ("limit", "answer"),
    [("uln=170", "met"), ("uln=169", "not met"), ("", "no_uln"), ("uln=0", "no_uln")],
)
def test_d11_the_upper_limit_of_normal_is_that_of_the_same_result(limit: str, answer: str) -> None:
    """The limit differs between the rows of one patient; zero means that none was given."""
    results = analysed(f"""
        p1 MSCT d1
        p1 CK   d-5  1000 uln=200
        p1 CK   d183 170  {limit}
    """)
    assert said(results, "p1", "CKNORM") == answer


def test_d11_a_limit_is_converted_with_its_result() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-5  20 unit=ukat/L uln=2.83
        p1 CK   d183 169 uln=200
        p2 MSCT d1
        p2 CK   d-5  169 uln=200
    """)
    assert said(results, "p1", "CKNORM") == "met"  # 20 ukat/L > 2.83 ukat/L = 169.8 U/L
    assert said(results, "p2", "CKNORM") == "not_abnormal"


def test_d11_the_median_of_results_with_different_limits_has_no_limit() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 CK   d-5  1000 uln=200
        p1 CK   d183 150  uln=200
        p1 CK   d183 160  uln=180
    """)
    assert said(results, "p1", "CKNORM") == "no_uln"
    assert shown(results.analysis, "aval flags", anl01fl="Y", avisit="M6") == table("155 day_median+no_uln")


def test_d12_change_is_only_within_one_side_and_what_differs_is_counted() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40 side=right
        p1 MMT8 d183 60 side=left
        p2 MSCT d1
        p2 MMT8 d-5  40 side=right
        p2 MMT8 d183 50 side=right
    """)
    assert said(results, "p1", "RESP20_MMT8") == "scale_differs"
    row = visit(results, "MMT8", "M6")
    assert (row.n, row.base_n, row.chg_n, row.chg_mean) == (2, 2, 1, 10)
    assert "scale_differs:1" in row.flags
    assert shown(results.analysis, "chg flags", usubjid="p1", avisit="M6") == table(". scale_differs")


def test_d12_an_unknown_side_is_flagged_and_compared() -> None:
    results = analysed("""
        p1 MSCT d1
        p1 MMT8 d-5  40 flags=no_side
        p1 MMT8 d183 60 side=left
    """)
    assert shown(results.analysis, "avisit chg flags") == table("""
        BASELINE .  no_side
        M6       20 no_side
    """)


def test_d12_one_parameter_is_never_compared_with_another() -> None:
    results = analysed("""
        p1 MSCT   d1
        p1 MMT8   d-5  40
        p1 MMT8BI d183 120
    """)
    assert said(results, "p1", "CHG_MMT8") == "no_value"
    assert said(results, "p1", "CHG_MMT8BI") == "no_baseline"


@pytest.mark.parametrize(
    ("paramcd", "lower_is_better"),
    [
        *[(code, True) for code in ("CK", "CKMBMASS", "CKMBACT", "PTGVAS", "PTGNRS")],
        *[(code, False) for code in ("MMT8", "MMT8BI", "MMT24")],
    ],
)
def test_d13_better_is_lower_for_enzymes_and_globals_and_higher_for_strength(
    paramcd: str, lower_is_better: bool
) -> None:
    results = analysed(f"p1 MSCT d1 \n p1 {paramcd} d-5 5 \n p1 {paramcd} d183 4")
    assert said(results, "p1", f"RESP20_{paramcd}") == ("met" if lower_is_better else "not met")


def test_d13_the_ck_mb_fraction_has_no_direction_and_no_improvement_endpoint() -> None:
    results = analysed("p1 MSCT d1 \n p1 CKMBCK d-5 5 \n p1 CKMBCK d183 4")
    assert not [row for row in results.endpoints if row.paramcd == "CKMBCK"]
    assert visit(results, "CKMBCK", "M6").chg_mean == -1
    value = Value(day=None, aval=Fraction(5), results=(Measurement(paramcd="CKMBCK"),))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="CKMBCK"):
        is_better(value, value, PLAN.parameters["CKMBCK"])


def test_d14_change_is_value_minus_baseline_and_percent_is_of_the_baseline() -> None:
    results = analysed("p1 MSCT d1 \n p1 PTGVAS d-5 8 \n p1 PTGVAS d183 5")
    assert shown(results.analysis, "base aval chg pchg", avisit="M6") == [
        ["8", "5", str(5 - 8), str(100 * (5 - 8) / 8)]
    ]


def test_d14_a_baseline_of_zero_has_a_change_and_no_percent() -> None:
    results = analysed("""
        p1 MSCT   d1
        p1 PTGVAS d-5  0
        p1 PTGVAS d183 1
    """)
    assert said(results, "p1", "RESP20_PTGVAS") == "base_zero"
    assert outcome(results, "p1", "CHG_PTGVAS").value == "1"
    assert shown(results.analysis, "chg pchg", avisit="M6") == table("1 .")
    assert visit(results, "PTGVAS", "M6").pchg_median is None


def test_d14_percent_changes_are_summarised_by_their_median() -> None:
    pairs = [(10, 9), (10, 5), (100, 1)]  # -10 %, -50 %, -99 %
    lines = [f"p{n} MSCT d1 \n p{n} CK d-5 {a} \n p{n} CK d183 {b}" for n, (a, b) in enumerate(pairs)]
    assert visit(analysed("\n".join(lines)), "CK", "M6").pchg_median == -50


def test_d14_enzymes_have_a_geometric_mean_ratio_too() -> None:
    lines = """
        p1 MSCT d1
        p1 {0}  d-5  80
        p1 {0}  d183 20
        p2 MSCT d1
        p2 {0}  d-5  40
        p2 {0}  d183 40
    """
    row = visit(analysed(lines.format("CK")), "CK", "M6")
    assert row.gmr == pytest.approx(exp((log(20 / 80) + log(40 / 40)) / 2))
    assert row.gmr_lo is not None and row.gmr is not None and row.gmr_lo < row.gmr
    assert visit(analysed(lines.format("MMT8")), "MMT8", "M6").gmr is None
