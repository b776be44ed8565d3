"""The synthetic trial as a run's own: its ids begin with the run, and its references lead to them.

No other byte of a resource changes here. They come in floors: a resource stands above everything that it
refers to, so that a server which checks references takes them in this order, and gives them up in reverse.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

Key = tuple[str, str]
"""Type and id."""

_REFERENCE = re.compile(rb'("reference"\s*:\s*")([A-Z][A-Za-z]+)(\\?/)([A-Za-z0-9\-.]{1,64})')
_NAMED = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$")


class Original(Struct, frozen=True):
    """One body of the trial as it is kept, and where it goes."""

    type: str
    id: str
    body: bytes
    floor: int
    """0 for what refers to nothing; a later body of an id stands above an earlier one."""

    @property
    def key(self) -> Key:
        """Type and id of the original."""
        return self.type, self.id

    def own(self, ids: Callable[[Key], str]) -> bytes:
        """The body under another id, its references leading to other ids: those that `ids` says."""
        name = re.escape(self.id.encode())
        body = re.sub(
            rb'("id"\s*:\s*")' + name + b'"', rb"\g<1>" + ids(self.key).encode() + b'"', self.body, count=1
        )

        def led(found: "re.Match[bytes]") -> bytes:
            key = (found[2].decode(), found[4].decode())
            return b"%b%b%b%b" % (found[1], found[2], found[3], ids(key).encode())

        return _REFERENCE.sub(led, body)


def originals(lines: Iterable[bytes]) -> list[Original]:
    """The bodies of a trial, floor by floor."""
    bodies = [(tree["resourceType"], tree["id"], tree, line) for line in lines for tree in [json.loads(line)]]
    below = floors({(type_, id_): references(tree) for type_, id_, tree, _ in bodies})
    seen: dict[Key, int] = {}
    found = []
    for type_, id_, _, line in bodies:
        key = (type_, id_)
        seen[key] = seen.get(key, -1) + 1
        found.append(Original(type_, id_, line.strip(), below[key] + seen[key]))
    return sorted(found, key=lambda one: one.floor)


def floors(refers: Mapping[Key, Collection[Key]]) -> dict[Key, int]:
    """The floor of each resource: one above the highest of those here that it refers to.

    In a circle there is no order, and none is promised.
    """
    floor = dict.fromkeys(refers, 0)
    for _ in range(len(floor)):
        moved = False
        for key, named in refers.items():
            least = max((floor[one] + 1 for one in named if one in floor and one != key), default=0)
            if least > floor[key] and least < len(floor):
                floor[key], moved = least, True
        if not moved:
            break
    return floor


def references(tree: Any) -> set[Key]:
    """Every resource that a resource refers to by type and id, whatever its version or server."""
    return {(named[1], named[2]) for text in _texts(tree) if (named := _NAMED.search(text))}


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "reference" and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value)
