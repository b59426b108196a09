"""Read the code that pages under docs/ show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"


class Block(NamedTuple):
    """A block of code on a page."""

    language: str
    title: str
    """The file that it is the text of; empty where it is none."""
    code: str


def blocks(page: str) -> list[Block]:
    """Return the blocks of one page under docs/, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', text, flags=re.DOTALL | re.MULTILINE)
    return [Block(*parts) for parts in found]


def files(page: str) -> dict[str, str]:
    """Return the text of each file that one page shows; of two with the same name, the later."""
    return {block.title: block.code for block in blocks(page) if block.title}
