"""Cases as they are answered, in one slice: contrast, reference, members, mean and variance. Fig. 7 of the paper.

python -m benchmarks.gallery RUN --data PATH [--cases a,b] [--members 5] [--split test] [--out DIR]

The slice is the one with most of the reference; of each member only it is kept (Bieder et al. 2023). What was finished
is kept below the folder of the results, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import machine, paper
from benchmarks.answering import Answering
from benchmarks.experiment import about, add_question, command_line, facts, number, question_of, table, told
from benchmarks.kept import FOLDER, Kept
from benchmarks.pictured import Pictured, look, read, write
from benchmarks.subjects import find_subjects
from ddmkit.figures import save
from ddmkit_cli.console import bars

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from matplotlib.axes import Axes

    from benchmarks.subjects import Subject
    from ddmkit.scoring import Score

NAME = "gallery"
_INCHES = 1.5
"""Width of a picture."""
_LETTERS = 20
"""That fit below it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the cases, and write table, figure and JSON."""
    parser = command_line(__doc__, runs=False)
    add_question(parser, cases="2")
    parser.add_argument("--members", type=number, default=5, help="that are sampled and shown")
    given = parser.parse_args(arguments)
    with told():
        with bars() as progress:
            subject, pictures = _looked(given, progress)
        result = {**facts([subject], given), "members": given.members, "cases": list(map(_plain, pictures))}
        _draw(subject, pictures, given.out / f"{NAME}-{machine.slug()}.png")
        machine.write(NAME, result, f"{_table(subject, pictures)}\n\n{about([subject], given)}", given.out)


def _looked(given: Namespace, progress: Callable[[str, int, int], None]) -> tuple[Subject, list[Pictured]]:
    (subject,) = find_subjects(given.runs, question_of(given), progress)
    answering = Answering(subject, Kept(given.out), progress)
    pictures = []
    for case in subject.cases:
        path = given.out / FOLDER / f"{NAME}-{answering.key_of(case)}-{given.members}.npz"
        if not path.is_file():
            write(path, look(answering.model(), case, given.members, partial(progress, case.name)))
        pictures.append(read(path))
    return subject, pictures


def _plain(pictured: Pictured) -> dict[str, Any]:
    return {
        "case": pictured.case,
        "slice": pictured.level,
        "members": [[score._asdict() for score in scores] for scores in pictured.alone],
        "ensemble": [score._asdict() for score in pictured.together],
    }


def _table(subject: Subject, pictures: Sequence[Pictured]) -> str:
    method, members = paper.method_of(subject.configuration), len(pictures[0].alone)
    rows = [
        [pictured.case, *row]
        for pictured in pictures
        for row in [
            *(_row(f"member {number}", scores) for number, scores in enumerate(pictured.alone, start=1)),
            _row(f"all {members}", pictured.together),
        ]
    ]
    theirs = [
        [f"the paper's {method}, mean", said, *paper.shown(method, count)]
        for said, count in (("one member", 1), (f"all {members}", members))
        if paper.shown(method, count) != paper.shown(None, count)
    ]
    return table(["case", "answer of", "Dice", "HD95 mm"], [*rows, *theirs])


def _row(of_what: str, scores: Sequence[Score]) -> list[str]:
    several = len(scores) > 1
    dice = [f"{score.region} {score.dice:.3f}" if several else f"{score.dice:.3f}" for score in scores]
    return [of_what, ", ".join(dice), ", ".join(f"{score.hd95:.2f}" for score in scores)]


def _draw(subject: Subject, pictures: Sequence[Pictured], path: Path) -> None:
    from matplotlib.figure import Figure

    heads = [subject.configuration.task.modalities[-1], "reference"]
    heads += [f"member {number}" for number in range(1, len(pictures[0].members) + 1)]
    heads += ["mean", "variance"]
    sides = [pictured.contrast.shape[0] * pictured.aspect / pictured.contrast.shape[1] for pictured in pictures]
    size = (_INCHES * len(heads), sum(_INCHES * side + 0.4 for side in sides))
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(pictures), len(heads), squeeze=False, height_ratios=sides)
    for pictured, row in zip(pictures, rows, strict=True):
        _draw_row(row, pictured, float(max(other.variance.max() for other in pictures)) or 1)
    for axes, head in zip(rows[0], heads, strict=True):
        axes.set_title(head, fontsize="medium")
    save(figure, path)


def _draw_row(row: Sequence[Axes], pictured: Pictured, most: float) -> None:
    """Draw one case; `most` is the variance that is drawn brightest, for all cases the same."""
    contrast, reference, *members, mean, variance = row
    whole = float(pictured.channels)
    _show(contrast, pictured, pictured.contrast, 1, f"{_short(pictured.case)}\nslice {pictured.level}")
    _show(reference, pictured, pictured.reference, 1)
    for axes, member, scores in zip(members, pictured.members, pictured.alone, strict=True):
        _show(axes, pictured, member, whole, _said(scores))
    _show(mean, pictured, pictured.mean, whole, _said(pictured.together))
    _show(variance, pictured, pictured.variance, most, f"up to {pictured.variance.max():.2f}", "magma")


def _short(name: str) -> str:
    """Return as much of a case's name as fits below its picture: the end, which tells cases apart."""
    return name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"


def _said(scores: Sequence[Score]) -> str:
    return f"Dice {scores[0].dice:.3f}"


def _show(  # noqa: PLR0913, PLR0917 - what is drawn, and how
    axes: Axes, pictured: Pictured, pixels: np.ndarray, most: float, below: str = "", colours: str = "gray"
) -> None:
    axes.imshow(pixels, cmap=colours, vmin=0, vmax=most, aspect=pictured.aspect)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(below, fontsize="x-small")
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    main()
