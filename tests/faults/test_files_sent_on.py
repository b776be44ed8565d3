"""Exported files are sent on to another host, where anything may lie in their place."""

from collections import Counter
from pathlib import Path

import pytest

from faults.bulk import Exports, is_file


@pytest.mark.parametrize(
    ("token", "found"), [(False, {"copy", "none", "empty", "false"}), (True, set())], ids=["open", "token"]
)
def test_what_lies_on_another_host_is_counted_and_never_asked_for_with_the_token(
    token: bool, found: set[str], tmp_path: Path
) -> None:
    met: Counter[str] = Counter()
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        story = Exports(seed, folder)
        story.server.token, story.server.counts, story.server.longest = token, False, 0
        story.server.wait(86_400)
        story.chaos.fits = lambda kind, request: is_file(str(request.url))  # type: ignore[method-assign]
        story.chaos.kinds, story.chaos.rate = ("redirect",), 1.0
        assert story.pull() is not None, f"seed {seed}: {story.outcomes}"
        assert story.chaos.struck["redirect"] or not story.server.kicked
        story.chaos.heal()
        story.settled()
        assert story.chaos.leaks == [], f"seed {seed}"
        met += story.server.elsewhere
    assert met.keys() == found
