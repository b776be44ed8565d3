"""Load: what somebody typed becomes Observations that are read like any other, or nothing is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_msct.archive.store import Archive
from fhir_msct.errors import InputError
from fhir_msct.mapping import gate
from fhir_msct.records import Finding, Measurement
from fhir_msct.tables import read_csv
from fhir_msct.tasks.load import COLUMNS, LoadReport, load
from push.small_trial import Trial, code, our_tags, quiet

HEADER = ",".join((*COLUMNS, "state"))
TYPED = "nurse 7,2024-09-02T10:00:00+08:00,form 4 page 1"
MMT = f"anna,MMT8,2024-02-28,45,{{score}},right,{TYPED},"
LATER = f"anna,MMT8,2024-08-30,64,{{score}},right,{TYPED},"
VAS = f"anna,PTGVAS,2024-08-30,25,mm,,{TYPED},"
JUDGED = f"bert,ILDRESP,2024-08-30,,,,{TYPED},improved"


def typed(trial: Trial, *rows: str, header: str = HEADER) -> Path:
    path = trial.folder / "typed.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def loaded(trial: Trial, *rows: str, header: str = HEADER) -> LoadReport:
    return load(trial.folder, trial.plan, typed(trial, *rows, header=header), say=quiet)


def entered(trial: Trial) -> list[dict[str, Any]]:
    """The hand-entered Observations in the archive."""
    with Archive.open(trial.folder) as archive:
        trees = [json.loads(one.body) for one in archive.current("Observation")]
    return [tree for tree in trees if our_tags(tree) == ["entered"]]


def measured(trial: Trial) -> list[Measurement]:
    trial.compute()
    rows = read_csv(trial.folder / "records" / "measurements.csv", Measurement)
    return [row for row in rows if row.paramcd in ("MMT8", "PTGVAS")]


def test_a_row_becomes_an_observation_that_says_who_typed_it_when_and_from_what(trial: Trial) -> None:
    report = loaded(trial, MMT)
    assert (report.rows, report.new, report.corrected, report.unchanged) == (1, 1, 0, 0)
    (found,) = entered(trial)
    assert report.ids == (f"Observation/{found['id']}",)
    assert (found["status"], code(found)) == ("final", "MMT8")
    assert found["subject"] == {"reference": "Patient/anna"}
    assert found["effectiveDateTime"] == "2024-02-28"
    assert found["valueQuantity"]["value"] == 45
    assert found["issued"] == "2024-09-02T10:00:00+08:00"
    (extension,) = found["extension"]
    said = {part["url"]: next(v for k, v in part.items() if k != "url") for part in extension["extension"]}
    assert said == {"by": "nurse 7", "at": "2024-09-02T10:00:00+08:00", "document": "form 4 page 1"}
    assert gate.check(json.dumps(found).encode()) == []


def test_a_loaded_value_is_read_like_any_other(trial: Trial) -> None:
    loaded(trial, MMT, LATER, VAS, JUDGED)
    rows = {(row.paramcd, row.adtc): row for row in measured(trial)}
    assert {key: str(row.aval) for key, row in rows.items()} == {
        ("MMT8", "2024-02-28"): "45",
        ("MMT8", "2024-08-30"): "64",
        ("PTGVAS", "2024-08-30"): "2.5",
    }
    assert rows["MMT8", "2024-02-28"].side == "right"
    (judged,) = read_csv(trial.folder / "records" / "findings.csv", Finding)
    assert (judged.finding, judged.usubjid, judged.state) == ("ILDRESP", "bert", "improved")


def test_digits_stay_as_they_were_typed(trial: Trial) -> None:
    loaded(trial, f"anna,PTGVAS,2024-08-30,6.30,cm,,{TYPED},")
    (row,) = measured(trial)
    assert row.orres == "6.30"


def test_loading_twice_changes_nothing(trial: Trial) -> None:
    first = loaded(trial, MMT, LATER)
    before = entered(trial)
    with Archive.open(trial.folder) as archive:
        accounts = archive.accounts()
    again = loaded(trial, LATER, MMT)
    assert (again.new, again.corrected, again.unchanged) == (0, 0, 2)
    assert set(again.ids) == set(first.ids)
    assert entered(trial) == before
    with Archive.open(trial.folder) as archive:
        assert archive.accounts() == accounts


def test_another_value_for_the_same_is_a_correction_of_the_same_resource(trial: Trial) -> None:
    first = loaded(trial, MMT)
    report = loaded(trial, MMT.replace(",45,", ",46,"))
    assert (report.new, report.corrected, report.ids) == (0, 1, first.ids)
    (found,) = entered(trial)
    assert (found["status"], found["valueQuantity"]["value"]) == ("corrected", 46)
    assert loaded(trial, MMT.replace(",45,", ",46,")).unchanged == 1


def test_the_last_correction_counts_also_when_it_was_said_before(trial: Trial) -> None:
    for value in ("45", "46", "45", "46"):
        loaded(trial, MMT.replace(",45,", f",{value},"))
    (found,) = entered(trial)
    assert found["valueQuantity"]["value"] == 46
    trial.compute()
    trial.push()
    (sent,) = trial.held(tag="entered")
    assert sent["valueQuantity"]["value"] == 46


def test_the_columns_may_stand_in_any_order_and_state_may_be_absent(trial: Trial) -> None:
    header = ",".join(reversed(COLUMNS))
    row = ",".join(reversed(MMT.rstrip(",").split(",")))
    assert loaded(trial, row, header=header).new == 1


STATES = "state: wants improved, unchanged, worse"
WRONG: dict[str, tuple[str, str]] = {
    "nobody's": (MMT.replace("anna", "carl"), "usubjid: no Patient"),
    "no subject": (MMT.replace("anna", ""), "usubjid: is empty"),
    "unknown parameter": (MMT.replace("MMT8", "MMT9"), "paramcd: not a parameter"),
    "partial date": (MMT.replace("2024-02-28", "2024-02"), "adtc: wants a date"),
    "no such day": (MMT.replace("2024-02-28", "2024-02-30"), "adtc: wants a date"),
    "another order of day and month": (MMT.replace("2024-02-28", "28.02.2024"), "adtc: wants a date"),
    "a time without offset": (MMT.replace("2024-02-28", "2024-02-28T10:00:00"), "adtc: wants a date"),
    "no number": (MMT.replace(",45,", ",strong,"), "value: wants a number"),
    "a decimal comma": (MMT.replace(",45,", ',"45,5",'), "value: wants a number"),
    "a comparator": (MMT.replace(",45,", ",<45,"), "value: wants a number"),
    "no value": (MMT.replace(",45,", ",,"), "value: wants a number"),
    "more digits than a float holds": (
        f"anna,CK,2024-08-30,{'9' * 400},U/L,,{TYPED},",
        "value: has too many digits",
    ),
    "thousands of digits": (f"anna,CK,2024-08-30,{'9' * 5000},U/L,,{TYPED},", "value: has too many digits"),
    "a power of ten": (f"anna,CK,2024-08-30,1e400,U/L,,{TYPED},", "value: wants a number"),
    "outside the scale": (MMT.replace(",45,", ",81,"), "value: outside 0 to 80 {score}"),
    "outside the scale in another unit": (VAS.replace(",25,", ",101,"), "value: outside 0 to 10 cm"),
    "a unit nobody listed": (VAS.replace("mm", "inch"), "unit: not listed for PTGVAS; listed are cm, mm"),
    "no unit": (VAS.replace("mm", ""), "unit: is empty"),
    "a side nobody has": (MMT.replace("right", "upper"), "side: wants left, right, both, or nothing"),
    "nobody typed it": (MMT.replace("nurse 7", " "), "entered_by: is empty"),
    "never typed": (MMT.replace("2024-09-02T10:00:00+08:00", ""), "entered_at: is empty"),
    "typed before it was measured": (
        MMT.replace("2024-09-02T10:00:00+08:00", "2024-02-27"),
        "entered_at: before the value was taken",
    ),
    "from no document": (MMT.replace("form 4 page 1", ""), "source_doc: is empty"),
    "a measurement with a state": (MMT + "improved", "state: only a judgement"),
    "a judgement with a value": (JUDGED.replace(",,,,", ",1,,,"), "value: a judgement has a state"),
    "a judgement without a state": (
        JUDGED.removesuffix("improved"),
        "state: wants improved, unchanged, worse",
    ),
    "a state of a diagnosis": (
        JUDGED.replace("improved", "active"),
        "state: wants improved, unchanged, worse",
    ),
    "a cell too many": (MMT + ",x", "row: has more or fewer cells"),
    "a cell too few": ("anna,MMT8", "row: has more or fewer cells"),
    "the same twice": (LATER, "row: says the same subject, parameter, date and side as line 2"),
    "an unclosed quotation mark": (MMT.replace("nurse", '"nurse'), "row: is no CSV"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_bad_row_and_nothing_is_loaded_at_all(trial: Trial, wrong: str) -> None:
    row, said = WRONG[wrong]
    with pytest.raises(InputError) as raised:
        loaded(trial, LATER, row)
    message = str(raised.value)
    assert f"{trial.folder / 'typed.csv'}:3: {said}" in message
    assert message.endswith("nothing was loaded")
    assert entered(trial) == []


def test_a_message_never_quotes_what_was_typed(trial: Trial) -> None:
    for old in ("45", "2024-02-28", "anna", "MMT8", "{score}", "right", "2024-09-02T10:00:00+08:00"):
        with pytest.raises(InputError) as raised:
            loaded(trial, MMT.replace(old, "SECRET"))
        assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.replace("side,", ""), "side: no such column; wanted are usubjid"),
        (HEADER + ",note", "note: not a column of this file"),
        (HEADER.replace(",", ";"), "usubjid: no such column"),
        (HEADER + ",state", "header: names a column twice"),
    ],
)
def test_a_header_that_is_not_ours_says_which_column(trial: Trial, header: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        loaded(trial, MMT, header=header)
    assert f"typed.csv:1: {said}" in str(raised.value)


def test_a_file_in_another_encoding_or_absent_is_said(trial: Trial) -> None:
    path = typed(trial, MMT)
    path.write_bytes(path.read_bytes().replace(b"nurse", b"n\xfcrse"))
    with pytest.raises(InputError, match="not UTF-8"):
        load(trial.folder, trial.plan, path, say=quiet)
    with pytest.raises(InputError, match="cannot be read"):
        load(trial.folder, trial.plan, path.with_name("absent.csv"), say=quiet)
    assert entered(trial) == []


def test_a_file_saved_by_a_spreadsheet_with_a_mark_at_its_start_is_read(trial: Trial) -> None:
    path = typed(trial, MMT)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(trial.folder, trial.plan, path, say=quiet).new == 1


def test_what_was_typed_goes_to_the_server_with_the_next_push(trial: Trial) -> None:
    loaded(trial, MMT, LATER)
    trial.compute()
    report = trial.push()
    assert report.read_back_equal
    found = {tree["effectiveDateTime"]: tree for tree in trial.held(tag="entered")}
    assert {day: tree["valueQuantity"]["value"] for day, tree in found.items()} == {
        "2024-02-28": 45,
        "2024-08-30": 64,
    }
    derived = trial.outcome("RESP20_MMT8")
    assert derived["valueCodeableConcept"]["coding"][0]["code"] == "met"  # (64 - 45) / 45 is 42 %
    assert [one["reference"] for one in derived["derivedFrom"]] == sorted(
        f"Observation/{tree['id']}" for tree in found.values()
    )
    assert trial.push().written == 0


def test_what_comes_back_from_the_server_is_not_written_again(trial: Trial) -> None:
    loaded(trial, MMT, LATER)
    trial.compute()
    trial.push()
    after, answers = (
        trial.server.versions,
        [(row.endpoint, row.usubjid, row.value) for row in trial.answers()],
    )
    report = trial.story()
    assert (report.written, report.retracted) == (0, 0)
    assert trial.server.versions == after
    assert [(row.endpoint, row.usubjid, row.value) for row in trial.answers()] == answers
    assert loaded(trial, MMT, LATER).unchanged == 2


def test_a_correction_after_it_came_back_reaches_the_server_and_the_result(trial: Trial) -> None:
    loaded(trial, MMT, LATER)
    trial.compute()
    trial.push()
    trial.story()
    corrected = LATER.replace(",64,", ",50,")
    assert loaded(trial, MMT, corrected).corrected == 1
    assert loaded(trial, MMT, corrected).unchanged == 2
    trial.compute()
    trial.push()
    trial.story()
    (found,) = [tree for tree in trial.held(tag="entered") if tree["effectiveDateTime"] == "2024-08-30"]
    assert (found["status"], found["valueQuantity"]["value"]) == ("corrected", 50)
    derived = trial.outcome("RESP20_MMT8")
    assert derived["valueCodeableConcept"]["coding"][0]["code"] == "not-met"  # (50 - 45) / 45 is 11 %
    assert trial.story().written == 0
