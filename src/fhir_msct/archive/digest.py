"""What a resource says, as a hash: equal for every spelling that a server may give it back in."""

import hashlib
import json
import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, DecimalException, Inexact
from typing import Any

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])


def digest(body: bytes, base: str = "") -> str:
    """The hash of what a resource says, equal for every spelling that a server may give it back in.

    Not looked at: `meta` (its versions and times; tags only ever add), a generated narrative, when a
    Provenance was recorded, the order of members, how a number is written (5.40 or 5.4), whether a
    reference is absolute on `base` or names a version (servers drop both; the version also travels in an
    extension of ours, which is looked at).
    """
    tree = json.loads(body, parse_float=_number, parse_int=_number)
    for key in ("meta", "text", *(["recorded"] if tree.get("resourceType") == "Provenance" else [])):
        tree.pop(key, None)
    plain = json.dumps(_plain(tree, base.rstrip("/") + "/"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def _number(text: str) -> dict[str, str]:
    """A number, all its digits, in the one spelling that stands for all; in an object, as no text is."""
    try:
        return {"number": str(_EXACT.create_decimal(text).normalize(_EXACT))}
    except DecimalException:  # an exponent beyond any Decimal: its spelling is all there is to compare
        return {"number": text}


def _plain(value: Any, base: str, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner, base, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, base) for inner in value]
    if key == "reference" and isinstance(value, str):
        return re.sub(r"/_history/[^/]+$", "", value.removeprefix(base))
    return value
