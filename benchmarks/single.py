"""Methods side by side, with one member and as ensembles, mean ± standard deviation: Table 2 of the paper.

python -m benchmarks.single RUN [RUN…] --data PATH [--members 1,15] [--split test] [--cases N] [--out DIR]

The runs should be trained alike but for the method: the same cases, split and steps (Bieder et al. 2023). What was
finished is kept below the folder of the results, so that the same command goes on where it was stopped; what
benchmarks.ensembling found of the same runs and cases counts.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import paper
from benchmarks.experiment import compare, spread, table
from benchmarks.figures import FIELDS, grid, tidy
from ddmkit.errors import DataError
from ddmkit.figures import colour, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.experiment import Ensemble
    from benchmarks.subjects import Subject

NAME = "single"
_WIDTH = 0.8
"""Of all dots of a run, where 1 is the distance to the next run's."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Score all runs, and write table, figure and JSON."""
    compare(__doc__, NAME, [1, 15], arguments, tabulate=_table, draw=_draw, check=_refuse_different)


def _refuse_different(subjects: Sequence[Subject]) -> None:
    """Make sure that methods are compared by the same cases.

    Raises:
        DataError: two runs were split otherwise.
    """
    names = [[case.name for case in subject.cases] for subject in subjects]
    for subject, of_subject in zip(subjects, names, strict=True):
        if of_subject != names[0]:
            msg = (
                f"The runs {subjects[0].name} and {subject.name} were split otherwise, so their cases differ: train "
                "them on the same data with the same split.seed, or name cases that both never saw with --cases."
            )
            raise DataError(msg)


def _table(subjects: Sequence[Subject], ensembles: Sequence[Ensemble]) -> str:
    methods = {subject.name: paper.method_of(subject.configuration) for subject in subjects}
    ours = [
        [
            one.run,
            methods[one.run] or "–",
            region,
            one.members,
            spread(row["dice_mean"], row["dice_std"], 3),
            spread(row["hd95_mean"], row["hd95_std"], 2),
        ]
        for one in ensembles
        for region, row in one.summary.items()
    ]
    theirs = [
        ["the paper's", method, "whole", members, *paper.shown(method, members)]
        for method, by_members in paper.METHODS.items()
        for members in by_members
        if members in {1, 15, *(one.members for one in ensembles)}
    ]
    nnunet = ["the paper's", "nnU-Net", "whole", "–", f"{paper.NNUNET.dice:.2f}", f"{paper.NNUNET.hd95:.2f}"]
    return table(["run", "method", "region", "members", "Dice", "HD95 mm"], [*ours, *theirs, nnunet])


def _draw(subjects: Sequence[Subject], ensembles: Sequence[Ensemble], path: Path) -> None:
    regions = list(dict.fromkeys(region for one in ensembles for region in one.summary))
    sizes = sorted({one.members for one in ensembles})
    names = [subject.name for subject in subjects]
    figure, places = grid(regions, subjects[0].configuration.scoring)
    for (region, field), axes in places.items():
        for one in ensembles:
            column, place = names.index(one.run), sizes.index(one.members)
            centre = column + _WIDTH * ((place + 0.5) / len(sizes) - 0.5)
            _draw_dots(axes, one.values(region, field), centre, colour(place))
        axes.set_xticks(range(len(names)), names)
        tidy(axes)
    first = places[regions[0], FIELDS[0]]
    for place, members in enumerate(sizes):
        first.plot([], [], "o", color=colour(place), label="1 member" if members == 1 else f"{members} members")
    figure.legend(loc="outside lower center", ncols=len(sizes))
    save(figure, path)


def _draw_dots(axes: Axes, values: Sequence[float], centre: float, shade: str) -> None:
    """Draw a dot for each case, side by side, and their mean as a line."""
    if not values:
        return
    across = centre + np.linspace(-0.1, 0.1, len(values)) if len(values) > 1 else [centre]
    axes.plot(across, values, "o", color=shade, alpha=0.5, markersize=5)
    axes.plot([centre - 0.16, centre + 0.16], [fmean(values)] * 2, color=shade, linewidth=2)


if __name__ == "__main__":
    main()
