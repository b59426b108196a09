"""Dice and HD95 over training: Fig. 8 of the paper (Bieder et al. 2023).

python -m benchmarks.progress RUN [RUN…] [--out DIR]

Reads what the runs' own validations wrote into metrics.jsonl, with the score of each case; a run keeps no more
checkpoints than the last, the one before and the best. Runs that are still training are drawn as far as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import machine, paper
from benchmarks.experiment import command_line, spread, table, told
from benchmarks.figures import FIELDS, grid, tidy
from benchmarks.subjects import names_of
from ddmkit import Registry
from ddmkit.definition import Scoring
from ddmkit.errors import DataError
from ddmkit.figures import colour, save
from ddmkit.run.folder import RunFolder
from ddmkit.scoring import Score
from ddmkit.summary import by_region

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from ddmkit.summary import Summary

NAME = "progress"


class Validated(NamedTuple):
    """What a run's validation of one step found."""

    step: int
    scores: list[Score]
    summary: dict[str, Summary]
    """By region, over the cases."""


class Course(NamedTuple):
    """How a run came to be what it is."""

    name: str
    method: str | None
    """The paper's, if it is one."""
    scoring: Scoring
    best: int
    """Step whose mean Dice is the highest so far."""
    validations: list[Validated]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the validations of all runs, and write table, figure and JSON."""
    given = command_line(__doc__, runs=True).parse_args(arguments)
    with told():
        registry = Registry()
        named = zip(names_of(given.runs), given.runs, strict=True)
        courses = [_course(registry, name, RunFolder(run)) for name, run in named]
        scoring = _one_scoring(courses)
        result = {
            "scoring": scoring.model_dump(mode="json"),
            "definition": scoring.definition(),
            "paper": paper.plain(),
            "runs": {course.name: _plain(course) for course in courses},
        }
        _draw(courses, given.out / f"{NAME}-{machine.slug()}.png")
        machine.write(NAME, result, f"{_table(courses)}\n\n{_about(courses, scoring)}", given.out)


def _course(registry: Registry, name: str, folder: RunFolder) -> Course:
    """Read what a run's validations found.

    Raises:
        ConfigurationError: the folder is no run.
        DataError: nothing was validated yet, or by several definitions.
    """
    method = paper.method_of(folder.configuration(registry))
    records = [record for record in folder.records() if record["kind"] == "validation"]
    scorings = [Scoring(**record["scoring"]) for record in records]
    if not records:
        msg = f"The run {folder.path} has validated nothing yet: let it train to validation.every steps."
        raise DataError(msg)
    if any(scoring != scorings[0] for scoring in scorings):
        msg = f"The run {folder.path} was gone on with another definition of scores: its validations have no one curve."
        raise DataError(msg)
    validations = [
        Validated(record["step"], [Score(**score) for score in record["scores"]], record["summary"])
        for record in records
    ]
    best = max(record["step"] for record in records if record["best"])
    return Course(name, method, scorings[0], best, validations)


def _one_scoring(courses: Sequence[Course]) -> Scoring:
    for course in courses:
        if course.scoring != courses[0].scoring:
            msg = f"The runs {courses[0].name} and {course.name} were scored by different definitions: draw each alone."
            raise DataError(msg)
    return courses[0].scoring


def _plain(course: Course) -> dict[str, Any]:
    validations = [
        {"step": one.step, "summary": one.summary, "cases": [score._asdict() for score in one.scores]}
        for one in course.validations
    ]
    return {"method": course.method, "best": course.best, "validations": validations}


def _table(courses: Sequence[Course]) -> str:
    rows = [
        [
            course.name,
            region,
            f"{one.step}{' (best)' if one.step == course.best else ''}",
            spread(row["dice_mean"], row["dice_std"], 3),
            spread(row["hd95_mean"], row["hd95_std"], 2),
        ]
        for course in courses
        for one in course.validations
        for region, row in one.summary.items()
    ]
    methods = dict.fromkeys(course.method for course in courses if course.method)
    theirs = [[f"the paper's {method}", "whole", "(best)", *paper.shown(method, 1)] for method in methods]
    return table(["run", "region", "step", "Dice", "HD95 mm"], [*rows, *theirs])


def _about(courses: Sequence[Course], scoring: Scoring) -> str:
    cases = sorted({len({score.case for score in one.scores}) for course in courses for one in course.validations})
    return (
        f"Ours: {' or '.join(map(str, cases))} validation cases; {scoring.titles()['hd95']}; ± is the standard "
        "deviation over cases. The best step is that of the highest mean Dice. The paper's best checkpoint "
        f"is scored on its test cases with one member. {paper.OF_WHAT}"
    )


def _draw(courses: Sequence[Course], path: Path) -> None:
    regions = list(dict.fromkeys(score.region for course in courses for score in course.validations[-1].scores))
    figure, places = grid(regions, courses[0].scoring)
    for (region, field), axes in places.items():
        for number, course in enumerate(courses):
            _draw_course(axes, course, region, field, colour(number))
        axes.set(xlabel="training step", xlim=(0, None), ylim=(0, 1) if field == "dice" else (0, None))
        tidy(axes)
    first = places[regions[0], FIELDS[0]]
    first.plot([], [], "ko", fillstyle="none", markersize=10, label="best checkpoint")
    first.legend(loc="lower right")
    save(figure, path)


def _draw_course(axes: Axes, course: Course, region: str, field: str, shade: str) -> None:
    """Draw the mean over the cases, each case as a dot, and a ring where the best checkpoint is."""
    steps, means = [], []
    for one in course.validations:
        values = [getattr(score, field) for score in by_region(one.scores).get(region, [])]
        if not values:
            continue
        axes.plot([one.step] * len(values), values, ".", color=shade, alpha=0.35)
        steps.append(one.step)
        means.append(sum(values) / len(values))
    axes.plot(steps, means, "-", color=shade, linewidth=2, label=course.name)
    if course.best in steps:
        axes.plot(course.best, means[steps.index(course.best)], "o", color=shade, fillstyle="none", markersize=10)


if __name__ == "__main__":
    main()
