"""What `check` can find, by name, with its weight and its consequence: `quirks.toml`."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from fhir_msct.client.probes import Sign

Level = Literal["block", "decide", "know"]
"""A pull would fail or bring what it must not; a person has to choose, or it cannot prove itself complete;
the client lives with it.
"""

LEVELS: tuple[Level, ...] = get_args(Level)


class Remark(Struct, frozen=True, kw_only=True):
    """One thing that was found."""

    level: Level
    name: str
    text: str
    detail: str = ""


def remark(sign: Sign) -> Remark:
    """A quirk with its weight and its consequence."""
    level: Level = next(level for level in LEVELS if sign.name in words()[level])
    return Remark(level=level, name=sign.name, text=words()[level][sign.name], detail=sign.detail)


@cache
def words() -> dict[str, dict[str, str]]:
    """Level -> name -> sentence."""
    return tomllib.loads(Path(__file__).with_name("quirks.toml").read_text("utf-8"))
