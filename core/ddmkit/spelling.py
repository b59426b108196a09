"""What may be meant by a word that is not known."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALIKE = 0.6
"""How alike two words have to be (0 to 1), for one to be taken for the other misspelt: difflib's own measure."""


def nearest(word: str, known: Iterable[str], alike: float = _ALIKE) -> str | None:
    """Return which of the known words is spelled most like another one; None where none is alike.

    Args:
        word: that is not known.
        known: words that it may be meant for.
        alike: how alike they have to be, from 0 to 1.
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=alike)
    return near[0] if near else None


def did_you_mean(word: str, known: Iterable[str], alike: float = _ALIKE) -> str:
    """Return " Did you mean '…'?", to follow a sentence; nothing where no known word is alike, as for `nearest`."""
    near = nearest(word, known, alike)
    return "" if near is None else f" Did you mean {near!r}?"
