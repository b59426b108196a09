"""Dice and HD95 by sampling steps and members, as heat maps: Fig. 5 of the paper (Bieder et al. 2023).

python -m benchmarks.steps RUN --data PATH [--steps 2,5,10,20,50] [--members 1,3,5,15] [--split test] [--cases N]
    [--out DIR]

For each number of steps a case is sampled once, with the most members; smaller ensembles are scored on the way. What
was finished is kept below the folder of the results, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks import machine, paper
from benchmarks.answering import Answering
from benchmarks.experiment import (
    Ensemble,
    about,
    about_times,
    add_question,
    command_line,
    facts,
    numbers,
    plain,
    question_of,
    table,
    told,
)
from benchmarks.figures import grid
from benchmarks.kept import Kept
from benchmarks.subjects import find_subjects
from ddmkit.figures import save
from ddmkit_cli.console import bars

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmarks.subjects import Subject

NAME = "steps"
_COLOURS = {"dice": "viridis", "hd95": "viridis_r"}
"""Where more is better, and where less is: better is always brighter."""
_DIGITS = {"dice": 3, "hd95": 2}
_BRIGHT = 0.6
"""Of a colour from 0 to 1, above which black is read better than white."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Score all numbers of steps and members, and write table, figure and JSON."""
    parser = command_line(__doc__, runs=False)
    add_question(parser)
    parser.add_argument("--steps", type=numbers, default=[2, 5, 10, 20, 50], help="numbers of sampling steps")
    parser.add_argument("--members", type=numbers, default=[1, 3, 5, 15], help="sizes of ensembles")
    given = parser.parse_args(arguments)
    with told():
        with bars() as progress:
            subject, ensembles = _asked(given, progress)
        result = {**facts([subject], given), "ensembles": [plain(one) for one in ensembles]}
        _draw(subject, ensembles, given.out / f"{NAME}-{machine.slug()}.png")
        closing = (
            f"{about([subject], given)} Its Fig. 5 varies steps and members, and finds 20 steps close to "
            "all 1000; it prints no numbers, so those of Table 3 stand below. "
            f"{about_times()}"
        )
        machine.write(NAME, result, f"{_table(subject, ensembles)}\n\n{closing}", given.out)


def _asked(given: Namespace, progress: Callable[[str, int, int], None]) -> tuple[Subject, list[Ensemble]]:
    (subject,) = find_subjects(given.runs, question_of(given), progress)
    for steps in given.steps:
        subject.with_steps(steps)  # which refuses too many before any is sampled
    answering = Answering(subject, Kept(given.out), progress)
    by_steps = {steps: answering.ensembles(given.members, steps) for steps in given.steps}
    ensembles = [
        Ensemble.of(subject, steps, members, found)
        for steps, by_members in by_steps.items()
        for members, found in by_members.items()
    ]
    return subject, ensembles


def _table(subject: Subject, ensembles: Sequence[Ensemble]) -> str:
    """Return a row for each region and number of steps, a column for each number of members."""
    sizes, most = sorted({one.members for one in ensembles}), max(one.members for one in ensembles)
    rows: dict[tuple[str, int], list[str]] = {}
    for one in ensembles:
        for region, row in one.summary.items():
            cells = rows.setdefault((region, one.steps), [])
            cells.append(f"{row['dice_mean']:.3f}, {row['hd95_mean']:.2f}")
            if one.members == most:
                cells.append(f"{one.seconds / most:.2f}")
    ours = [[region, steps, *cells] for (region, steps), cells in rows.items()]
    method = paper.method_of(subject.configuration)
    theirs = [[f"the paper's {method}, whole", "–", *(", ".join(paper.shown(method, size)) for size in sizes), "–"]]
    heads = [f"{size} member{'s' if size > 1 else ''}: Dice, HD95 mm" for size in sizes]
    return table(["region", "steps", *heads, "s per member"], [*ours, *(theirs if method else [])])


def _draw(subject: Subject, ensembles: Sequence[Ensemble], path: Path) -> None:
    regions = list(dict.fromkeys(region for one in ensembles for region in one.summary))
    steps, members = (sorted({getattr(one, name) for one in ensembles}) for name in ("steps", "members"))
    size = (1.6 + 0.8 * len(members), 1.2 + 0.5 * len(steps))
    figure, places = grid(regions, subject.configuration.scoring, size)
    for (region, field), axes in places.items():
        values = np.full((len(steps), len(members)), np.nan)
        for one in ensembles:
            mean = one.summary[region]["dice_mean" if field == "dice" else "hd95_mean"]
            values[steps.index(one.steps), members.index(one.members)] = mean
        _draw_map(figure, axes, values, field)
        axes.set(xlabel="members", ylabel="sampling steps")
        axes.set_xticks(range(len(members)), list(map(str, members)))
        axes.set_yticks(range(len(steps)), list(map(str, steps)))
    save(figure, path)


def _draw_map(figure: Figure, axes: Axes, values: np.ndarray, field: str) -> None:
    """Draw (steps, members) as colours, with the number in each; few steps at the bottom."""
    shown = axes.imshow(values, cmap=_COLOURS[field], aspect="auto", origin="lower")
    figure.colorbar(shown, ax=axes)
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = shown.cmap(shown.norm(value))
        ink = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > _BRIGHT else "white"
        axes.text(column, row, f"{value:.{_DIGITS[field]}f}", ha="center", va="center", color=ink, fontsize="small")


if __name__ == "__main__":
    main()
