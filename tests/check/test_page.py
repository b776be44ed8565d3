"""docs/check.md lists what `check` can say, word for word."""

import pytest

from fhir_msct.tasks.quirks import Level, words
from promises.pages import DOCS, table


@pytest.mark.parametrize(
    ("heading", "level"), [("Blocks", "block"), ("To decide", "decide"), ("Notes", "know")]
)
def test_every_quirk_is_listed_with_its_sentence(heading: str, level: Level) -> None:
    said = [
        (name, sentence.removesuffix(".").lower()) for name, sentence in table(DOCS / "check.md", heading)
    ]
    assert said == [(name, sentence.lower()) for name, sentence in words()[level].items()]
