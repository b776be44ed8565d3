"""A study folder that says something that cannot be meant: file, key, what to do; and nothing changed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Command
from cli.refusals import FROM_FOLDER, creatine_kinase, export, patient, refused, tree
from fhir_msct.data import mappings
from fhir_msct.plan import load

Study = Callable[..., Path]

CODES = "paramcd,system,code,relation,preferred,source,status\n"
UNITS = "paramcd,system,unit,factor,study_unit,source,status\n"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('[study]\nid = "t"\ncolour = "blue"\n', ["colour", "study"]),
        ('[study]\nid = "t"\n\n[laboratory]\nname = "a"\n', ["laboratory"]),
        ("[study]\nid = 5\n", ["study.id", "str"]),
        ('[study]\nid = "t"\n[statistics]\nconf = "high"\n', ["statistics.conf", "float"]),
        ('[study\nid = "t"\n', ["not a TOML file", "line 1"]),
        ('[study]\nid = "t"\n[study]\nid = "u"\n', ["not a TOML file", "line 3"]),
        ('[study]\nid = "t"\ntimezone = "Mars/Olympus"\n', ["study.timezone", "Mars/Olympus"]),
        ('[study]\nid = "t"\ndata_cut = "soon"\n', ["study.data_cut", "2024-06-30"]),
        ('[study]\nid = "t"\n[server]\nauth = "magic"\n', ["server.auth"]),
        ('[study]\nid = "t"\ndata_cut = 2024-12-31T00:00:00\n', ["study.data_cut", "2024-06-30"]),
        ('[study]\nid = "t"\ndata_cut = "2024-12-31T10:00:00+08:00"\n', ["study.data_cut"]),
        ('[study]\nid = "a\\u0000b"\n', ["study.id", "nobody can see"]),
        ('[study]\nid = "a\\nb"\n', ["study.id", "nobody can see"]),
        ('[study]\nid = "t"\n[statistics]\nconf = 1.0\n', ["statistics.conf"]),
        ('[study]\nid = "t"\n[statistics]\nconf = nan\n', ["statistics.conf"]),
        ('[study]\nid = "t"\n[pull]\npage_size = 0\n', ["pull.page_size", ">= 1"]),
        ('[study]\nid = "t"\n[pull]\ncatch_up_minutes = 1000000000000\n', ["pull.catch_up_minutes"]),
        ('[study]\nid = "t"\n[course]\nrepeat_within_days = 1000000000000\n', ["course.repeat_within_days"]),
        (
            '[study]\nid = "t"\n[recurrence]\nlaboratory = true\nenzymes = ["XX"]\n',
            ["recurrence.enzymes", "no parameter is called XX"],
        ),
        (
            '[study]\nid = "t"\n[[visit]]\nname = "W1"\nfrom = 5\nto = 11\ntarget = 30\n',
            ["visit W1", "from <= target <= to"],
        ),
        (
            '[study]\nid = "t"\n[[visit]]\nname = "W1"\nfrom = 5\nto = 11\ntarget = 8\n',
            ["no visit is called M6"],
        ),
    ],
)
@pytest.mark.parametrize("verb", ["pull", "records", "outcomes", "report", "push"])
def test_a_study_toml_that_cannot_be_meant_is_refused_by_every_command(
    command: Command, study: Study, verb: str, toml: str, words: list[str]
) -> None:
    folder = study(toml)
    before = tree(folder)
    refused(command(verb, folder), 3, folder / "study.toml", *words)
    assert tree(folder) == before


NO_HOSTS = [
    "https://fhir..example.org/r4",
    "https://.example.org/r4",
    f"https://{'a' * 64}.example.org/r4",
    f"https://{'例' * 64}.example.org/r4",
    "https://xn--/fhir",
    "https://xn--a.example.org/fhir",
]


@pytest.mark.parametrize("url", NO_HOSTS)
@pytest.mark.parametrize("key", ["server.url", "push.url", "push.token_origin"])
def test_an_address_with_a_host_that_no_resolver_takes_is_refused_with_its_key(
    command: Command, study: Study, key: str, url: str
) -> None:
    section, name = key.split(".")
    folder = study(f'{FROM_FOLDER}\n[{section}]\n{name} = "{url}"\n')
    for verb in ("pull", "check", "push"):
        refused(command(verb, folder), 3, folder / "study.toml", key, "no host can have this name")


def test_a_port_that_no_host_has_is_refused_with_its_key(command: Command, study: Study) -> None:
    folder = study(f'{FROM_FOLDER}\n[push]\nurl = "http://127.0.0.1:99999/fhir"\n')
    refused(command("push", folder), 3, folder / "study.toml", "push.url", "65535")


@pytest.mark.parametrize("url", NO_HOSTS)
def test_a_demo_goes_to_no_host_that_no_resolver_takes(command: Command, tmp_path: Path, url: str) -> None:
    refused(command("demo", tmp_path / "study", "--server", url), 3, "--server", "no host can have this name")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "url",
    [
        "https://例え。テスト/fhir",
        "https://xn--strae-oqa.example.org",
        "https://[::1]:8/fhir",
        "https://a.org./x",
    ],
)
def test_a_host_that_may_be_one_is_taken(study: Study, url: str) -> None:
    assert load(study(f'{FROM_FOLDER}\n[server]\nurl = "{url}"\n')).server.url == url


@pytest.mark.parametrize(
    "words", [["pull"], ["records"], ["outcomes"], ["report"], ["push"], ["run"], ["load", "x.csv"]]
)
def test_a_folder_without_study_toml_names_the_command_that_makes_one(
    command: Command, tmp_path: Path, words: list[str]
) -> None:
    verb, *more = words
    refused(command(verb, tmp_path / "none", *more), 3, "study.toml does not exist", "fhir-msct init")
    assert tree(tmp_path) == {}


def test_init_leaves_a_study_that_is_there_alone(command: Command, study: Study) -> None:
    folder = study(FROM_FOLDER)
    refused(command("init", folder), 3, folder / "study.toml", "nothing was changed")
    assert tree(folder) == {"study.toml": FROM_FOLDER.encode()}


def template(**changes: object) -> str:
    """The shipped measurement with some keys changed; None takes a key out."""
    shipped = json.loads((mappings() / "measurement.json").read_text("utf-8"))
    return json.dumps({key: value for key, value in (shipped | changes).items() if value is not None})


BROKEN: dict[str, tuple[str, str, list[str]]] = {
    "a path that R4 lacks": (
        "measurement-own.json",
        template(colour="{value?}"),
        ["measurement-own", "Observation.colour", "R4 has no"],
    ),
    "a list where R4 has one": (
        "measurement-own.json",
        template(status=["{status}"]),
        ["measurement-own", "Observation.status", "list"],
    ),
    "a type that is not mapped": (
        "measurement-own.json",
        '{"resourceType": "Spaceship"}',
        ["measurement-own", "resourceType", "Spaceship"],
    ),
    "a table that is not there": (
        "measurement-own.json",
        template(code="{paramcd:cods}"),
        ["measurement-own", "Observation.code", "cods.csv"],
    ),
    "a record without its status": (
        "measurement-own.json",
        template(status="final"),
        ["measurement-own.json", "{status}", "needs it"],
    ),
    "a key outside the grammar": (
        "measurement-own.json",
        template(**{"@two": []}),
        ["measurement-own", "@two", "grammar"],
    ),
    "a brace that is no hole": (
        "measurement-own.json",
        template(status="{status"),
        ["measurement-own", "Observation.status", "not a hole"],
    ),
    "not JSON": ("measurement-own.json", '{"resourceType":', ["measurement-own.json", "not JSON"]),
    "a list": ("measurement-own.json", "[]", ["measurement-own.json", "one JSON object"]),
    "a shipped name": ("measurement.json", template(), ["measurement.json", "choose another"]),
    "a name that says nothing": ("strange.json", template(), ["strange.json", "must begin with"]),
    "a code that means something else": (
        "codes.csv",
        CODES + "CKMBMASS,http://loinc.org,2157-6,equivalent,,list of 2024,C\n",
        ["own codes.csv:2", "contradicts codes.csv:2", "system, code"],
    ),
    "one code twice": (
        "codes.csv",
        CODES + "MMT8,urn:local,A,equivalent,,list,C\nMMT24,urn:local,A,equivalent,,list,C\n",
        ["own codes.csv:3", "contradicts own codes.csv:2"],
    ),
    "a column nobody knows": (
        "codes.csv",
        "paramcd,system,code,colour\nMMT8,urn:local,A,blue\n",
        ["codes.csv", "'colour'", "known are"],
    ),
    "a cell too few": ("codes.csv", CODES + "MMT8,urn:local\n", ["codes.csv:2", "cells than columns"]),
    "an empty meaning": ("codes.csv", CODES + ",urn:local,A,equivalent,,list,C\n", ["own codes.csv:2"]),
    "no factor": ("units.csv", UNITS + "CK,,x/L,many,U/L,list,C\n", ["own units.csv:2", "fraction"]),
    "a factor of zero": ("units.csv", UNITS + "CK,,x/L,0,U/L,list,C\n", ["own units.csv:2", "positive"]),
    "another factor": (
        "units.csv",
        UNITS + "CK,http://unitsofmeasure.org,ukat/L,61,U/L,list,C\n",
        ["own units.csv:2", "contradicts units.csv:", "factor"],
    ),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("verb", ["pull", "views"])
def test_own_mappings_that_cannot_be_meant_are_refused_with_file_and_key(
    command: Command, study: Study, verb: str, what: str
) -> None:
    name, text, words = BROKEN[what]
    folder = study(FROM_FOLDER, {f"mappings/{name}": text})
    before = tree(folder)
    place = [folder] if verb == "pull" else ["--study", folder]
    refused(command(verb, *place), 3, *words)
    assert tree(folder) == before


def test_own_mappings_are_refused_by_the_stages_too_and_their_files_stay(
    command: Command, study: Study, tmp_path: Path
) -> None:
    folder = study(FROM_FOLDER)
    assert (
        command("run", folder, "--from", export(tmp_path / "export", patient(), creatine_kinase())).code == 0
    )
    (folder / "mappings").mkdir()
    (folder / "mappings" / "units.csv").write_text(UNITS + "CK,,x/L,many,U/L,list,C\n", encoding="utf-8")
    before = tree(folder)
    refused(command("records", folder), 3, "own units.csv:2")
    assert {name: body for name, body in tree(folder).items() if "sqlite" not in name} == {
        name: body for name, body in before.items() if "sqlite" not in name
    }


REVIEWS = "source,version,decision,by,on,why\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source,decision\nProcedure/a,yes\n", ["reviews.csv", "no column version"]),
        (REVIEWS + "Procedure/a,1,perhaps,Dr A,2024-05-01,seen\n", ["reviews.csv:2", "yes or no"]),
        (REVIEWS + "Procedure/a,1,yes,,2024-05-01,seen\n", ["reviews.csv:2", "by is empty"]),
        (REVIEWS + "Procedure/a,1,yes,Dr A,in May,seen\n", ["reviews.csv:2", "on: wants a date"]),
        (
            REVIEWS + "Procedure/a,1,yes,Dr A,2024-05-01,seen\nProcedure/a,1,no,Dr B,2024-05-02,seen\n",
            ["reviews.csv:3", "decided on line 2 already"],
        ),
    ],
)
def test_a_review_that_cannot_be_meant_stops_the_records(
    command: Command, study: Study, tmp_path: Path, text: str, words: list[str]
) -> None:
    folder = study(FROM_FOLDER, {"reviews.csv": text})
    assert command("pull", folder, "--from", export(tmp_path / "export", patient())).code == 0
    refused(command("records", folder), 3, *words)
    assert not (folder / "records").exists()
