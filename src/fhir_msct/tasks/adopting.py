"""Taking in an export on disk: NDJSON files are adopted whole, everything else is cut into resources."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from msgspec import Struct

from fhir_msct.archive.files import adopt
from fhir_msct.archive.runs import Quarantined, Run
from fhir_msct.client.beside import Manifest, Page, missing_files, missing_pages
from fhir_msct.client.damage import Damage
from fhir_msct.client.folder import Found, Source, pour, read_file, read_lines, sources
from fhir_msct.records import Resource
from fhir_msct.tasks.batches import batches


class Taken(Struct):
    """What came of files: how many resources, and what they say of others beside them."""

    kept: int
    came: Counter[str]
    """Resources of each type, those that are only deleted left out."""
    pages: list[Page]
    manifests: list[Manifest]


def take_in(
    run: Run, folder: Path, wanted: Collection[str], say: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """Keeps everything that a folder holds; what is missing of it, as the files say, and what else to know.

    `wanted`: the types that a study needs; of others a manifest may list more than is there.
    """
    run.restart()
    taken = Taken(0, Counter(), [], [])
    files = sources(folder)
    for source in files:
        say(f"reading {source.name}")
        if source.is_ndjson:
            _adopt(run, source, taken)
        else:
            _keep(run, read_file(source), None, taken)
    names = [source.name for source in files]
    missing = [
        *missing_pages(taken.pages),
        *missing_files(taken.manifests, names, taken.came, wanted),
    ]
    notes = [
        f"{one.file}: the export reports errors: the server may have left something out"
        for one in taken.manifests
        if one.has_errors
    ]
    if not taken.kept:
        missing.append(f"{folder} holds no FHIR resource in {len(files)} files")
    return missing, notes


def _adopt(run: Run, source: Source, taken: Taken) -> None:
    """Copies the file first and reads the copy: what is read is then what is kept."""
    archive = run.archive
    adopted, damage = adopt(archive.connection, archive.place, source.name, lambda write: pour(source, write))
    _keep(run, read_lines(source.name, adopted.path), adopted.id, taken)
    if damage is not None:
        _keep(run, [damage], None, taken)


def _keep(run: Run, found: Iterable[Found], file: int | None, taken: Taken) -> None:
    for batch in batches(found):
        resources = [item for item in batch if isinstance(item, Resource)]
        run.lines(resources, [_quarantined(item) for item in batch if isinstance(item, Damage)], file)
        taken.came.update(item.type for item in resources if not item.deleted)
        taken.kept += len(resources)
        taken.pages += [item for item in batch if isinstance(item, Page)]
        taken.manifests += [item for item in batch if isinstance(item, Manifest)]


def _quarantined(damage: Damage) -> Quarantined:
    return Quarantined(
        place=damage.where,
        type=damage.type,
        sha256=damage.sha256,
        reason=damage.reason,
        length=damage.length,
        lost=damage.lost,
    )
