"""The synthetic trial once more, with a canary in every place that tells of a patient; and how one is found.

`zq7canary` and a number: names, identifiers, addresses, notes and secrets. `zq7person` and a number: ids of
patients. `.0735` and a number: the digits after the point of measured values.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from fhir_msct import data

CANARY, PERSON, DIGITS = "zq7canary", "zq7person", ".0735"
LARGE = 100
"""Values from here on have digits after the point put to them; scores stay on their scales."""

PIECE = 20
"""Letters of a secret that nobody chose; fewer may be chance."""

_FOR_URLS = str.maketrans("+/", "-_")

Tree = dict[str, Any]


class Brood:
    """Canaries, each with a number of its own."""

    def __init__(self) -> None:
        self.number = 0

    def text(self) -> str:
        """One that is written differently in an address."""
        self.number += 1
        return f"{CANARY}{self.number:05} ü/&"

    def value(self, value: float) -> float:
        """The same value, with digits that nothing else has."""
        self.number += 1
        return float(f"{int(value)}{DIGITS}{self.number:05}")


def person(id_: str) -> str:
    """A patient's id as a canary."""
    return f"{PERSON}{id_.removeprefix('msct-p')}"


def trial() -> list[bytes]:
    """Every resource of the synthetic trial, with canaries."""
    brood = Brood()
    found = []
    for path in sorted((data.fixtures() / "resources").glob("*.ndjson")):
        for line in path.read_text("utf-8").splitlines():
            tree = json.loads(re.sub(r"\bmsct-p(\d\d)\b", lambda one: person(one[0]), line))
            found.append(json.dumps(_told(tree, brood)).encode())
    return found


def _told(tree: Tree, brood: Brood) -> Tree:
    if tree["resourceType"] == "Patient":
        tree["name"] = [{"text": brood.text(), "family": brood.text(), "given": [brood.text()]}]
        tree["identifier"] = [{"system": "https://example.org/mrn", "value": brood.text()}]
        tree["telecom"] = [{"system": "phone", "value": brood.text()}]
        tree["address"] = [{"text": brood.text(), "city": brood.text()}]
    elif "subject" in tree:
        tree["subject"]["display"] = brood.text()
        tree["note"] = [{"text": brood.text()}]
        tree["identifier"] = [{"system": "https://example.org/order", "value": brood.text()}]
    quantity = tree.get("valueQuantity", {})
    if isinstance(quantity.get("value"), int | float) and quantity["value"] >= LARGE:
        quantity["value"] = brood.value(quantity["value"])
    return tree


def spellings(text: str) -> Iterator[str]:
    """How a text may hide: as it is, in an address, in base64 wherever it begins, in other code units."""
    yield re.escape(text)
    yield re.escape("".join(f"%{byte:02X}" for byte in text.encode()))
    for encoding in ("utf-8", "utf-16-le"):
        for before in range(3):
            whole = base64.b64encode(b"\0" * before + text.encode(encoding)).decode()
            clear = whole[-(-8 * before // 6) : len(whole.rstrip("=")) - 1]
            yield re.escape(clear)
            yield re.escape(clear.translate(_FOR_URLS))
    yield re.escape(text.encode("utf-16-le").decode("latin-1"))
    yield re.escape(text.encode().hex())


def pattern(*texts: str) -> re.Pattern[str]:
    """What finds any of these in any spelling."""
    return re.compile("|".join(one for text in texts for one in spellings(text)), re.IGNORECASE)


def pieces(secrets: Iterable[str]) -> list[str]:
    """Every part of these in every spelling, in lower case: a secret need not be whole to be one."""
    parts = {one[start : start + PIECE] for one in secrets for start in range(0, len(one) - PIECE + 1, PIECE)}
    found = {re.sub(r"\\(.)", r"\1", spelt, flags=re.DOTALL) for one in parts for spelt in spellings(one)}
    return sorted({one.lower() for one in found})


def holds(text: str, parts: list[str]) -> bool:
    """Whether a part of a secret is in a text."""
    text = text.lower()
    return any(part in text for part in parts)


SECRET, PEOPLE = pattern(CANARY, DIGITS), pattern(PERSON)
LOGGED = re.compile(r"^(DEBUG|INFO|WARNING|ERROR):(httpx|httpcore|hpack|h11)", re.MULTILINE)
"""What a library logs of a request, whatever it is."""

QUOTED = quote(f"{CANARY} ü/&")
