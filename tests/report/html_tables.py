"""What a browser would see in a report: tables by caption, headings, ids, everything that could fetch."""

from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Html(HTMLParser):
    """Cells by (caption, row heading, column heading); raises where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: dict[tuple[str, str, str], str] = {}
        self.captions: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self._heads: list[str] = []
        self._row: list[str] = []
        self._scopes: list[str] = []
        self._words: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._heads = []
        if tag == "tr":
            self._row, self._scopes = [], []
        if tag in ("td", "th", "caption"):
            self._words = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"
        text = "".join(self._words)
        if tag == "caption":
            self.captions.append(text)
        if tag in ("td", "th"):
            self._row.append(text)
        if tag == "tr" and not self._heads:
            self._heads = self._row
        elif tag == "tr":
            for head, cell in zip(self._heads[1:], self._row[1:], strict=True):
                key = (self.captions[-1], self._row[0], head)
                assert key not in self.cells or key[0].endswith(REPEATING), key
                self.cells[key] = cell

    def handle_data(self, data: str) -> None:
        self._words.append(data)
        if self._open and self._open[-1] not in ("style", "script"):
            self.text.append(data)


REPEATING = (
    *("Endpoints", "Infusions", "one by one", "by reason", "by code", "What these data cannot support"),
)
"""Tables whose first column does not name a row alone."""
