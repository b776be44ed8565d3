"""Makes fixtures/records and fixtures/outcomes: what the pipeline makes of the synthetic trial.

    python scripts/make_stages.py

They are golden files: a change in them is read in review like code. Times and Parquet stay out.
"""

import shutil
import tempfile
from pathlib import Path

from fhir_msct import Study, data


def make(folder: Path) -> None:
    """Runs the stages in a study folder on the fixture files."""
    fixtures = data.fixtures()
    shutil.copy(fixtures / "study.toml", folder)
    study = Study(folder, say=print)
    study.pull(fixtures / "resources")
    study.records()
    study.outcomes()


def main() -> None:
    """Replaces the golden files."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder)
        for stage in ("records", "outcomes"):
            target = data.fixtures() / stage
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for path in sorted((folder / stage).iterdir()):
                if path.suffix == ".csv":
                    shutil.copy(path, target)


if __name__ == "__main__":
    main()
