"""Every code that a file may hold has words for people."""

import pytest

from fhir_msct import plan as protocol
from fhir_msct.report.words import table, word

CLOSED = {
    "set_aside": """not-json not-utf8 shape no-type same-id implicit-rules modifier no-code codes-contradict
        value-kind not-a-number ambiguous constant not-allowed missing no-value absent-unknown absent-masked
        unit-unknown unit-missing subject-unresolved no-usubjid no-date date-kind choice-twice
        status-entered-in-error transplant-not-msc history-not-event component-absent""",
    "why_not": """partial_date no_course after_cut outside_window not_closest same_day_other outside_scale
        day_conflict before_window no_adt""",
    "reason": """no_baseline no_value not_due no_uln day_conflict scale_differs base_zero cens
        no_safety_source no_findings not_abnormal retreated died no_response no_course""",
    "flag": """same_day day_median day_conflict cens:2 no_uln no_side scale_differs ci_unattainable
        cannot_reach_05 retreated:1 utc_date rounded""",
    "excluded": "not_infused no_baseline no_value after_cut review partial_date",
    "population": "INFUSED EVALUABLE ABN",
    "event": "CKNORM ILDIMP ULCIMP RECUR RETREAT DEATH SAE AE",
    "family": "IMP_EVER RESP20 CHG RESP2",
    "finding": "ILD ULCER",
}


@pytest.mark.parametrize("group", CLOSED)
def test_every_code_of_a_closed_list_has_words(group: str) -> None:
    silent = [code for code in CLOSED[group].split() if word(group, code) == code]
    assert silent == []


def test_every_rule_of_the_shipped_endpoints_is_a_sentence() -> None:
    assert {endpoint.rule for endpoint in protocol.load().endpoints} <= set(table("rule"))


def test_words_take_the_part_of_a_code_that_varies() -> None:
    assert word("set_aside", "status-preliminary") == "its status is 'preliminary'"
    assert word("flag", "cens:3").startswith("3 ")


def test_a_code_nobody_listed_is_shown_as_it_is() -> None:
    assert word("set_aside", "new-reason") == "new-reason"


def test_the_words_are_ascii_so_that_any_terminal_shows_them() -> None:
    from fhir_msct.report.words import SOURCE

    assert SOURCE.read_text("utf-8").isascii()
