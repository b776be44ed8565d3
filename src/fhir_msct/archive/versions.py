"""Which of several versions of one resource is the current one: by what the server says, never by a guess.

The answer does not depend on the order in which the versions came.
"""

import re
from collections.abc import Callable, Sequence
from itertools import combinations

from msgspec import Struct

from fhir_msct.dates import instant

CURRENT, SUPERSEDED, DELETED = "current", "superseded", "deleted"


class Version(Struct, frozen=True, kw_only=True):
    """One version, as far as choosing needs to know it."""

    row: int
    version: str | None = None
    lastupdated: str | None = None
    deleted: bool = False
    kind: str = "server"
    """Of the run that brought it: `server`, `folder` or `load`."""
    brought: int = 0
    """Number of the run that saw it first."""
    seen: int = 0
    """Number of the run that saw it last."""
    gone: int | None = None
    """Number of the complete run that no longer found it."""
    file: str = ""
    sha256: str = ""
    """Of its bytes."""


Alike = Callable[[Version, Version], bool]
"""Whether two bodies differ in nothing but how they are written: spaces, and the order of members."""


class Choice(Struct, frozen=True):
    """What becomes of one version."""

    state: str
    same_id: bool = False


def choose(versions: Sequence[Version], alike: Alike = lambda one, other: False) -> dict[int, Choice]:
    """For each row its state: current, superseded or deleted.

    Several that nothing can order are all current, with `same_id`; but of two spellings of one version
    that a server gave in one run (an export writes in one line what a search indents) one will do.
    """
    beaten: set[int] = set()
    for one, other in combinations(versions, 2):
        order = _order(one, other, alike)
        if order:
            beaten.add(other.row if order > 0 else one.row)
    left = [version for version in versions if version.row not in beaten] or list(versions)
    choices = {version.row: Choice(SUPERSEDED) for version in versions}
    for version in left:
        gone = version.deleted or (version.gone is not None and version.gone >= version.seen)
        choices[version.row] = Choice(DELETED if gone else CURRENT, same_id=len(left) > 1 and not gone)
    return choices


def _order(one: Version, other: Version, alike: Alike) -> int:
    """Above 0 where the first is newer, below 0 where the second is, 0 where nothing tells."""
    if "load" in (one.kind, other.kind):
        return _entered(one, other)
    stamps = instant(one.lastupdated), instant(other.lastupdated)
    if stamps[0] and stamps[1] and stamps[0] != stamps[1]:
        return 1 if stamps[0] > stamps[1] else -1
    numbers = _number(one.version), _number(other.version)
    if numbers[0] is not None and numbers[1] is not None and numbers[0] != numbers[1]:
        return 1 if numbers[0] > numbers[1] else -1
    if one.deleted != other.deleted:
        return _deletion(one, other) if one.deleted else -_deletion(other, one)
    if one.kind == other.kind == "server":
        same = one.seen == other.seen and alike(one, other)
        return _either(one, other) if same else _compared((True, one.seen), (True, other.seen))
    if one.file and one.file == other.file:
        return _compared((True, one.seen), (True, other.seen))
    return 0


def _either(one: Version, other: Version) -> int:
    """Which of two that say the same, whatever came first."""
    return 1 if one.sha256 < other.sha256 else -1


def _entered(one: Version, other: Version) -> int:
    """What was entered by hand gives way to what came later: its own copy from a server, or a correction."""
    if one.kind == other.kind:
        return _compared((True, one.seen), (True, other.seen))
    entered, kept, sign = (one, other, 1) if one.kind == "load" else (other, one, -1)
    return sign if entered.seen > kept.brought else -sign


def _deletion(deletion: Version, body: Version) -> int:
    """A deletion without a time ends what was seen until then; what a later run brings lives again."""
    return 1 if deletion.seen >= body.seen else -1


def _compared(one: tuple[bool, int], other: tuple[bool, int]) -> int:
    return (one > other) - (one < other)


def _number(version: str | None) -> int | None:
    return int(version) if version and re.fullmatch(r"\d{1,18}", version) else None
