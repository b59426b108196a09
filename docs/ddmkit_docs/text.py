"""Markdown of docstrings and tables."""

from __future__ import annotations

import re
from textwrap import dedent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]*`)")
_LITERAL_BLOCK = re.compile(r"::\n\n((?:(?: {4}[^\n]*)?\n?)+)")
_PAGE = re.compile(r"docs/([\w-]+)\.md")


def prose(docstring: str) -> str:
    """Return a docstring as Markdown: its literal blocks as code, the pages that it names as links."""
    pieces = _LITERAL_BLOCK.split(docstring)
    texts, codes = pieces[::2], pieces[1::2]
    written = [_escaped(texts[0])]
    for code, text in zip(codes, texts[1:], strict=True):
        example = dedent(code).strip()
        written += [f"{written.pop()}:", fence(example, _language(example)), _escaped(text)]
    return "\n\n".join(filter(None, (part.strip() for part in written)))


def _language(example: str) -> str:
    """Tell Python from the files that some docstrings show."""
    return "python" if example.startswith(("@", "class ", "def ", "from ", "import ")) else "yaml"


def _escaped(text: str) -> str:
    """Keep Markdown from reading more into words than they say, but for code in backticks."""
    pieces = _CODE.split(text)
    for index in range(0, len(pieces), 2):
        plain = re.sub(r"([*_])", r"\\\1", pieces[index]).replace("<", "&lt;")
        pieces[index] = _PAGE.sub(lambda page: f"[{page[1].replace('-', ' ')}](../{page[1]}.md)", plain)
    return "".join(pieces)


def summary(docstring: str | None) -> str:
    """Return the first line of a docstring."""
    return (docstring or "").strip().partition("\n")[0]


def fence(code: str, language: str = "python") -> str:
    """Return code as a block."""
    return f"```{language}\n{code}\n```"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown in one line, in which a bar is only a bar."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    pieces = _CODE.split(" ".join(text.split()))
    return "".join(piece if piece.startswith("`") else piece.replace("|", r"\|") for piece in pieces)


def page(*parts: str) -> str:
    """Return a page of its parts; empty ones are left out."""
    return "\n\n".join(stripped for part in parts if (stripped := part.strip())) + "\n"
