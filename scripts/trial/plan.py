"""The plan of the trial, by hand: who, when, how much. Every person and every number is invented.

The picture follows what was published of such trials (creatine kinase falling from about 1,700 to about
175 U/L in six months, strength rising from 45 to 64 of 80); no value is a real patient's.
"""

from datetime import date
from typing import NamedTuple

SEED = 20110315
DATA_CUT = date(2024, 6, 30)
VISITS = ("BASELINE", "W1", "W2", "M1", "M3", "M6", "M12")
WINDOWS = {
    "BASELINE": (-30, 1),
    "W1": (5, 11),
    "W2": (12, 18),
    "M1": (24, 38),
    "M3": (71, 113),
    "M6": (153, 213),
    "M12": (321, 411),
}
"""Days of a course (infusion = day 1, no day 0), as the protocol has them; used to check this plan."""


class Person(NamedTuple):
    """One patient of the cohort."""

    sex: str
    birth: str
    dx: str
    when: str
    """How this patient's laboratory writes the date of a result."""
    style: str
    """How this patient's server writes JSON."""
    infusions: tuple[date, ...] = ()
    second: date | None = None
    """First infusion of course 2."""
    died: date | None = None


PEOPLE: dict[str, Person] = {
    "p01": Person("female", "1974-03-15", "DM", "local", "compact", (date(2021, 3, 15),)),
    "p02": Person("male", "1968-11-23", "DM", "date", "spaced", (date(2021, 4, 20),), date(2021, 12, 15)),
    "p03": Person("female", "1981-02-14", "DM", "date", "compact", (date(2021, 6, 7), date(2021, 6, 14))),
    "p04": Person("female", "1959-07-30", "PM", "midnight", "shuffled", (date(2021, 9, 1),)),
    "p05": Person("male", "1977-01-09", "PM", "Z", "escaped", (date(2021, 11, 10),), date(2022, 3, 19)),
    "p06": Person(
        "female", "1953-04-18", "DM", "date", "spaced", (date(2022, 1, 18),), died=date(2022, 11, 13)
    ),
    "p07": Person("female", "1985-09-27", "PM", "local", "escaped", (date(2022, 10, 11),), date(2023, 7, 7)),
    "p08": Person("female", "1990-12-05", "DM", "Z", "compact", (date(2022, 3, 10),)),
    "p09": Person("male", "1971-08", "PM", "local", "shuffled", (date(2022, 6, 21),)),
    "p10": Person("female", "1966-03-21", "DM", "date", "spaced", (date(2023, 10, 24),)),
    "p11": Person("male", "1980-06-12", "PM", "local", "compact"),
}
"""p11 belongs to the cohort and was never infused: he carries the decoys."""

DAYS: dict[tuple[str, int], tuple[int | None, ...]] = {
    ("p01", 1): (1, 5, 15, 34, 92, 180, 366),
    ("p02", 1): (-6, 8, 18, 31, 95, 176, None),
    ("p03", 1): (-2, 6, 14, 24, 90, 190, 371),
    ("p04", 1): (-4, 9, 16, 35, 88, 186, 350),
    ("p05", 1): (-2, 8, 13, 30, 101, None, None),
    ("p06", 1): (1, 7, 15, 33, 99, 170, None),
    ("p07", 1): (-5, 10, 16, 29, 85, 187, None),
    ("p08", 1): (-1, 8, 12, 31, 113, 201, 321),
    ("p09", 1): (-30, 11, 17, 38, 71, 213, 411),
    ("p10", 1): (-3, 8, 15, 32, 94, 153, None),
    ("p02", 2): (-8, 8, 15, 30, 92, 185, 360),
    ("p05", 2): (-4, 7, None, 33, 90, 178, 370),
    ("p07", 2): (-5, 9, None, 31, 97, 183, None),
}
"""Day of the course on which a patient came, by visit."""

# Values as sent, by visit; "-" none, "*" see OWN_ROWS, "v@unit" another unit than the patient's usual one.
VALUES: dict[tuple[str, int], dict[str, str]] = {
    ("CK", 1): {
        "p01": "U/L: 1681.50 902 498 * 189 158 166",
        "p02": "ukat/L: 52.00 27.00 14.65 8.55 5.30 4.20 -",
        "p03": "[IU]/L: * 512 301 202 * 131 142",
        "p04": "ukat/L: 24.20 12.35 6.70 4.10 2.85 2.45 2.60",
        "p05": "text U/l: 2890 1398 735 455 402 - -",
        "p06": "text IU/L: 1238 655 371 240 * 171 -",
        "p07": "U/L: 2174 * 566 341 214 205 -",
        "p08": "U/L: 138 121 118 112 108 * 99",
        "p09": "U/L: 1876 946 * 301 3.40@ukat/L 3.95@ukat/L 15.10@ukat/L",
        "p10": "U/L: 1465 788 412 262.58740184171 178 170 -",
    },
    ("CK", 2): {
        "p02": "ukat/L: 31.50 16.50 9.00 5.50 4.00 3.50 3.40",
        "p05": "text U/l: 1510 820 - 352 260 231 198",
        "p07": "U/L: 1220 701 - 300 214 190 -",
    },
    ("CKMBMASS", 1): {
        "p01": "ng/mL: 48.20 - - 12.10 6.30 2.10 1.90",
        "p02": "ug/L: 96.4 - - 28.7 14.9 8.6 -",
        "p04": "ng/mL: 39.5 - - 10.2 4.80 <0.3 <0.3",
        "p05": "text ng/mL: 71.3 - - 19.9 13.0 - -",
        "p08": "ng/mL: * - - 3.2 2.9 2.4 2.2",
        "p10": "ng/mL: 33.0 - - 9.6 * <0.3 -",
    },
    ("CKMBMASS", 2): {
        "p02": "ug/L: 52.0 - - - - 6.1 -",
        "p05": "text ng/mL: 44.0 - - - - 7.7 -",
    },
    ("CKMBACT", 1): {
        "p03": "U/L: 62 - - 31 22 15 14",
        "p06": "text U/l: 74.0 - - 35.5 26.0 18.0 -",
        "p07": "U/L: 118 - - 48 33 26 -",
        "p09": "U/L: 95.5 - - 40 27 24 0.85@ukat/L",
    },
    ("CKMBACT", 2): {"p07": "U/L: 60 - - - - 22 -"},
    ("CKMBCK", 1): {"p09": "%: 5.1 - - - - 4.2 -"},
    ("PTGVAS", 1): {
        "p01": "cm: 7.2 - - 4.1 3.0 2.4 2.1",
        "p02": "mm: 81 - - 44 31 27 -",
        "p03": "cm: 6.0 - - 5.2 5.0 4.80 -",
        "p04": "text cm: 7.85 - - 4.4 3.3 2.2 2.0",
        "p05": "cm: 8.4 - - 5.2 6.1 - -",
        "p06": "mm: 68 - - 39 30 26 -",
        "p07": "cm: 7.9 - - 4.5 3.41258740184171 3.6 -",
        "p08": "cm: 5.40 - - 3.10 2.60 2.20 1.9",
        "p09": "cm: 7.0 - - 4.3 3.2 3.1 6.8",
        "p10": "mm: 63.0 - - 37.0 28.5 8 -",
    },
    ("PTGVAS", 2): {
        "p02": "mm: 72 - - - - 35 -",
        "p05": "cm: 7.6 - - - - 4.1 -",
        "p07": "cm: 7.1 - - - - 5.9 -",
    },
    ("PTGNRS", 1): {"p09": "{score}: 7 - - - - 3 -"},
    ("MMT8", 1): {
        "p01": "{score}: 46 - - 58 63 66 67",
        "p02": "none: 38 - - 52 58 60 -",
        "p03": "{points}: 50 - - 57 59 60 61",
        "p04": "{score}: 41 - - 60 62 64 66",
        "p05": "{score}: 35 - - 55 44 - -",
        "p06": "1: 44 - - 57 60 62 -",
        "p08": "{score}: 61 - - 68 71 73 74",
        "p09": "{score}: 43 - - 59 63 62 50",
        "p10": "{score}: 47 - - 62 66 68 -",
    },
    ("MMT8", 2): {"p02": "none: 42 - - 55 - 59 -", "p05": "{score}: 37 - - - 54 52 -"},
    ("MMT8BI", 1): {"p07": "{score}: 82 - - 108 117 121 -"},
    ("MMT8BI", 2): {"p07": "{score}: 90 - - - - 124 -"},
}

SIDES = {"p01": "right", "p02": "right", "p03": "left", "p04": "right", "p05": "right", "p06": ""}
"""Side tested by the one-sided MMT8: right unless it says otherwise; p06's server never says."""

MARKED: dict[str, dict[str, str]] = {
    "ck-p01-base": {"extra": "sender", "code": "local-first"},
    "ck-p02-w01": {"range": "zero"},
    "ck-p02-m01": {"when": "period"},
    "ck-p03-m01": {"code": "slash"},
    "ck-p04-m01": {"extra": "contained"},
    "ck-p04-m03": {"unit": "spelt"},
    "ck-p05-w02": {"extra": "component"},
    "ck-p07-m01": {"range": "sexes"},
    "ck-p07-m03": {"when": "instant"},
    "ck-p07-m06": {"high": "190"},
    "ck-p08-m03": {"unit": "coded"},
    "ck-p09-w01": {"range": "none"},
    "ck-p09-m03": {"extra": "second-value"},
    "ck-p10-base": {"range": "therapeutic"},
    "ck-p10-m03": {"code": "mimic", "unit": "mimic"},
    "ckmbm-p01-m03": {"extra": "sibling"},
    "ckmbm-p02-m01": {"range": "bare"},
    "ptgvas-p09-m03": {"when": "-05:00", "clock": "19:30"},
    "ptgvas-p01-m01": {"extra": "versioned"},
    "mmt8-p04-m12": {"side": "left"},
    "mmt8-p01-m06": {"extra": "sender"},
}
"""Rows of VALUES that are written in an unusual way, and how; the value stays what it is."""

for _visit in ("base", "w01", "m01", "m03", "c2-base", "c2-w01", "c2-m01", "c2-m03", "c2-m06", "c2-m12"):
    MARKED.setdefault(f"ck-p05-{_visit}", {})["code"] = "oid"
