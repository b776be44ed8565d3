"""Taking in an export on disk: NDJSON files are adopted whole, everything else is cut into resources."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from fhir_msct.archive.files import adopt
from fhir_msct.archive.runs import Quarantined, Run
from fhir_msct.client.beside import Beside, absent
from fhir_msct.client.damage import Damage
from fhir_msct.client.folder import Source, pour, read_beside, read_file, read_lines, sources
from fhir_msct.records import Resource
from fhir_msct.tasks.batches import batches


def take_in(run: Run, folder: Path, say: Callable[[str], None]) -> tuple[int, list[str]]:
    """Keeps everything that a folder holds; the number of its files, and what they say is missing."""
    run.restart()
    files, came, said = sources(folder), Counter[str](), list[Beside]()
    for source in files:
        say(f"reading {source.name}")
        if source.is_ndjson:
            came += _adopt(run, source)
        else:
            came += _keep(run, read_file(source), None)
            said += [one] if (one := read_beside(source)) else []
    return len(files), list(absent(said, came))


def _adopt(run: Run, source: Source) -> Counter[str]:
    """Copies the file first and reads the copy: what is read is then what is kept."""
    archive = run.archive
    adopted, damage = adopt(archive.connection, archive.place, source.name, lambda write: pour(source, write))
    came = _keep(run, read_lines(source.name, adopted.path), adopted.id)
    if damage is not None:
        _keep(run, [damage], None)
    return came


def _keep(run: Run, found: Iterable[Resource | Damage], file: int | None) -> Counter[str]:
    """Keeps what was found; how many resources of each type that were."""
    came = Counter[str]()
    for batch in batches(found):
        resources = [item for item in batch if isinstance(item, Resource)]
        run.lines(resources, [_quarantined(item) for item in batch if isinstance(item, Damage)], file)
        came.update(item.type for item in resources if not item.deleted)
    return came


def _quarantined(damage: Damage) -> Quarantined:
    return Quarantined(
        place=damage.where,
        type=damage.type,
        sha256=damage.sha256,
        reason=damage.reason,
        length=damage.length,
        lost=damage.lost,
    )
