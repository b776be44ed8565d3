"""The fault matrix: thirty Observations in three pages, the second page misbehaves, and every row is right.

The peers' columns of the same table are measured by `benchmarks/fault_matrix.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.trouble_server import FAULTS, ROWS, TroubleServer
from fhir_msct import plan as plans
from fhir_msct.archive.store import Archive
from fhir_msct.client.keys import make
from fhir_msct.errors import MsctError
from fhir_msct.tasks.pull import PullReport, pull

TOML = '[server]\nurl = "{url}"\n[cohort]\npatients = ["p1"]\n'
SMART = 'auth = "smart"\nclient_id = "study"\nkey_file = "{key}"\n[cohort]'


def pulled(folder: Path, server: TroubleServer, toml: str = TOML) -> PullReport:
    """One pull of the patient's Observations; its report."""
    (folder / "study.toml").write_text(toml.replace("{url}", server.url))
    plan = plans.load(folder)
    wanted = plans.Wanted(types=("Patient", "Observation"), cohort=plan.cohort, page_size=10)
    return pull(folder, plan, wanted, say=lambda line: None)


def held(folder: Path) -> int:
    """Different Observations in the archive."""
    with Archive.open(folder) as archive:
        return len({one.id for one in archive.current("Observation")})


def all_of_it(folder: Path, server: TroubleServer) -> None:
    report = pulled(folder, server)
    assert (report.complete, held(folder)) == (True, server.unique)
    assert report.received == server.unique + 1


def waited_for(folder: Path, server: TroubleServer) -> None:
    all_of_it(folder, server)
    assert server.struck == 4, "page two is asked for with the resources, and with the ids found by address"
    assert server.gap >= 1.0


def asked_for_a_new_token(folder: Path, server: TroubleServer) -> None:
    key = folder / "key.json"
    make(key, "ES384")
    report = pulled(folder, server, TOML.replace("[cohort]", SMART.replace("{key}", str(key))))
    assert (report.complete, held(folder), server.tokens) == (True, ROWS, 2)


def refused(folder: Path, server: TroubleServer) -> None:
    with pytest.raises(MsctError, match="a page for people"):
        pulled(folder, server)
    with Archive.open(folder) as archive:
        last = archive.last_pull()
        assert last is not None and not last.complete


def said_to_be_partial(folder: Path, server: TroubleServer) -> None:
    report = pulled(folder, server)
    assert not report.complete
    assert "next links run in a circle" in report.problems[0]
    assert len(server.asked) < 50


RIGHT: dict[str, Callable[[Path, TroubleServer], Any]] = {
    **dict.fromkeys(("none", "gone", "error", "cut", "repeated", "odd"), all_of_it),
    "throttled": waited_for,
    "expired": asked_for_a_new_token,
    "login": refused,
    "self": said_to_be_partial,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_on_page_two_loses_a_row_in_silence(fault: str, tmp_path: Path) -> None:
    with TroubleServer(fault) as server:
        RIGHT[fault](tmp_path, server)
