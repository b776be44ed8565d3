"""An archive of the first version becomes one of the second, and loses nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

from fhir_msct.archive.schema import STEP_1, STEPS
from fhir_msct.archive.store import Archive


def test_windows_of_an_older_archive_are_kept_and_can_have_bounds(tmp_path: Path) -> None:
    place = tmp_path / "archive"
    place.mkdir()
    with closing(sqlite3.connect(place / "archive.sqlite")) as old:
        old.executescript(STEP_1)
        old.execute("insert into run (kind, base, config, started) values ('server', 'b', 'c', 's')")
        old.execute("insert into window (run, type, patients, tried) values (1, 'Observation', '[\"p\"]', 2)")
        old.execute("pragma user_version = 1")
        old.commit()
    with Archive.open(tmp_path) as archive:
        row = archive.connection.execute("select type, patients, tried, state, lo, hi, whole from window")
        assert row.fetchall() == [("Observation", '["p"]', 2, "open", "", "", 1)]
        assert archive.connection.execute("pragma user_version").fetchone() == (len(STEPS),)
        assert archive.connection.execute("select question, watermark from run").fetchone() == ("", None)
    assert (place / "archive.sqlite.v1").is_file()
