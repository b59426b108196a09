"""Scores as a picture: a dot for each case, and what they come to."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ddmkit.figures import colour, save
from ddmkit.summary import CONFIDENCE, by_region, interval_of_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from ddmkit.definition import Scoring
    from ddmkit.scoring import Score

_SPREAD = 0.08
"""Half the width over which dots of one column are laid side by side."""
_BESIDE = 0.2
"""Distance of a mean from its dots."""


def draw_scores(path: Path, sides: Mapping[str, Sequence[Score]], scoring: Scoring) -> None:
    """Draw each score of each case, joined by a line where two sides score it, beside the means and their intervals.

    Args:
        path: of the PNG.
        sides: scores by what they are of, one or two.
        scoring: the definitions that they follow.
    """
    titles = scoring.titles()
    regions = list(dict.fromkeys(region for scores in sides.values() for region in by_region(scores)))
    width = max(3.2, 1.1 * len(regions) * len(sides))
    figure = Figure(figsize=(1 + len(titles) * width, 4.2), layout="constrained")
    for axes, (field, title) in zip(figure.subplots(1, len(titles)), titles.items(), strict=True):
        axes.set_title(title)
        _draw_field(axes, list(sides.values()), regions, field)
    handles = [figure.axes[0].plot([], [], "o", color=colour(number))[0] for number in range(len(sides))]
    figure.legend(handles, list(sides), loc="outside lower left", ncols=1, frameon=False)
    figure.text(0.99, 0.01, f"mean and its {CONFIDENCE:.0%} interval beside the cases", ha="right", fontsize="small")
    save(figure, path)


def _draw_field(axes: Axes, sides: Sequence[Sequence[Score]], regions: Sequence[str], field: str) -> None:
    step = len(sides) + 1
    for column, region in enumerate(regions):
        dots: list[dict[str, tuple[float, float]]] = []
        for side, scores in enumerate(sides):
            place, to_the_left = column * step + side, side == 0 and len(sides) > 1
            values = {score.case: getattr(score, field) for score in scores if score.region == region}
            dots.append(_dots(place, values))
            _draw_cases(axes, dots[-1], colour(side))
            _draw_mean(axes, place + (-_BESIDE if to_the_left else _BESIDE), list(values.values()))
        for case in dots[0].keys() & dots[-1].keys():
            ends = zip(dots[0][case], dots[-1][case], strict=True)
            axes.plot(*ends, color="0.75", linewidth=0.7, zorder=1)
    axes.set_xticks([column * step + (step - 2) / 2 for column in range(len(regions))], regions)
    axes.set_xlim(-0.7, len(regions) * step - 1.3)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.set_ylim(bottom=0, top=None if field == "hd95" else 1)


def _dots(place: float, values: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Lay the dots of one column side by side, so that equal ones can be told apart."""
    shifts = np.linspace(-_SPREAD, _SPREAD, len(values)) if len(values) > 1 else np.zeros(len(values))
    return {case: (place + float(shift), value) for (case, value), shift in zip(values.items(), shifts, strict=True)}


def _draw_cases(axes: Axes, dots: Mapping[str, tuple[float, float]], shade: str) -> None:
    x, y = [[dot[axis] for dot in dots.values()] for axis in (0, 1)]
    axes.plot(x, y, "o", color=shade, alpha=0.6, markersize=5, markeredgewidth=0, clip_on=False)


def _draw_mean(axes: Axes, place: float, values: Sequence[float]) -> None:
    if not values:
        return
    mean = fmean(values)
    low, high = interval_of_mean(values) or (mean, mean)
    errors = [[max(mean - low, 0)], [max(high - mean, 0)]]
    axes.errorbar(place, mean, yerr=errors, fmt="D", color="black", markersize=4, capsize=3, zorder=3)
