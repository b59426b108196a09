"""Reliability diagrams: what was said, against what there was."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ddmkit.figures import colour, save
from ddmkit.reliability import BINS, FLOOR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from ddmkit.reliability import Bin, Reliability

_ABREAST = 4
"""Diagrams in a row."""


def draw_reliability(path: Path, lines: Mapping[str, Mapping[str, Reliability]]) -> None:
    """Draw, for each channel, share of foreground against mean probability, and below it the voxels of each bin.

    Args:
        path: of the PNG.
        lines: reliabilities by channel, by what each line is of.
    """
    channels = list(dict.fromkeys(channel for of_line in lines.values() for channel in of_line))
    columns = min(_ABREAST, len(channels))
    rows = -(-len(channels) // columns)
    figure = Figure(figsize=(0.6 + 4 * columns, 5.8 * rows + 0.25 * len(lines)), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=(3, 1) * rows)
    pairs = list(zip(grid[::2].flat, grid[1::2].flat, strict=True))
    for axes in chain(*pairs[len(channels) :]):
        axes.set_axis_off()
    for (diagram, below), channel in zip(pairs, channels, strict=False):
        _prepare(diagram, below, channel)
        for number, of_line in enumerate(lines.values()):
            if channel in of_line:
                _draw_line(diagram, below, of_line[channel]["bins"], number)
    handles = [
        figure.axes[0].plot([], [], f"{_marker(number)}-", color=colour(number))[0] for number in range(len(lines))
    ]
    figure.legend(handles, list(lines), loc="outside lower left", ncols=1, frameon=False)
    save(figure, path)


def _prepare(diagram: Axes, below: Axes, channel: str) -> None:
    diagram.set_title(channel)
    diagram.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", zorder=1)
    said = diagram.text(0.04, 0.065, "as often as said", color="0.45", fontsize="small")
    said.set(rotation=45, rotation_mode="anchor", transform_rotates_text=True)
    diagram.set_ylabel("share of foreground in the reference")
    below.set_ylabel("voxels")
    below.set_yscale("log")
    below.set_xlabel(f"probability (voxels with a mean above {FLOOR:g})")
    for axes in (diagram, below):
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.set_xlim(0, 1)
    diagram.set_ylim(0, 1)
    diagram.tick_params(labelbottom=False)


def _draw_line(diagram: Axes, below: Axes, bins: list[Bin], number: int) -> None:
    shade = colour(number)
    confidence, frequency = [row["confidence"] for row in bins], [row["frequency"] for row in bins]
    style = f"{_marker(number)}-"
    diagram.plot(confidence, frequency, style, color=shade, markersize=5, linewidth=1.2, clip_on=False, zorder=2)
    edges = [place / BINS for place in range(BINS + 1)]
    voxels = {round(row["low"] * BINS): row["voxels"] for row in bins}
    heights = [voxels.get(place, 0) for place in range(BINS)]
    below.stairs(heights, edges, color=shade, linewidth=1.2, baseline=None)


def _marker(number: int) -> str:
    return "os^D"[number % 4]
