"""Parts of a resource that come again and again, each read once."""

from collections.abc import Callable
from typing import Any

import msgspec

from fhir_msct.mapping import twice
from fhir_msct.mapping.reading import KEPT
from fhir_msct.mapping.subjects import Patients, Who
from fhir_msct.records import When


class Remembered:
    """The reading of one list of a resource, by the bytes of that list."""

    def __init__(self, kind: Any, read: Callable[[Any, Callable[[], Who]], Any]) -> None:
        """`kind`: the type of the list; `read`: the generated function that reads it."""
        self.seen: dict[bytes, Any] = {}
        self._decode, self._read = msgspec.json.Decoder(kind).decode, read

    def first(self, raw: Any, patients: Patients, subject: str | None, when: When | None) -> Any:
        """The reading of a list not seen before; raises msgspec.DecodeError where its shape is wrong,
        ValueError where a key stands twice in it.

        Where it depends on whom the resource is about it is not kept.
        """
        asked = []

        def who() -> Who:
            asked.append(True)
            return patients.who(subject, when)

        text = b"" + raw
        found = self._read(self._decode(raw), who)
        if twice.why_not(text, ""):
            raise ValueError("a key stands twice")
        if not asked and len(self.seen) < KEPT:
            self.seen[text] = found
        return found
