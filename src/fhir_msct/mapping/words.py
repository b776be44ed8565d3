"""Words in free text: whole words of alphabets, anywhere in scripts that do not separate words."""

import re


class Words:
    """A list of words from one cell of a table (`MSC|mesenchymal|间充质`), ready to look for."""

    def __init__(self, cell: str, *, prefix: bool = False) -> None:
        """`prefix`: a word also stands for its longer forms (`aspirat` for aspiration)."""
        parts = [_pattern(word, prefix) for word in cell.split("|") if word]
        self._search = re.compile("|".join(parts), re.IGNORECASE).search if parts else None

    def __call__(self, text: str) -> bool:
        """Whether one of the words is in the text."""
        return bool(self._search and self._search(text))


def _pattern(word: str, prefix: bool) -> str:
    if not word.replace(" ", "").replace("-", "").isalpha() or ord(word[0]) > 0x2E7F:
        return re.escape(word)
    # A digit may follow at once (MB2), a letter may not (MBA).
    return rf"(?<![^\W\d_]){re.escape(word)}" + ("" if prefix else r"(?![^\W\d_])")
