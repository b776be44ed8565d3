"""A study folder written by hand: four invented subjects, two parameters, every kind of row once."""

import json
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from fhir_msct import plan as protocol
from fhir_msct.plan import Plan
from fhir_msct.records import Finding, SetAside, Subject, Transplant
from fhir_msct.results import Analysis, Answer, Outcome, VisitSummary
from fhir_msct.tables import csv_bytes

FIRST = date(2012, 3, 1)
SECOND = date(2012, 12, 1)

SUBJECTS = [
    Subject(
        usubjid=f"s{n}",
        sex=sex,
        age=40 + n,
        dx=dx,
        trtsdt=FIRST,
        courses=n // 3 + 1,
        infusedfl="Y",
        evalfl="Y" if n < 4 else "N",
        dthdt="2012-08-08" if n == 4 else "",
        source=f"Patient/s{n}/_history/1",
    )
    for n, sex, dx in ((1, "female", "DM"), (2, "male", "PM"), (3, "female", "PM"))
] + [
    Subject(
        usubjid="s4", sex="male", dx="DM", dthdt="2012-08-08", excluded_why="not_infused", source="Patient/s4"
    )
]

TRANSPLANTS = [
    *(
        Transplant(
            usubjid=f"s{n}",
            course=1,
            infusion=1,
            exstdtc="2012-03-01",
            exstdt=FIRST,
            product="human MSC",
            cell_source="umbilical cord",
            dose=Decimal(35000000),
            doseu="cells",
            status="completed",
            recognised_by="product code",
            source=f"Procedure/t{n}/_history/1",
        )
        for n in (1, 2, 3)
    ),
    Transplant(
        usubjid="s3",
        course=1,
        infusion=1,
        exstdtc="2012-03-01T09:00:00+08:00",
        exstdt=FIRST,
        product="human MSC",
        recognised_by="local code",
        source="MedicationAdministration/m3/_history/1",
    ),
    Transplant(
        usubjid="s3",
        course=2,
        infusion=2,
        exstdtc="2012-12-01",
        exstdt=SECOND,
        product="human MSC",
        recognised_by="local code",
        source="Procedure/t3b/_history/1",
    ),
    Transplant(
        usubjid="s2",
        exstdtc="2013-05-05",
        exstdt=date(2013, 5, 5),
        recognised_by="text only",
        source="Procedure/maybe/_history/1",
        flags=("review",),
    ),
]

SET_ASIDE = [
    SetAside(type="Procedure", id="hsct", source="Procedure/hsct/_history/1", reason="transplant-not-msc"),
    SetAside(type="Condition", id="z9484", source="Condition/z9484/_history/1", reason="history-not-event"),
    SetAside(
        type="Observation",
        id="ck-<b>",
        source="Observation/ck-<b>/_history/1",
        reason="unit-unknown",
        detail="<script>alert(1)</script>",
        where="observations.ndjson:7",
    ),
    SetAside(
        type="Observation", id="void", source="Observation/void/_history/2", reason="status-entered-in-error"
    ),
]

CK = {"s1": (1681, 886, 175), "s2": (900, 474, 400), "s3": (2500, 1293, None)}
DAYS = ((-3, "BASELINE"), (8, "W1"), (183, "M6"))


def analysis() -> Iterable[Analysis]:
    for subject, values in CK.items():
        for (day, visit), value in zip(DAYS, values, strict=True):
            if value is not None:
                baseline = "Y" if visit == "BASELINE" else ""
                yield Analysis(
                    usubjid=subject,
                    paramcd="CK",
                    course=1,
                    avisit=visit,
                    adt=FIRST,
                    ady=day,
                    cady=day,
                    aval=Fraction(value),
                    avalu="U/L",
                    base=Fraction(values[0]),
                    ablfl=baseline,
                    anl01fl="" if baseline else "Y",
                    source=f"Observation/{subject}{visit}",
                )


def by_visit() -> list[VisitSummary]:
    common: dict[str, Any] = {"paramcd": "CK", "course": 1, "n_infused": 3}
    return [
        VisitSummary(
            **common,
            avisit="BASELINE",
            n=3,
            mean=Fraction(5081, 3),
            sd=800.04,
            median=Fraction(1681),
            q1=Fraction(900),
            q3=Fraction(2500),
            min=Fraction(900),
            max=Fraction(2500),
        ),
        VisitSummary(
            **common,
            avisit="W1",
            n=3,
            mean=Fraction(2653, 3),
            sd=409.5,
            median=Fraction(886),
            q1=Fraction(474),
            q3=Fraction(1293),
            min=Fraction(474),
            max=Fraction(1293),
            base_n=3,
            base_median=Fraction(1681),
            pair_base_median=Fraction(1681),
            pair_median=Fraction(886),
            chg_n=3,
            chg_mean=Fraction(-2428, 3),
            chg_sd=390.6,
            chg_median=Fraction(-795),
            pchg_median=Fraction(-4730, 100),
            estimate=Fraction(-801),
            p=0.25,
            method="exact signed-rank, 3 pairs",
            t_p=0.0693,
            flags=("cannot_reach_05", "cens:1"),
        ),
        VisitSummary(
            **common,
            avisit="M6",
            n=2,
            not_due=0,
            retreated=0,
            missing=1,
            mean=Fraction(575, 2),
            median=Fraction(575, 2),
            base_n=2,
            base_median=Fraction(2581, 2),
            pair_base_median=Fraction(2581, 2),
            pair_median=Fraction(575, 2),
            chg_n=2,
            chg_median=Fraction(-1003),
            estimate=Fraction(-1003),
            ci_lo=Fraction(-1575),
            ci_hi=Fraction(-420),
            conf=Fraction(951171875, 10**9),
            p=0.001953125,
            t_p=0.2,
            gmr=0.2153,
            gmr_lo=0.14543,
            gmr_hi=0.41134,
            method="exact signed-rank, 2 pairs",
        ),
    ]


def answers() -> list[Answer]:
    return [
        Answer(
            endpoint="IMP_EVER_CK",
            paramcd="CK",
            population="INFUSED",
            n=3,
            x=3,
            value=Fraction(1),
            ci_lo=0.2924,
            ci_hi=1.0,
            conf=0.95,
            status="value",
        ),
        Answer(
            endpoint="RESP20_CK",
            paramcd="CK",
            avisit="M6",
            population="ABN",
            n=3,
            x=2,
            value=Fraction(2, 3),
            ci_lo=0.0943,
            ci_hi=0.9916,
            conf=0.95,
            status="value",
        ),
        Answer(
            endpoint="RESP20_CK",
            paramcd="CK",
            avisit="M6",
            population="EVALUABLE",
            n=2,
            x=2,
            value=Fraction(1),
            ci_lo=0.1581,
            ci_hi=1.0,
            conf=0.95,
            status="value",
        ),
        Answer(
            endpoint="RESP20_PTGNRS",
            paramcd="PTGNRS",
            avisit="M6",
            population="INFUSED",
            n=0,
            status="not evaluable",
            reason="no_baseline",
        ),
        Answer(
            endpoint="RECUR",
            population="INFUSED",
            n=3,
            x=1,
            value=Fraction(1, 3),
            ci_lo=0.0084,
            ci_hi=0.9057,
            conf=0.95,
            status="value",
        ),
        Answer(
            endpoint="DEATH",
            population="INFUSED",
            n=3,
            x=0,
            value=Fraction(0),
            ci_lo=0.0,
            ci_hi=0.7076,
            conf=0.95,
            status="value",
        ),
        Answer(
            endpoint="CHG_CK",
            paramcd="CK",
            avisit="M6",
            population="EVALUABLE",
            n=2,
            value=Fraction(-1003),
            unit="U/L",
            ci_lo=Fraction(-1575),
            ci_hi=Fraction(-420),
            conf=Fraction(951171875, 10**9),
            p=0.001953125,
            rule="change",
            status="value",
            reason="cens:1",
        ),
        Answer(endpoint="SAE", population="INFUSED", n=3, status="not evaluable", reason="no_safety_source"),
    ]


BY_SUBJECT = [
    Outcome(
        usubjid="s1",
        course=1,
        endpoint="RESP20_CK",
        paramcd="CK",
        value="-89.6",
        unit="%",
        status="met",
        base="1681",
        aval="175",
    ),
    Outcome(
        usubjid="s2",
        course=1,
        endpoint="RESP20_CK",
        paramcd="CK",
        value="-95",
        unit="%",
        status="met",
        base="900",
        aval="45",
        comparator="<",
    ),
    Outcome(usubjid="s3", course=1, endpoint="RESP20_CK", paramcd="CK", status="not met", reason="no_value"),
    Outcome(usubjid="s3", course=1, endpoint="RECUR", status="met", adt=date(2012, 11, 15)),
]

ACCOUNTING = {
    "types": {
        "Observation": {
            "seen": 31,
            "mapped": 8,
            "set_aside": 2,
            "out_of_scope": 21,
            "superseded": 1,
            "lines_read": 32,
        },
        "Procedure": {"seen": 6, "mapped": 5, "set_aside": 1, "out_of_scope": 0},
    },
    "out_of_scope": [{"type": "Observation", "system": "http://loinc.org", "code": "718-7", "count": 21}],
    "complete": True,
    "base": "http://127.0.0.1:8080/fhir",
}
RUN = {
    "tool": "fhir-msct 0.1.0",
    "python": "3.11",
    "complete": True,
    "started": "2026-01-02T03:04:05Z",
    "finished": "2026-01-02T03:04:06Z",
    "inputs": {"study.toml": "ab" * 32},
    "outputs": {},
}


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("plan")
    text = '[study]\nid = "made-up"\ntitle = "SYNTHETIC trial of MSCT"\ndata_cut = 2013-12-31\n'
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return protocol.load(folder)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The study folder after `records` and `outcomes`."""
    tables: dict[str, tuple[Iterable[Any], type]] = {
        "records/subjects.csv": (SUBJECTS, Subject),
        "records/transplants.csv": (TRANSPLANTS, Transplant),
        "records/findings.csv": ([], Finding),
        "records/set_aside.csv": (SET_ASIDE, SetAside),
        "outcomes/analysis.csv": (analysis(), Analysis),
        "outcomes/by_subject.csv": (BY_SUBJECT, Outcome),
        "outcomes/by_visit.csv": (by_visit(), VisitSummary),
        "outcomes/endpoints.csv": (answers(), Answer),
    }
    for path, (rows, kind) in tables.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(csv_bytes(rows, kind))
    documents = {"records/accounting.json": ACCOUNTING, "records/run.json": RUN, "outcomes/run.json": RUN}
    for path, document in documents.items():
        (tmp_path / path).write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "study.toml").write_text('[study]\nid = "made-up"\n', encoding="utf-8")
    return tmp_path
