"""Figures of the paper's experiments: a row for each region, Dice on the left and HD95 on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ddmkit.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from ddmkit.definition import Scoring

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito, which the colour-blind tell apart."""
FIELDS = ("dice", "hd95")
_DOTS_PER_INCH = 120


def colour(number: int) -> str:
    """Return the colour of a series, from 0; there are six."""
    return COLOURS[number % len(COLOURS)]


def grid(
    regions: Sequence[str], scoring: Scoring, size: tuple[float, float] = (4.5, 3.4)
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """Return an empty figure and its axes, by region and field.

    Args:
        regions: a row each.
        scoring: how the scores are defined.
        size: width and height of one of the axes in inches.
    """
    titles = scoring.titles()
    figure = Figure(figsize=(size[0] * len(FIELDS), size[1] * len(regions)), layout="constrained")
    rows = figure.subplots(len(regions), len(FIELDS), squeeze=False)
    found: dict[tuple[str, str], Axes] = {}
    for region, row in zip(regions, rows, strict=True):
        for field, axes in zip(FIELDS, row, strict=True):
            axes.set_title(f"{titles[field]}, {region}")
            found[region, field] = axes
    return figure, found


def tidy(axes: Axes) -> None:
    """Take away what says nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=_DOTS_PER_INCH)
