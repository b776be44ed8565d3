"""Which infusions are mesenchymal stem cells: by product, by local code, by a transplant's words.

The tiers and their rows are `recognition.csv`. A transplant code alone is no MSC infusion (the
haematopoietic decoy); words alone wait for a person's review.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from fhir_msct.mapping.reading import REMEMBERED, Aside, Reading
from fhir_msct.mapping.rows import Row
from fhir_msct.mapping.scope import Concept, Known
from fhir_msct.mapping.words import Words

CODED = ("product code", "local code")


class TransplantScope:
    """The scope of one resource type that may say that cells were infused."""

    def __init__(self, shapes: tuple[Any, ...], rows: Iterable[Row]) -> None:
        self.shapes, self.kind = shapes, shapes[0].template.kind
        mine = [row for row in rows if row["resource"] == self.kind]
        self.coded = [(row, row["path"].split("|")) for row in mine if row["code"]]
        self.worded = [
            (row, row["path"].split("|"), Words(row["words"]), Words(row["unless_words"]))
            for row in mine
            if row["words"]
        ]
        self.keys = sorted({path for row in mine for path in row["path"].split("|")})
        self.seen: dict[tuple[bytes, ...], Known | Aside | Reading] = {}

    def judge(self, raws: dict[str, bytes]) -> Known | Aside | Reading:
        """What the bytes of the elements in `keys` say together."""
        key = tuple(raws[name] for name in self.keys)
        found = self.seen.get(key)
        if found is None:
            found = self._judged(raws)
            if len(self.seen) < REMEMBERED:
                self.seen[key] = found
        return found

    def codings(self) -> tuple[tuple[str, str, str], ...]:
        """Element, system and code of the tiers that a code alone decides."""
        sure = [(row, paths) for row, paths in self.coded if row["tier"] in CODED]
        return tuple((path, row["system"], row["code"]) for row, paths in sure for path in paths)

    def _judged(self, raws: dict[str, bytes]) -> Known | Aside | Reading:
        try:
            concepts = {name: _concepts(name, raw) for name, raw in raws.items()}
        except msgspec.DecodeError:
            return Aside("shape", self.kind)
        best = {row["tier"]: (row, coding) for row, coding in reversed([*self._codings(concepts)])}
        for tier in CODED:
            if tier in best:
                row, (system, code) = best[tier]
                return Known(self.shapes, row["term"], row, system, code, tier, _approval(row))
        worded = self._words(concepts)
        if worded is None and "transplant code" in best:
            at = best["transplant code"][0]["path"].split("|")[0]
            return Aside("transplant-not-msc", f"{self.kind}.{at}", best["transplant code"][0]["term"])
        if worded is None:
            return Reading(out=_first(concepts))
        tier = "code + text" if "transplant code" in best else "text only"
        return Known(self.shapes, worded["term"], worded, *_first(concepts), tier, _approval(worded))

    def _codings(self, concepts: dict[str, tuple[Concept, ...]]) -> Iterable[tuple[Row, tuple[str, str]]]:
        for row, paths in self.coded:
            for coding in (c for path in paths for concept in concepts[path] for c in concept.coding or ()):
                if (coding.system, coding.code) == (row["system"], row["code"]):
                    yield row, (row["system"], row["code"])

    def _words(self, concepts: dict[str, tuple[Concept, ...]]) -> Row | None:
        for row, paths, words, unless in self.worded:
            texts = [text for path in paths for concept in concepts[path] for text in concept.words()]
            if any(words(text) and not unless(text) for text in texts):
                return row
        return None


def _concepts(name: str, raw: bytes) -> tuple[Concept, ...]:
    """The concepts of one element; a note's text counts as words."""
    tree: Any = msgspec.json.decode(raw) if raw else None
    items = tree if isinstance(tree, list) else [tree] if tree is not None else []
    if name == "note":
        return tuple(Concept(text=str(item.get("text") or "")) for item in items if isinstance(item, dict))
    return msgspec.convert(tuple(items), tuple[Concept, ...])


def _first(concepts: dict[str, tuple[Concept, ...]]) -> tuple[str, str]:
    """The coding that a resource is listed under."""
    names = sorted(concepts, key=lambda name: (name != "code", name))
    codings = [c for name in names for concept in concepts[name] for c in concept.coding or ()]
    return (codings[0].system or "", codings[0].code or "") if codings else ("", "")


def _approval(row: Row) -> tuple[str, ...]:
    return () if row.approved else ("unapproved",)
