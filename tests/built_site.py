"""Read the built site as a reader sees it: headings, tables, code, links."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

if TYPE_CHECKING:
    from pathlib import Path

_HEADINGS = ("h1", "h2", "h3", "h4")


class Row(NamedTuple):
    """A row of a table, and the heading it stands under."""

    heading: str
    cells: tuple[str, ...]


class Page(HTMLParser):
    """One page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.rows: list[Row] = []
        self.targets: list[tuple[str, str]] = []
        """What it refers to, with the tag that does."""
        self.anchors: set[str] = set()
        self._words: list[str] = []
        self._heading: list[str] | None = None
        self._cells: list[list[str]] = []
        self.feed(text)
        self.text = " ".join("".join(self._words).split())

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := named.get(key))}
        self.targets += [(tag, value) for key in ("href", "src") if (value := named.get(key))]
        if tag in _HEADINGS:
            self._heading = []
        elif tag == "tr":
            self._cells = []
        elif tag in {"td", "th"}:
            self._cells.append([])

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag in _HEADINGS and self._heading is not None:
            self.headings.append("".join(self._heading).rstrip("¶").strip())
            self._heading = None
        elif tag == "tr" and self._cells:
            self.rows.append(Row(self.headings[-1], tuple(" ".join("".join(cell).split()) for cell in self._cells)))
            self._cells = []

    @override
    def handle_data(self, data: str) -> None:
        self._words.append(data)
        if self._heading is not None:
            self._heading.append(data)
        elif self._cells:
            self._cells[-1].append(data)

    def under(self, heading: str) -> dict[str, tuple[str, ...]]:
        """Return the rows under a heading by their first cell."""
        return {row.cells[0]: row.cells[1:] for row in self.rows if row.heading == heading}

    def says(self, text: str) -> bool:
        """Tell whether a text stands there, wherever its lines break."""
        return " ".join(text.split()) in self.text


@cache
def read(path: Path) -> Page:
    """Return one built page."""
    return Page(path.read_text(encoding="utf-8"))
