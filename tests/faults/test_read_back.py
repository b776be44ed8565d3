"""What a server does to a result that it was sent is seen by reading it back."""

import shutil
from typing import Any

from faults.pushing import Pushes


def _rounded(tree: dict[str, Any]) -> dict[str, Any]:
    """A server that keeps another number than the one it was given."""
    return (
        {**tree, "valueQuantity": {**tree["valueQuantity"], "value": 1}} if "valueQuantity" in tree else tree
    )


def test_a_server_that_keeps_another_number_is_told_by_reading_back() -> None:
    story = Pushes(5)
    story.server.keeps = _rounded
    try:
        report = story.push()
        assert report is not None
        assert sorted(report.differing) == sorted(one.place for one in story.shall if one.derived)
        assert not report.read_back_equal
    finally:
        shutil.rmtree(story.folder)
