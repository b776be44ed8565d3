"""Where the reviewed data lie: `mappings/` and `fixtures/`, in the wheel or in a checkout."""

from importlib.resources import files
from pathlib import Path

from fhir_msct.errors import UsageError


def folder(name: str) -> Path:
    """The folder `mappings` or `fixtures`: the installed package's copy, else the checkout's own.

    An editable install has no copy inside the package, so the repository's folder serves there.
    """
    packaged = Path(str(files("fhir_msct").joinpath(name)))
    checkout = Path(__file__).resolve().parents[2] / name
    for place in (packaged, checkout):
        if place.is_dir():
            return place
    raise UsageError(f"the data folder {name}/ is missing from this installation: install again")


def mappings() -> Path:
    """The shipped mappings, codes, units and the default study plan."""
    return folder("mappings")


def fixtures() -> Path:
    """The synthetic trial, every stage kept."""
    return folder("fixtures")
