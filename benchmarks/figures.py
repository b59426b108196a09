"""Figures of the paper's experiments: a row for each region, Dice on the left and HD95 on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ddmkit.definition import Scoring

FIELDS = ("dice", "hd95")


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
