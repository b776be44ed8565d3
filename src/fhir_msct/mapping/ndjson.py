"""The bytes of NDJSON files."""

BLOCK = 1 << 18
"""How much of a file is read at once."""


def is_utf8(body: bytes) -> bool:
    """Whether every byte belongs to a character; a decoder does not look into what it skips."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
