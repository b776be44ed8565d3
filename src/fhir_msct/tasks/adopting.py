"""Taking in an export on disk: NDJSON files are adopted whole, everything else is cut into resources."""

from collections.abc import Callable, Iterable
from pathlib import Path

from fhir_msct.archive.files import adopt
from fhir_msct.archive.runs import Quarantined, Run
from fhir_msct.client.damage import Damage
from fhir_msct.client.folder import Source, pour, read_file, read_lines, sources
from fhir_msct.records import Resource
from fhir_msct.tasks.batches import batches


def take_in(run: Run, folder: Path, say: Callable[[str], None]) -> int:
    """Keeps everything that a folder holds; the number of its files."""
    run.restart()
    files = sources(folder)
    for source in files:
        say(f"reading {source.name}")
        if source.is_ndjson:
            _adopt(run, source)
        else:
            _keep(run, read_file(source), None)
    return len(files)


def _adopt(run: Run, source: Source) -> None:
    """Copies the file first and reads the copy: what is read is then what is kept."""
    archive = run.archive
    adopted, damage = adopt(archive.connection, archive.place, source.name, lambda write: pour(source, write))
    _keep(run, read_lines(source.name, adopted.path), adopted.id)
    if damage is not None:
        _keep(run, [damage], None)


def _keep(run: Run, found: Iterable[Resource | Damage], file: int | None) -> None:
    for batch in batches(found):
        run.lines(
            [item for item in batch if isinstance(item, Resource)],
            [_quarantined(item) for item in batch if isinstance(item, Damage)],
            file,
        )


def _quarantined(damage: Damage) -> Quarantined:
    return Quarantined(
        place=damage.where,
        type=damage.type,
        sha256=damage.sha256,
        reason=damage.reason,
        length=damage.length,
        lost=damage.lost,
    )
