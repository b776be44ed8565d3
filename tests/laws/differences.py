"""Where two JSON texts differ, number spelling included."""

import json
from collections.abc import Iterator
from typing import Any


def tree(body: bytes) -> Any:
    """The JSON of a body, its numbers as the text they were sent as."""
    return json.loads(body, parse_float=str, parse_int=str)


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """The path of every value that is not the same in both; of a list of another length, the list's."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{path}[{n}]")
    elif one != other:
        yield path
