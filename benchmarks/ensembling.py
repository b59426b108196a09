"""Dice and HD95 by the number of members: Fig. 4 and Table 3 of the paper (Bieder et al. 2023).

python -m benchmarks.ensembling RUN [RUN…] --data PATH [--split test] [--cases N] [--members 1,3,5,7,15] [--out DIR]

Each case is sampled once, with the most members; smaller ensembles are scored on the way. What was finished is kept
below the folder of the results, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import paper
from benchmarks.experiment import about_times, compare, spread, table
from benchmarks.figures import FIELDS, grid, tidy
from ddmkit.figures import colour, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.experiment import Ensemble
    from benchmarks.subjects import Subject

NAME = "ensembling"


def main(arguments: Sequence[str] | None = None) -> None:
    """Score all sizes of all runs, and write table, figure and JSON."""
    sizes = [1, 3, 5, 7, 15]
    compare(__doc__, NAME, sizes, arguments, tabulate=_table, draw=_draw, closing=about_times())


def _table(subjects: Sequence[Subject], ensembles: Sequence[Ensemble]) -> str:
    methods = {subject.name: paper.method_of(subject.configuration) for subject in subjects}
    rows = [
        [
            one.run,
            region,
            one.members,
            spread(row["dice_mean"], row["dice_std"], 3),
            spread(row["hd95_mean"], row["hd95_std"], 2),
            f"{one.seconds:.1f}",
            methods[one.run] or "–",
            *paper.shown(methods[one.run], one.members),
        ]
        for one in ensembles
        for region, row in one.summary.items()
    ]
    head = ["run", "region", "members", "Dice", "HD95 mm", "s per case", "the paper's", "its Dice", "its HD95 mm"]
    return table(head, rows)


def _draw(subjects: Sequence[Subject], ensembles: Sequence[Ensemble], path: Path) -> None:
    regions = list(dict.fromkeys(region for one in ensembles for region in one.summary))
    figure, places = grid(regions, subjects[0].configuration.scoring)
    for (region, field), axes in places.items():
        for number, subject in enumerate(subjects):
            mine = [one for one in ensembles if one.run == subject.name and region in one.summary]
            _draw_run(axes, mine, region, field, colour(number))
        axes.set(xlabel="members", xticks=sorted({one.members for one in ensembles}))
        tidy(axes)
    first = places[regions[0], FIELDS[0]]
    first.plot([], [], color="gray", alpha=0.5, linewidth=0.8, label="each case")
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save(figure, path)


def _draw_run(axes: Axes, ensembles: Sequence[Ensemble], region: str, field: str, shade: str) -> None:
    """Draw the mean over the cases, and each case faintly."""
    sizes = [one.members for one in ensembles]
    columns = [one.values(region, field) for one in ensembles]
    for of_case in zip(*columns, strict=True):
        axes.plot(sizes, of_case, color=shade, alpha=0.25, linewidth=0.8)
    means = [sum(column) / len(column) for column in columns]
    axes.plot(sizes, means, "o-", color=shade, label=ensembles[0].run, linewidth=2)


if __name__ == "__main__":
    main()
