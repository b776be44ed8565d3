"""`fhir-msct report`: a study folder's files in, `report.html` out, written whole or not at all."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fhir_msct.archive.failures import spoken
from fhir_msct.plan import Plan
from fhir_msct.report.study_files import StudyFiles, read
from fhir_msct.tasks import stage

NAME = "report.html"
STAGES = ("records", "outcomes")


def report(folder: Path, plan: Plan, *, say: Callable[[str], None]) -> Path:
    """The path of the report. Raises InputError when a stage has not been run or a file is damaged."""
    from fhir_msct.report.page import page

    files = study_files(folder, plan)
    for name in files.stale:
        say(
            f"{name} is STALE: its inputs, or its files, changed since; run `fhir-msct {name} {folder}` again"
        )
    target = folder / NAME
    _replace(target, page(files).encode("utf-8"))
    say(f"wrote {target}")
    return target


def first_screen(
    folder: Path, plan: Plan, *, pull: Sequence[str] = (), push: Sequence[str] = (), then: Sequence[str] = ()
) -> str:
    """The study on one screen, as plain text; with lines on `pull` and `push`, and what to type next."""
    from fhir_msct.report.screen import screen

    return screen(study_files(folder, plan), pull=pull, push=push, then=then)


def study_files(folder: Path, plan: Plan) -> StudyFiles:
    """The study folder's files, and which stages are stale."""
    stale = tuple(name for name in STAGES if stage.stale(folder, name))
    return read(folder, plan, stale=stale)


def _replace(target: Path, content: bytes) -> None:
    fresh = target.with_name(f".{target.name}.new")
    try:
        fresh.write_bytes(content)
        fresh.replace(target)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        words = f"{target} cannot be written ({error.strerror}): nothing was changed there"
        raise type(spoken(error, target))(words) from None
