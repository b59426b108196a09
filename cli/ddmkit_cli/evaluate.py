"""`ddmkit evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddmkit_cli.console import bars, out
from ddmkit_cli.tables import score_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddmkit import Case, Task
    from ddmkit.scoring import Score

EXAMPLES = "Example: [bold]ddmkit evaluate answers/ --reference BraTS2020/ --json scores.json[/bold]"
_SUFFIXES = ("_seg.nii.gz", "_seg.nii", ".nii.gz", ".nii")


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of CASE_seg.nii.gz files.", metavar="PREDICTIONS")],
    reference: Annotated[Path, typer.Option(help="Folder of cases with references.", metavar="PATH")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the scores here.", metavar="FILE")
    ] = None,
    task: Annotated[str, typer.Option(help="Whose regions are scored.")] = "brats",
    dataset: Annotated[str, typer.Option(help="Layout of the reference folder.")] = "brats",
) -> None:
    """Score answers against references: Dice and HD95 per case and region.

    HD95 is in mm, with the spacing of the files, both directions pooled. An empty answer to a case with something to
    find scores Dice 0 and the volume's diagonal, and is counted as missed.
    """
    from ddmkit import Dataset, Registry, Task
    from ddmkit.assembly import make
    from ddmkit.files import write_text
    from ddmkit.run.plan import labelled_cases
    from ddmkit.scoring import DEFINITION, summarise

    registry = Registry()
    layout = make(registry.get(Dataset, dataset), "dataset", {})
    asked = make(registry.get(Task, task), "task", {})
    cases, _ = labelled_cases(layout, reference)
    pairs = _pairs(predictions, {case.name: case for case in cases}, reference)
    answers = _answers(predictions) or layout.labels
    scores: list[Score] = []
    with bars() as progress:
        for number, (path, case) in enumerate(pairs, start=1):
            scores += _score(path, case, answers, layout.labels, asked)
            progress("cases scored", number, len(pairs))
    summary = summarise(scores)
    out.print(score_table(f"{predictions} against {reference}", scores, summary))
    out.print("; ".join(f"{name}: {meaning}" for name, meaning in DEFINITION.items()), style="dim", markup=False)
    if json_file is not None:
        result = {"definition": DEFINITION, "cases": [score._asdict() for score in scores], "summary": summary}
        write_text(json_file, json.dumps(result, indent=2, allow_nan=False) + "\n")


def _pairs(predictions: Path, cases: Mapping[str, Case], reference: Path) -> list[tuple[Path, Case]]:
    """Match files by case name; what a sampling wrote beside its answers (_mean, _var) is no prediction."""
    from ddmkit import DataError

    if not predictions.is_dir():
        msg = f"{predictions} is no folder; give the one that ddmkit sample --out wrote."
        raise DataError(msg)
    sampled = any(path.name.endswith(_SUFFIXES[:2]) for path in predictions.iterdir())
    suffixes = _SUFFIXES[:2] if sampled else _SUFFIXES
    found: list[tuple[Path, Case]] = []
    for path in sorted(predictions.iterdir()):
        suffix = next((suffix for suffix in suffixes if path.name.endswith(suffix)), None)
        if suffix is None:
            continue
        name = path.name.removesuffix(suffix)
        if name not in cases:
            msg = f"{path} answers the case {name!r}, which has no reference under {reference}."
            raise DataError(msg)
        found.append((path, cases[name]))
    if not found:
        msg = f"{predictions} holds no answer: looked for CASE_seg.nii.gz and CASE.nii.gz."
        raise DataError(msg)
    return found


def _answers(predictions: Path) -> dict[int, str] | None:
    """Return what the numbers of a sampling's answers mean; None where another program made them."""
    from ddmkit import DataError

    record = predictions / "sample.json"
    if not record.is_file():
        return None
    try:
        return {int(number): str(name) for number, name in json.loads(record.read_text())["answers"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        msg = (
            f"{record} does not say what the answers' numbers mean ({error}); remove it to read them as the dataset's."
        )
        raise DataError(msg) from error


def _score(path: Path, case: Case, answers: Mapping[int, str], labels: Mapping[int, str], task: Task) -> list[Score]:
    from ddmkit.scoring import Segmentation, score_case
    from ddmkit.volume import check_same_grid, read_header, read_labels, spacing_of

    assert case.labels is not None  # noqa: S101 - only labelled cases are paired
    header = read_header(case.labels)
    check_same_grid(case, case.labels, header, path, read_header(path))
    return score_case(
        case.name,
        Segmentation(read_labels(path, answers), ("background", *answers.values())),
        Segmentation(read_labels(case.labels, labels), ("background", *labels.values())),
        task.regions,
        spacing_of(header.affine),
    )
