"""Why a value is not there: FHIR says it in four places, and sometimes not at all.

https://hl7.org/fhir/R4/extension-data-absent-reason.html
"""

import msgspec
from msgspec import Raw

URL = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def absent_reason(raw: Raw) -> str | None:
    """The code in a dataAbsentReason, a `_` sibling or a list of extensions; None if there is none.

    A dataAbsentReason without a code gives its text's existence as `unknown`.
    """
    try:
        tree = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    if isinstance(tree, dict) and ("coding" in tree or "text" in tree):
        codings = tree.get("coding")
        codes = (
            [c["code"] for c in codings if isinstance(c, dict) and "code" in c]
            if isinstance(codings, list)
            else []
        )
        return _code(codes[0]) if codes else "unknown"
    extensions = tree.get("extension") if isinstance(tree, dict) else tree
    for extension in extensions if isinstance(extensions, list) else ():
        if isinstance(extension, dict) and extension.get("url") == URL:
            return _code(extension.get("valueCode"))
    return None


def _code(value: object) -> str:
    """A reason is a code of a known list; anything longer is free text, which belongs in no report."""
    fits = isinstance(value, str) and value.replace("-", "").isalnum() and len(value) <= 32
    return str(value) if fits else "unknown"
