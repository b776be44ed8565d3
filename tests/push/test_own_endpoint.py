"""An endpoint of the study's own is pushed as the shipped ones are, once it has a code."""

import pytest

from fhir_msct.errors import ConfigError
from push.small_trial import Trial

ENDPOINT = """
[[endpoint]]
id = "RESP50"
rule = "response"
course = 1
populations = ["EVALUABLE"]
paramcds = ["CK"]
avisit = "M6"
threshold = 50
words = "CK falls by half"
source = "own"
"""
CODE = """endpoint,system,code,relation,preferred,display,category,source,status
RESP50,urn:example:own,RESP50,equivalent,Y,Creatine kinase falls by half,laboratory,own,C
"""


@pytest.fixture
def own(trial: Trial) -> Trial:
    """The trial with one more question."""
    mappings = trial.folder / "mappings"
    mappings.mkdir()
    (mappings / "endpoints.toml").write_text(ENDPOINT, "utf-8")
    trial.compute()
    assert "RESP50" in {row.endpoint for row in trial.answers()}
    return trial


def test_without_a_code_it_is_said_which_file_wants_a_row(own: Trial) -> None:
    before = own.server.versions
    with pytest.raises(ConfigError, match=r"mappings/outcome_codes\.csv: no code for the endpoint RESP50"):
        own.push()
    assert own.server.versions == before


def test_with_a_code_of_the_study_s_own_it_is_pushed(own: Trial) -> None:
    (own.folder / "mappings" / "outcome_codes.csv").write_text(CODE, "utf-8")
    own.compute()
    assert own.push().read_back_equal
    found = own.outcome("RESP50")
    assert found["code"]["coding"][0]["system"] == "urn:example:own"
    assert found["category"][0]["coding"][0]["code"] == "laboratory"
    assert own.story().written == 0
