"""Every unit factor that we ship, beside an independent oracle: UCUM as ucumvert and pint know it."""

from fractions import Fraction
from typing import Any

import pytest
from pint.errors import DimensionalityError
from ucumvert import PintUcumRegistry

from promises.mapping_rows import Row, rows

UCUM, MIMIC = "http://unitsofmeasure.org", "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-units"

MEANT = {
    "units/L": "U/L",
    "UNITS/L": "U/L",
    "unit per liter": "U/L",
    "IU/L": "[IU]/L",
    "mcg/L": "ug/L",
    "µg/L": "ug/L",
}
"""What a text means in UCUM where it is not spelled as UCUM spells it."""


@pytest.fixture(scope="session")
def registry() -> Any:
    """UCUM's units; slow to build."""
    return PintUcumRegistry()


def quantity(registry: Any, unit: str) -> Any:
    """One of a UCUM unit; a unit that is only an annotation is a dimensionless one."""
    return registry.from_ucum("1" + unit if unit.startswith("{") else unit)


def factor(registry: Any, unit: str, study_unit: str) -> float:
    """Study units in one unit. Raises DimensionalityError where UCUM refuses to convert."""
    return float(quantity(registry, unit).to(quantity(registry, study_unit).units).magnitude)


def faults(registry: Any, lines: list[Row]) -> list[str]:
    """Every row of UCUM whose factor is not UCUM's own."""
    return [
        f"{row['paramcd']} {row['unit']}"
        for row in lines
        if row["system"] == UCUM
        and not row["source"].startswith("assumption")
        and float(Fraction(row["factor"]))
        != pytest.approx(factor(registry, row["unit"], row["study_unit"]), rel=1e-12)
    ]


def changed(paramcd: str, unit: str, new: str) -> list[Row]:
    """The shipped rows with one factor planted."""
    found = [row for row in rows("units.csv") if (row["paramcd"], row["unit"]) == (paramcd, unit)]
    assert found, "the row to change is not there"
    return [dict(row, factor=new) if row in found else row for row in rows("units.csv")]


def test_every_ucum_factor_is_what_ucum_computes(registry: Any) -> None:
    assert faults(registry, rows("units.csv")) == []


@pytest.mark.parametrize(
    ("paramcd", "unit", "wrong"),
    [
        ("CK", "ukat/L", "50/3"),
        ("CK", "nkat/L", "1/60"),
        ("CKMBMASS", "ng/mL", "1000"),
        ("PTGVAS", "mm", "1"),
    ],
)
def test_a_planted_wrong_factor_is_caught(registry: Any, paramcd: str, unit: str, wrong: str) -> None:
    assert faults(registry, changed(paramcd, unit, wrong)) == [f"{paramcd} {unit}"]


def test_a_factor_is_an_exact_fraction_above_zero() -> None:
    assert all(Fraction(row["factor"]) > 0 for row in rows("units.csv"))


def test_an_assumption_is_what_ucum_refuses_to_convert(registry: Any) -> None:
    assumed = [row for row in rows("units.csv") if row["source"].startswith("assumption")]
    assert {row["unit"] for row in assumed} == {"[IU]/L", "[iU]/L"}
    assert {row["paramcd"] for row in assumed} == {"CK", "CKMBACT"}, "for enzymes only"
    for row in assumed:
        with pytest.raises(DimensionalityError):
            factor(registry, row["unit"], row["study_unit"])


def test_a_unit_outside_ucum_has_the_factor_of_the_ucum_unit_that_it_means() -> None:
    known = {
        (row["paramcd"], row["unit"]): row["factor"] for row in rows("units.csv") if row["system"] == UCUM
    }
    others = [row for row in rows("units.csv") if row["system"] != UCUM]
    assert {row["system"] for row in others} == {"", MIMIC}
    for row in others:
        meant = (row["paramcd"], MEANT.get(row["unit"], row["unit"]))
        assert known.get(meant) == row["factor"], f"{meant} is no UCUM row of the same factor"


def test_mass_and_activity_of_ck_mb_never_share_a_unit(registry: Any) -> None:
    units = {
        paramcd: {row["unit"] for row in rows("units.csv") if row["paramcd"] == paramcd}
        for paramcd in ("CKMBMASS", "CKMBACT")
    }
    assert units["CKMBMASS"]
    assert units["CKMBACT"]
    assert not units["CKMBMASS"] & units["CKMBACT"]
    with pytest.raises(DimensionalityError):
        factor(registry, "ug/L", "U/L")


def test_a_row_converts_to_the_unit_of_its_parameter() -> None:
    study_units = {row["paramcd"]: row["study_unit"] for row in rows("parameters.csv")}
    assert all(row["study_unit"] == study_units[row["paramcd"]] for row in rows("units.csv"))
    assert all(row["unit"] == study_units[row["paramcd"]] for row in rows("unitless.csv"))


def test_each_parameter_takes_its_own_unit_as_it_is() -> None:
    own = {(row["paramcd"], row["study_unit"]) for row in rows("parameters.csv")}
    taken = {
        (row["paramcd"], row["unit"])
        for row in rows("units.csv")
        if row["system"] == UCUM and row["factor"] == "1"
    }
    assert own <= taken


def test_the_atomic_mass_unit_is_never_taken_for_the_enzyme_unit(registry: Any) -> None:
    assert not [row for row in rows("units.csv") if row["unit"] in ("u/L", "u/l")]
    with pytest.raises(DimensionalityError):
        factor(registry, "u/L", "U/L")


def test_the_published_conversions_of_creatine_kinase_hold(registry: Any) -> None:
    by_unit = {row["unit"]: Fraction(row["factor"]) for row in rows("units.csv") if row["paramcd"] == "CK"}
    assert by_unit["ukat/L"] * Fraction("2.83") == Fraction("169.8")
    assert 1 / by_unit["nkat/L"] == pytest.approx(16.6667, abs=5e-5)
    assert factor(registry, "ukat/L", "U/L") == pytest.approx(60)
