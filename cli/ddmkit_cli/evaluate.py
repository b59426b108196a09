"""`ddmkit evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddmkit_cli.console import out, say
from ddmkit_cli.options import layout_of, of_kind, refuse_fixed
from ddmkit_cli.predictions import (
    Predictions,
    References,
    facts_of,
    keep_shared,
    note,
    note_untold,
    open_predictions,
    score_all,
)
from ddmkit_cli.reliability import NAMES, Measured, measure_beside, print_reliability
from ddmkit_cli.scored_task import scored_task
from ddmkit_cli.tables import comparison_table, print_definition, print_scores
from ddmkit_cli.volumes import evaluate_volumes, refuse_by_case, volume_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddmkit import LabelTask, Registry
    from ddmkit.comparison import Comparison
    from ddmkit.definition import Scoring
    from ddmkit.scoring import Score

EXAMPLES = (
    "Examples: [bold]ddmkit evaluate answers/ --reference BraTS2020/ --json scores.json[/bold] · "
    "[bold]ddmkit evaluate answers/ --reference BraTS2020/ --against baseline/[/bold] (case by case) · "
    "[bold]ddmkit evaluate answers/ --reference BraTS2020/ -o scoring.hd95=maximum -o scoring.tolerance=2[/bold]"
)
_FREE = ("dataset", "task", "scoring")


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="Folder of CASE_seg.nii.gz files, or of generated volumes.", metavar="PREDICTIONS")
    ],
    reference: Annotated[Path, typer.Option(help="Folder of cases with references.", metavar="PATH")],
    against: Annotated[
        Path | None,
        typer.Option(help="Folder of other predictions of the same cases, to compare with.", metavar="PREDICTIONS"),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the scores here.", metavar="FILE")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the scores here, as PNG.", metavar="FILE")] = None,
    reliability: Annotated[
        Path | None,
        typer.Option(help="Also draw here, as PNG, how often voxels are what their mean says.", metavar="FILE"),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Whose regions are scored. [default: the task that sample.json beside them says, else brats if it "
            "fits the references, else a segmentation of all classes that both sides name]",
            metavar="T",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Layout of the reference folder. [default: told by looking]", metavar="D")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="What the predictions' numbers mean: a layout's name, or 1=necrotic,2=edema,… "
            "[default: what sample.json or dataset.json beside them says, else as in the references]",
        ),
    ] = None,
    against_labels: Annotated[
        str | None, typer.Option(help="What the numbers in the folder of --against mean, likewise.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="KIND.FIELD=VALUE",
            help=f"Settings of {', '.join(_FREE)}, as in scoring.tolerance=2. Repeatable.",
        ),
    ] = None,
    *,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without cases that cannot be scored.")] = False,
) -> None:
    """Score answers against references: Dice, HD95 and surface Dice per case and region, and their means.

    Which definitions the numbers follow is printed and written beside them; ddmkit plugins show scoring lists the
    others. Distances are in mm, with the spacing of the files. An empty answer to a case with something to find scores
    Dice 0, surface Dice 0 and the volume's diagonal, and is counted as missed.
    Beside answers of ddmkit sample, the means are compared with how often their voxels are foreground.
    Volumes of a task that generates are judged as a set, beside the images of all cases under --reference.
    """
    from ddmkit import Registry
    from ddmkit.assembly import section
    from ddmkit.definition import Scoring
    from ddmkit.run.cases import Place

    registry, options = Registry(), option or []
    refuse_fixed(options, _FREE, "is no setting of the layout, the task or the scores")
    _refuse_unused(against, against_labels)
    scoring = section(Scoring, "scoring", of_kind(options, "scoring"))
    layout = layout_of(registry, reference, dataset, options)
    generating = volume_task(registry, task, of_kind(options, "task"), predictions)
    if generating is not None:
        flags = {"--against": against, "--picture": picture, "--reliability": reliability, "--labels": labels}
        refuse_by_case(generating, flags)
        evaluate_volumes(generating, predictions, Place(layout, reference), scoring, json_file, skip_bad=skip_bad)
        return
    references = References.under(layout, reference)
    sides = [open_predictions(registry, predictions, references, labels, skip_bad=skip_bad)]
    if against is not None:
        sides.append(open_predictions(registry, against, references, against_labels, skip_bad=skip_bad))
        sides = keep_shared(sides[0], sides[1], skip_bad=skip_bad)
    asked = _task(registry, task, options, sides)
    for side in sides:
        note(side, asked)
    scores, left_out = score_all(sides, asked, scoring, skip_bad=skip_bad)
    maps = [measure_beside(registry, side, [name for name in side.pairs if name not in left_out]) for side in sides]
    for side, of_side, of_maps in zip(sides, scores, maps, strict=True):
        note_untold(asked, of_side)
        print_scores(f"{side.path} against {reference}", of_side, scoring.figures())
        print_reliability(f"Calibration of the maps in {side.path}", of_maps)
    comparison = _compared(sides, scores, scoring) if against is not None else None
    definition = _definition(scoring, comparison, maps)
    print_definition(definition)
    if json_file is not None:
        facts = [
            facts_of(side, of_side, left_out) | of_maps.facts()
            for side, of_side, of_maps in zip(sides, scores, maps, strict=True)
        ]
        _write(json_file, asked, scoring, {"definition": definition, **facts[0]}, facts[1:], comparison)
    if picture is not None:
        _draw(picture, sides, scores, scoring)
    if reliability is not None:
        _draw_reliability(reliability, sides, maps)


def _refuse_unused(against: Path | None, against_labels: str | None) -> None:
    from ddmkit import ConfigurationError

    if against is None and against_labels is not None:
        msg = (
            f"--against-labels {against_labels} says what numbers in the folder of --against mean: add --against PATH."
        )
        raise ConfigurationError(msg)


def _task(registry: Registry, name: str | None, options: Sequence[str], sides: Sequence[Predictions]) -> LabelTask:
    """Return the task of all folders: what is not named is what the first that was sampled was sampled for."""
    sampled = next((side.record.task for side in sides if side.record.task is not None), None)
    compared = [pair for side in sides for pair in side.compared]
    return scored_task(registry, name, of_kind(options, "task"), sampled, compared)


def _compared(
    sides: Sequence[Predictions], scores: Sequence[Sequence[Score]], scoring: Scoring
) -> dict[str, Comparison]:
    """Compare two folders, print it, and say what only one of them tells."""
    from ddmkit.comparison import compare, unpaired
    from ddmkit.run.cases import few

    comparison, alone = compare(*scores), unpaired(*scores)
    if alone:
        named = few([f"{region} of {case}" for case, region in alone])
        say(f"{len(alone)} scores are not compared, since only one of the folders tells the region: {named}.")
    one, other = (side.path for side in sides)
    out.print(comparison_table(f"A - B, case by case; A: {one}, B: {other}", comparison, scoring))
    return comparison


def _definition(scoring: Scoring, comparison: dict[str, Comparison] | None, maps: Sequence[Measured]) -> dict[str, str]:
    from ddmkit.comparison import COMPARISON_DEFINITION
    from ddmkit.reliability import RELIABILITY_DEFINITION

    reliability = RELIABILITY_DEFINITION if any(of_maps.counts for of_maps in maps) else {}
    return scoring.definition() | ({} if comparison is None else COMPARISON_DEFINITION) | reliability


def _write(
    path: Path,
    task: LabelTask,
    scoring: Scoring,
    facts: dict[str, Any],
    against: Sequence[dict[str, Any]],
    comparison: dict[str, Comparison] | None,
) -> None:
    from ddmkit.files import write_text

    written = {"task": task.tree(), "scoring": scoring.model_dump(mode="json"), **facts}
    if comparison is not None:
        written["against"] = {**against[0], "differences": comparison}
    write_text(path, json.dumps(written, indent=2, allow_nan=False) + "\n")


def _draw(path: Path, sides: Sequence[Predictions], scores: Sequence[Sequence[Score]], scoring: Scoring) -> None:
    from ddmkit_cli.score_picture import draw_scores

    draw_scores(path, {str(side.path): of_side for side, of_side in zip(sides, scores, strict=True)}, scoring)


def _draw_reliability(path: Path, sides: Sequence[Predictions], maps: Sequence[Measured]) -> None:
    """Draw the maps of all folders.

    Raises:
        DataError: they have none.
    """
    from ddmkit import DataError
    from ddmkit_cli.reliability_picture import draw_reliability

    lines = {
        f"{side.path}: {NAMES[what]}": of_map
        for side, of_maps in zip(sides, maps, strict=True)
        for what, of_map in of_maps.reliabilities().items()
    }
    if not lines:
        folders = " and ".join(str(side.path) for side in sides)
        msg = f"{folders} holds no mean maps to draw: leave out --reliability {path}, or give what ddmkit sample wrote."
        raise DataError(msg)
    draw_reliability(path, lines)
