"""`fhir-msct demo`: the whole story over HTTP on the synthetic trial, in one folder."""

import tomllib
from pathlib import Path

import pytest

from fhir_msct import plan as protocol
from fhir_msct.errors import UsageError
from fhir_msct.tasks.demo import MARKER, demo, filled
from fhir_msct.tasks.outcomes import outcomes
from fhir_msct.tasks.report import report
from report.html_tables import Html


def silent(_: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder a demo leaves behind and the screen it ends with."""
    folder = tmp_path_factory.mktemp("demo") / "demo-study"
    return folder, demo(folder, say=silent)


def line_of(screen: str, start: str) -> str:
    """The first line of the screen that begins so."""
    return next(line for line in screen.splitlines() if line.startswith(start))


def test_the_screen_fits_a_terminal_and_says_first_that_all_is_invented(told: tuple[Path, str]) -> None:
    screen = told[1]
    assert screen.startswith("SYNTHETIC DATA")
    assert screen.isascii()
    assert max(map(len, screen.partition("NEXT\n")[0].splitlines())) <= 100  # a command is never broken
    assert len(screen.splitlines()) <= 90


def test_what_was_received_is_what_the_server_counted(told: tuple[Path, str]) -> None:
    words = line_of(told[1], "pull").split()
    assert words[1] == words[words.index("=") + 1]
    assert "complete" in told[1]
    assert "NOT COMPLETE" not in told[1]


def test_ck_at_six_months_is_as_worked_out_by_hand(told: tuple[Path, str]) -> None:
    block = told[1].partition("  CK, U/L ")[2]
    assert block.split()[:3] == ["BASELINE", "10/10", "1573"]
    words = next(line for line in block.splitlines() if " M6 " in line).split()
    assert words[:2] == ["M6", "9/10"]
    assert words[3:5] == ["170", "-1401"]
    assert "0.0039" in words  # 2 / 2**9: all nine fell


def test_everybody_treated_again_is_named(told: tuple[Path, str]) -> None:
    again = [line.split()[0] for line in told[1].splitlines() if "again 20" in line]
    assert again == ["msct-p02", "msct-p05", "msct-p07"]


def test_the_decoys_are_refused_by_name(told: tuple[Path, str]) -> None:
    for decoy in ("Procedure/hsct-p11", "Condition/txstatus-p11"):
        assert decoy in told[1]


def test_a_second_push_writes_nothing_and_one_result_was_read_back(told: tuple[Path, str]) -> None:
    text = " ".join(told[1].split())
    assert "read back equal; again: 0 written" in text
    assert "one of them, read back: " in text


def test_the_report_is_whole_and_current(told: tuple[Path, str]) -> None:
    text = (told[0] / "report.html").read_text("utf-8")
    assert Html(text).captions
    assert "SYNTHETIC DATA" in text
    assert "STALE" not in text
    assert "PARTIAL" not in text


def test_without_the_server_outcomes_and_report_still_work_and_change_nothing(told: tuple[Path, str]) -> None:
    folder = told[0]
    plan = protocol.load(folder)
    before = {path.name: path.read_bytes() for path in (folder / "outcomes").glob("*.csv")}
    page = (folder / "report.html").read_bytes()
    outcomes(folder, plan, say=silent)
    report(folder, plan, say=silent)
    assert {path.name: path.read_bytes() for path in (folder / "outcomes").glob("*.csv")} == before
    assert (folder / "report.html").read_bytes() == page


@pytest.mark.slow
def test_a_folder_that_a_demo_made_is_made_anew(told: tuple[Path, str]) -> None:
    (told[0] / "leftover").write_text("old", "utf-8")
    demo(told[0], say=silent)
    assert not (told[0] / "leftover").exists()


def test_any_other_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("years of work", "utf-8")
    with pytest.raises(UsageError, match="not made by the demo"):
        demo(tmp_path, say=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "demo-study"
    path.write_text("a file", "utf-8")
    with pytest.raises(UsageError, match="name another folder"):
        demo(path, say=silent)
    assert path.read_text("utf-8") == "a file"


def test_the_address_is_filled_in_and_everything_else_stays() -> None:
    text = '# why\n[study]\nid = "a" # [server]\n[server] # ours\nurl = "http://old"\nkind = "research"\n'
    tree = tomllib.loads(filled(text, "http://127.0.0.1:1/fhir"))
    assert tree == {
        "study": {"id": "a"},
        "server": {"url": "http://127.0.0.1:1/fhir", "kind": "research"},
        "push": {"url": "http://127.0.0.1:1/fhir", "same_as_source": True},
    }
    assert filled(text, "x").startswith("# why\n")


def test_the_marker_says_whose_the_folder_is(told: tuple[Path, str]) -> None:
    assert "fhir-msct demo" in (told[0] / MARKER).read_text("utf-8")
