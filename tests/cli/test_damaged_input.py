"""Files that are handed in and are not what they claim to be: hand-entered tables, exports, stages."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Command
from cli.refusals import FROM_FOLDER, creatine_kinase, export, patient, refused, tree

Study = Callable[..., Path]

HEAD = "usubjid,paramcd,adtc,value,unit,side,entered_by,entered_at,source_doc\n"
GOOD = "p1,MMT8,2024-03-05,52,{score},right,Dr Example,2024-03-06,worksheet 1\n"


@pytest.fixture
def pulled(command: Command, study: Study, tmp_path: Path) -> Path:
    """A study folder with one patient in its archive."""
    folder = study(FROM_FOLDER)
    ended = command("pull", folder, "--from", export(tmp_path / "export", patient(), creatine_kinase()))
    assert ended.code == 0, ended.err
    return folder


def archived(command: Command, folder: Path) -> int:
    """How many resources the archive holds, as the records stage counts them."""
    assert command("records", folder).code == 0
    accounts = json.loads((folder / "records" / "accounting.json").read_text("utf-8"))["types"]
    return sum(account["lines_read"] for account in accounts.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + GOOD + GOOD.replace("52", "many"), ["entered.csv:3", "value", "6.3"]),
        (HEAD + GOOD.replace("52", "84"), ["entered.csv:2", "value", "outside 0 to 80"]),
        (HEAD + GOOD.replace("{score}", "stones"), ["entered.csv:2", "unit", "not listed for MMT8"]),
        (HEAD + GOOD.replace("MMT8", "MMT9"), ["entered.csv:2", "paramcd"]),
        (HEAD + GOOD.replace("p1", "p2"), ["entered.csv:2", "usubjid", "pull first"]),
        (HEAD + GOOD.replace("2024-03-05", "5 March"), ["entered.csv:2", "adtc", "2024-03-31"]),
        (HEAD + GOOD.replace("2024-03-06", "2024-03-04"), ["entered.csv:2", "entered_at"]),
        (HEAD + GOOD.replace("Dr Example", ""), ["entered.csv:2", "entered_by", "is empty"]),
        (HEAD + GOOD.replace("right", "up"), ["entered.csv:2", "side"]),
        (HEAD + GOOD + GOOD, ["entered.csv:3", "line 2"]),
        (HEAD.replace("unit,", "") + GOOD, ["entered.csv:1", "unit", "wanted are"]),
        (HEAD.replace("unit", "units") + GOOD, ["entered.csv:1", "unit"]),
        (HEAD + GOOD.replace("right,", ""), ["entered.csv:2"]),
    ],
)
def test_one_bad_row_and_nothing_of_a_table_is_loaded(
    command: Command, pulled: Path, tmp_path: Path, text: str, words: list[str]
) -> None:
    before = archived(command, pulled)
    table = tmp_path / "entered.csv"
    table.write_text(text, encoding="utf-8")
    refused(command("load", pulled, table), 3, *words)
    assert archived(command, pulled) == before


def test_a_table_that_is_not_there_or_not_text_is_refused(
    command: Command, pulled: Path, tmp_path: Path
) -> None:
    refused(command("load", pulled, tmp_path / "none.csv"), 3, "none.csv", "cannot be read")
    (tmp_path / "latin.csv").write_bytes((HEAD + GOOD).replace("Dr Example", "Dr Müller").encode("latin-1"))
    refused(command("load", pulled, tmp_path / "latin.csv"), 3, "latin.csv", "not UTF-8")


def test_a_good_table_is_loaded_after_a_bad_one(command: Command, pulled: Path, tmp_path: Path) -> None:
    table = tmp_path / "entered.csv"
    table.write_text(HEAD + GOOD.replace("52", "many"), encoding="utf-8")
    refused(command("load", pulled, table), 3)
    table.write_text(HEAD + GOOD, encoding="utf-8")
    ended = command("load", pulled, table)
    assert (ended.code, "1 new" in ended.out) == (0, True)
    assert command("records", pulled).code == 0
    rows = (pulled / "records" / "measurements.csv").read_text("utf-8")
    assert "MMT8,Manual muscle testing" in rows


def test_an_export_that_is_not_there_is_refused(command: Command, study: Study, tmp_path: Path) -> None:
    folder = study(FROM_FOLDER)
    before = tree(folder)
    refused(command("pull", folder, "--from", tmp_path / "none"), 3, tmp_path / "none", "--from")
    assert tree(folder) == before


def test_a_damaged_line_is_named_and_what_could_be_read_is_kept(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder, files = study(FROM_FOLDER), export(tmp_path / "export", patient(), creatine_kinase())
    (files / "broken.ndjson").write_bytes(b'{"resourceType": "Observation", "id"\n')
    ended = command("pull", folder, "--from", files)
    refused(ended, 2, "complete")
    assert "broken.ndjson" in ended.out
    assert "not-json" in ended.out
    assert command("records", folder).code == 0
    assert (folder / "records" / "measurements.csv").read_text("utf-8").count("\n") == 2


def test_a_resource_that_is_two_is_not_pulled_and_one_that_says_two_things_is_not_mapped(
    command: Command, study: Study, tmp_path: Path
) -> None:
    two, unclear = (json.dumps(creatine_kinase(id_)) for id_ in ("ck2", "ck3"))
    two = two.replace('"id": "ck2"', '"id": "ck1", "id": "ck2"')
    unclear = unclear.replace('"value": ', '"value": 3, "value": ')
    folder, files = study(FROM_FOLDER), export(tmp_path / "export", patient(), creatine_kinase())
    (files / "strange.ndjson").write_text(f"{unclear}\n{two}\n", "utf-8")
    ended = command("pull", folder, "--from", files)
    refused(ended, 2, "complete")
    assert "strange.ndjson" in ended.out and "key-twice" in ended.out
    assert command("records", folder).code == 0
    asides = (folder / "records" / "set_aside.csv").read_text("utf-8")
    assert "Observation,ck3,Observation/ck3,key-twice,,Observation" in asides
    measured = (folder / "records" / "measurements.csv").read_text("utf-8")
    assert ("ck1" in measured, "ck2" in measured + asides, "ck3" in measured) == (True, False, False)


def test_nothing_of_a_partial_pull_is_pushed(command: Command, study: Study, tmp_path: Path) -> None:
    folder = study(FROM_FOLDER + '[push]\nurl = "http://127.0.0.1:9/fhir"\n')
    files = export(tmp_path / "export", patient(), creatine_kinase())
    (files / "broken.ndjson").write_bytes(b'{"resourceType": "Observation", "id"\n')
    assert command("run", folder, "--from", files).code == 2
    assert "PARTIAL" in (folder / "report.html").read_text("utf-8")
    refused(command("push", folder, "--apply"), 3, "PARTIAL", "nothing was pushed")


def test_a_folder_without_any_resource_is_no_complete_pull(
    command: Command, study: Study, tmp_path: Path
) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "readme.txt").write_text("nothing here", encoding="utf-8")
    refused(command("pull", study(FROM_FOLDER), "--from", tmp_path / "export"), 2)


def test_a_resource_that_does_not_fit_is_set_aside_and_never_fatal(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder = study(FROM_FOLDER)
    strange = creatine_kinase("ck2", valueQuantity={"value": "high"})
    ended = command("run", folder, "--from", export(tmp_path / "export", patient(), strange))
    assert ended.code == 0, ended.err
    assert "Observation,ck2" in (folder / "records" / "set_aside.csv").read_text("utf-8")


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("records", ["holds no archive", "fhir-msct pull"]),
        ("outcomes", ["records does not exist", "fhir-msct records"]),
        ("report", ["records does not exist", "fhir-msct records"]),
        ("push", ["push.url", "not set"]),
        ("load", ["holds no archive", "fhir-msct pull"]),
    ],
)
def test_a_stage_that_comes_too_early_names_the_one_before(
    command: Command, study: Study, tmp_path: Path, verb: str, words: list[str]
) -> None:
    folder = study(FROM_FOLDER)
    before = tree(folder)
    refused(command(verb, folder, *([tmp_path / "a.csv"] if verb == "load" else [])), 3, *words)
    assert tree(folder) == before


def test_a_table_that_is_damaged_is_named_with_its_line(command: Command, pulled: Path) -> None:
    """Also one that run.json has never heard of: that is said first where it has (test_stage_folders.py)."""
    assert command("records", pulled).code == 0
    path, run = pulled / "records" / "measurements.csv", pulled / "records" / "run.json"
    path.write_text(path.read_text("utf-8").replace("1681.5,U/L", "lots,U/L", 1), encoding="utf-8")
    run.write_text(json.dumps(json.loads(run.read_text("utf-8")) | {"outputs": {}}), encoding="utf-8")
    refused(command("outcomes", pulled), 3, f"{path}:2", "cannot be read")
    assert not (pulled / "outcomes").exists()


@pytest.mark.parametrize("value", ["1e400", "1e-400", "9" * 400])
def test_a_number_that_no_statistic_can_hold_is_set_aside_and_stops_nothing(
    command: Command, study: Study, tmp_path: Path, value: str
) -> None:
    folder = study(FROM_FOLDER)
    files = export(tmp_path / "export", patient(), creatine_kinase(), creatine_kinase("huge", 0.75))
    path = files / "export.ndjson"
    path.write_text(path.read_text("utf-8").replace("0.75", value), "utf-8")
    assert command("run", folder, "--from", files).code == 0
    row = "Observation,huge,Observation/huge,not-a-number,,Observation.valueQuantity"
    assert row in (folder / "records" / "set_aside.csv").read_text("utf-8").splitlines()
    accounts = json.loads((folder / "records" / "accounting.json").read_text("utf-8"))["types"]
    assert (accounts["Observation"]["mapped"], accounts["Observation"]["set_aside"]) == (1, 1)
    table = (folder / "records" / "measurements.csv").read_text("utf-8")
    assert "Observation/huge" not in table and "Observation/ck1" in table


@pytest.mark.parametrize("value", ["1e400", "1e-400"])
def test_where_somebody_typed_such_a_number_into_a_table_its_resource_is_named(
    command: Command, pulled: Path, value: str
) -> None:
    assert command("records", pulled).code == 0
    path, run = pulled / "records" / "measurements.csv", pulled / "records" / "run.json"
    path.write_text(path.read_text("utf-8").replace("1681.5,U/L", f"{value},U/L"), encoding="utf-8")
    run.write_text(json.dumps(json.loads(run.read_text("utf-8")) | {"outputs": {}}), encoding="utf-8")
    assert value not in refused(command("outcomes", pulled), 3, "Observation/ck1", "CK", "nobody measures")
    assert not (pulled / "outcomes").exists()


def test_outcomes_of_changed_inputs_are_stale_and_are_not_pushed(
    command: Command, study: Study, tmp_path: Path
) -> None:
    toml = FROM_FOLDER + '[push]\nurl = "http://127.0.0.1:9/fhir"\n'
    folder = study(toml)
    files = export(tmp_path / "export", patient(), creatine_kinase())
    assert command("run", folder, "--from", files).code == 0
    (folder / "study.toml").write_text(toml + "[course]\nrepeat_within_days = 7\n", encoding="utf-8")
    refused(command("push", folder, "--apply"), 3, "STALE", "study.toml", "run records and outcomes again")
