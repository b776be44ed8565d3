"""Trial data out of FHIR servers and results back in, without losing or bending a number.

    import fhir_msct as fm

    mapping = fm.Mapping.load()
    mapping.read(observation).records     # JSON bytes, a dict or a fhir.resources model -> records
    fm.Study("my-trial").records().measurements

Names are imported when they are first used, so that `import fhir_msct` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fhir_msct.errors import MsctError, Refused
    from fhir_msct.mapping.library import Mapping
    from fhir_msct.mapping.reading import Reading
    from fhir_msct.mapping.subjects import Patients
    from fhir_msct.records import Finding, Measurement, SetAside, StudyRecords, Subject, Transplant, When
    from fhir_msct.results import Analysis, Answer, Outcome, Results, VisitSummary
    from fhir_msct.study import Study

_HOMES = {
    "fhir_msct.errors": ("MsctError", "Refused"),
    "fhir_msct.mapping.library": ("Mapping",),
    "fhir_msct.mapping.reading": ("Reading",),
    "fhir_msct.mapping.subjects": ("Patients",),
    "fhir_msct.records": (
        *("Finding", "Measurement", "SetAside", "StudyRecords", "Subject", "Transplant", "When"),
    ),
    "fhir_msct.results": ("Analysis", "Answer", "Outcome", "Results", "VisitSummary"),
    "fhir_msct.study": ("Study",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Analysis",
    "Answer",
    "Finding",
    "Mapping",
    "Measurement",
    "MsctError",
    "Outcome",
    "Patients",
    "Reading",
    "Refused",
    "Results",
    "SetAside",
    "Study",
    "StudyRecords",
    "Subject",
    "Transplant",
    "VisitSummary",
    "When",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fhir_msct' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
