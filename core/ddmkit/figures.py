"""What pictures have in common that matplotlib draws, without a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit.files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of series, in order: those of Okabe and Ito, which the colour-blind tell apart."""
_DOTS_PER_INCH = 120


def colour(number: int) -> str:
    """Return the colour of a series, from 0; there are six."""
    return COLOURS[number % len(COLOURS)]


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=_DOTS_PER_INCH, format="png")
