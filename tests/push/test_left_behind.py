"""Results are found by the study's id: it has to be set, and what another id or address left is told."""

import re

import pytest

from fhir_msct.errors import ConfigError
from fhir_msct.sandbox.server import Sandbox
from push.small_trial import Trial, lines, resources


def renamed(trial: Trial, before: str, after: str) -> None:
    """Something else in study.toml, and the stages made again."""
    path = trial.folder / "study.toml"
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")
    trial.compute()


@pytest.mark.parametrize("said", ["", 'id = " "\n'])
def test_a_study_without_an_id_is_not_pushed(trial: Trial, said: str) -> None:
    renamed(trial, 'id = "small"\n', said)
    before = trial.server.versions
    for apply in (False, True):
        with pytest.raises(
            ConfigError, match=r"study\.toml: study\.id: not set, so nothing is pushed"
        ) as raised:
            trial.push(apply=apply)
        assert raised.value.exit_code == 3
    assert trial.server.versions == before


def test_results_that_stand_under_the_id_that_the_study_had_are_told(trial: Trial) -> None:
    trial.compute()
    assert trial.push().notes == ()
    renamed(trial, 'id = "small"', 'id = "other"')
    first = len(trial.answers())
    for report in (trial.push(apply=False), trial.push()):
        (note,) = report.notes
        assert note.startswith(f"{first} results were pushed here under another [study] id")
        assert report.retracted == 0
    assert len(trial.held()) == 2 * first


def test_results_that_stand_on_the_server_that_was_pushed_to_before_are_told(trial: Trial) -> None:
    trial.compute()
    trial.push()
    with Sandbox() as other:
        other.load(lines([one for one in resources() if one["resourceType"] == "Patient"]))
        renamed(trial, f'[push]\nurl = "{trial.server.url}"', f'[push]\nurl = "{other.url}"')
        report = trial.push()
    (note,) = report.notes
    told = re.fullmatch(
        r"(\d+) results were pushed to (\S+) and not taken back from this folder: left so", note
    )
    assert told and (int(told[1]), told[2]) == (len(trial.answers()), trial.server.url)


def test_the_same_server_under_another_name_is_no_other_server(trial: Trial) -> None:
    trial.compute()
    trial.push()
    renamed(
        trial,
        f'[push]\nurl = "{trial.server.url}"',
        f'[push]\nurl = "{trial.server.url}"'.replace("127.0.0.1", "localhost"),
    )
    report = trial.push()
    assert (report.written, report.notes) == (0, ())
