"""Words in free text: whole words of alphabets, anywhere in scripts that do not separate words."""

import re


class Words:
    """A list of words from one cell of a table (`MSC|mesenchym*|间充质`), ready to look for.

    A word that ends with `*` also stands for its longer forms.
    """

    def __init__(self, cell: str) -> None:
        parts = [_pattern(word) for word in cell.split("|") if word]
        self._search = re.compile("|".join(parts), re.IGNORECASE).search if parts else None

    def __call__(self, text: str) -> bool:
        """Whether one of the words is in the text."""
        return bool(self._search and self._search(text))


def _pattern(word: str) -> str:
    stem = word.rstrip("*")
    if ord(stem[0]) > 0x2E7F:
        return re.escape(stem)
    # A digit may follow at once (MB2), a letter may not (MBA).
    return rf"(?<![^\W\d_]){re.escape(stem)}" + ("" if word.endswith("*") else r"(?![^\W\d_])")
