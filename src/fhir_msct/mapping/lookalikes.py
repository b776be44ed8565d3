"""Codes that no table lists and that sound like the study's: `discover.csv` says how those sound.

It proposes and never decides. Only what stands with a code is ever shown: a text without one may be
anything that somebody typed, and is counted.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fhir_msct import data
from fhir_msct.mapping import rows
from fhir_msct.mapping.words import Words

PLACES = ("code", "medicationCodeableConcept", "usedCode", "category")
"""The elements that say what a resource is about."""

LONGEST = 80


class LookAlike(Struct, frozen=True):
    """A coding that sounds like something of the study. Without a code: a text, which is not shown."""

    kind: str
    candidates: tuple[str, ...]
    system: str = ""
    code: str = ""
    text: str = ""
    in_component: bool = False
    """It stands in a component: the resource's own code decides first."""


class _Sounds(Struct, frozen=True):
    kind: str
    candidates: tuple[str, ...]
    words: Words


class LookAlikes:
    """The rows of `discover.csv`, and a study's own."""

    def __init__(self, lines: Iterable[rows.Row]) -> None:
        lines = tuple(lines)
        self._sounds = [
            _Sounds(row["kind"], tuple(filter(None, row["paramcd"].split("|"))), Words(row["words"]))
            for row in lines
        ]
        against: dict[str, str] = {}
        for row in lines:  # a word that speaks against a kind does so in every language
            against[row["kind"]] = f"{against.get(row['kind'], '')}|{row['unless_words']}"
        self._against = {kind: Words(cell) for kind, cell in against.items()}
        self._known: dict[str, dict[str, tuple[str, ...]]] = {}

    @classmethod
    def load(cls, folder: Path | None = None) -> "LookAlikes":
        """The shipped rows, and those of a study folder. Raises MappingError."""
        own = folder / "mappings" if folder is not None and (folder / "mappings").is_dir() else None
        return cls(rows.read(data.mappings(), "discover.csv", own))

    def kinds(self, text: str) -> dict[str, tuple[str, ...]]:
        """What a text sounds like: kind -> the parameters that may be meant (none where no parameter is)."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = self._heard(text)
        return found

    def _heard(self, text: str) -> dict[str, tuple[str, ...]]:
        heard: dict[str, tuple[str, ...]] = {}
        for one in self._sounds:
            if one.words(text) and not self._against[one.kind](text):
                before = heard.get(one.kind, one.candidates)
                narrower = tuple(paramcd for paramcd in one.candidates if paramcd in before)
                heard[one.kind] = narrower or before
        return heard

    def among(self, body: bytes) -> Iterator[LookAlike]:
        """The codings of a resource that sound like the study's, each once."""
        tree: Any = msgspec.json.decode(body)
        seen = set()
        for concept, in_component in _concepts(tree):
            for one in self._alike(concept, in_component):
                if one not in seen:
                    seen.add(one)
                    yield one

    def _alike(self, concept: dict[str, Any], in_component: bool) -> Iterator[LookAlike]:
        codings = [one for one in _objects(concept.get("coding")) if _text(one.get("code"))]
        named = [one for one in codings if self.kinds(_text(one.get("display")))]
        text = _text(concept.get("text"))
        for coding in named or (codings[:1] if self.kinds(text) else ()):
            shown = _text(coding.get("display")) or text
            for kind, candidates in (self.kinds(shown) or self.kinds(text)).items():
                place = _text(coding.get("system")), _text(coding.get("code"))
                yield LookAlike(kind, candidates, *place, _one_line(shown), in_component)
        if not codings:
            texts = [text, *(_text(one.get("display")) for one in _objects(concept.get("coding")))]
            for kind in dict.fromkeys(kind for said in texts for kind in self.kinds(said)):
                yield LookAlike(kind, ())


def _concepts(tree: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """The concepts that say what a resource is about, and whether each stands in a component."""
    whole = tree if isinstance(tree, dict) else {}
    for place in PLACES:
        found = whole.get(place)
        for concept in found if isinstance(found, list) else [found]:
            if isinstance(concept, dict):
                yield concept, False
    for part in _objects(whole.get("component")):
        if isinstance(part.get("code"), dict):
            yield part["code"], True


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _one_line(text: str) -> str:
    """A label as it can be shown: one line, no control characters, not endless."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
