"""The story of a trial: a study folder, and what happens to it from server to server.

study = Study("my-trial")
study.pull()                          # server    -> resources, in the archive
study.records().measurements          # resources -> records, a typed DataFrame
study.outcomes().by_visit             # records   -> outcomes
study.report()                        # outcomes  -> report.html
study.push(apply=True)                # outcomes  -> server
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fhir_msct import plan
from fhir_msct.mapping.library import Mapping
from fhir_msct.tasks import frames, load, outcomes, pull, push, records, report


class Study:
    """One study folder. Each verb runs one stage, and can be repeated safely."""

    def __init__(self, folder: Path | str, *, say: Callable[[str], None] = lambda line: None) -> None:
        """Raises ConfigError where study.toml cannot be used."""
        self.folder = Path(folder)
        self.plan = plan.load(self.folder)
        self.say = say

    def pull(self, source: Path | str | None = None, *, full: bool = False) -> pull.PullReport:
        """Brings what the server, or a folder of exported files, holds of the cohort into the archive."""
        wanted = Mapping.load(self.folder, self.plan).wanted()
        home = Path(source) if source is not None else None
        return pull.pull(self.folder, self.plan, wanted, source=home, full=full, say=self.say)

    def records(self) -> "frames.Frames":
        """Maps the archive to records; gives them as typed DataFrames."""
        records.records(self.folder, self.plan, say=self.say)
        return frames.Frames(self.folder / "records", records.FILES)

    def outcomes(self) -> "frames.Frames":
        """Computes the trial's outcomes from the records; gives them as typed DataFrames."""
        outcomes.outcomes(self.folder, self.plan, say=self.say)
        return frames.Frames(self.folder / "outcomes", outcomes.OUTPUTS)

    def report(self) -> Path:
        """Writes report.html from the outcomes."""
        return report.report(self.folder, self.plan, say=self.say)

    def push(self, *, apply: bool = False, plan_hash: str | None = None) -> push.PushReport:
        """Shows what a push would write; with `apply` writes it."""
        return push.push(self.folder, self.plan, apply=apply, plan_hash=plan_hash, say=self.say)

    def load(self, table: Path | str) -> Any:
        """Takes records entered by hand into the archive."""
        return load.load(self.folder, self.plan, Path(table), say=self.say)
