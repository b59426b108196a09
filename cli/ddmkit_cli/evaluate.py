"""`ddmkit evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddmkit_cli.console import bars, out, say
from ddmkit_cli.tables import score_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddmkit import Case, Task
    from ddmkit.scoring import Score

EXAMPLES = "Example: [bold]ddmkit evaluate answers/ --reference BraTS2020/ --json scores.json[/bold]"
_NAMED = 5
"""Cases that a note names, at most."""
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
    record = _record(predictions)
    answers = layout.labels if record is None else _answers(predictions, record)
    _note_missing(cases, pairs)
    _note_trained(record, pairs)
    scores: list[Score] = []
    with bars() as progress:
        for number, (path, case) in enumerate(pairs, start=1):
            scores += _score(path, case, answers, layout.labels, asked)
            progress("cases scored", number, len(pairs))
    summary = summarise(scores)
    out.print(score_table(f"{predictions} against {reference}", scores, summary))
    out.print("; ".join(f"{name}: {meaning}" for name, meaning in DEFINITION.items()), style="dim")
    if json_file is not None:
        result = {"definition": DEFINITION, "cases": [score._asdict() for score in scores], "summary": summary}
        write_text(json_file, json.dumps(result, indent=2, allow_nan=False) + "\n")


def _pairs(predictions: Path, cases: Mapping[str, Case], reference: Path) -> list[tuple[Path, Case]]:
    """Match files by case name; what a sampling wrote beside its answers (_mean, _var) is no prediction."""
    from ddmkit import DataError

    if not predictions.is_dir():
        msg = f"{predictions} is no folder; give the one that ddmkit sample --out wrote."
        raise DataError(msg)
    files = sorted(path for path in predictions.iterdir() if not path.name.startswith("."))
    sampled = any(path.name.endswith(_SUFFIXES[:2]) for path in files)
    suffixes = _SUFFIXES[:2] if sampled else _SUFFIXES
    found: list[tuple[Path, Case]] = []
    for path in files:
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


def _record(predictions: Path) -> dict[str, Any] | None:
    """Return what a sampling wrote about its answers; None where another program made them."""
    from ddmkit import DataError

    path = predictions / "sample.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
        reason = "no mapping"
    except (OSError, ValueError) as error:
        reason = str(error)
    msg = f"Cannot read {path}: {reason}; remove it to read the answers' numbers as the dataset's."
    raise DataError(msg)


def _answers(predictions: Path, record: Mapping[str, Any]) -> dict[int, str]:
    """Return what the numbers of a sampling's answers mean."""
    from ddmkit import DataError

    try:
        return {int(number): str(name) for number, name in record["answers"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        msg = (
            f"{predictions / 'sample.json'} does not say what the answers' numbers mean ({error}); remove it to read "
            "them as the dataset's."
        )
        raise DataError(msg) from error


def _note_missing(cases: Sequence[Case], pairs: Sequence[tuple[Path, Case]]) -> None:
    scored = {case.name for _, case in pairs}
    missing = [case.name for case in cases if case.name not in scored]
    if missing:
        say(f"{len(missing)} of {len(cases)} references have no prediction: {_some(missing)}.")


def _note_trained(record: Mapping[str, Any] | None, pairs: Sequence[tuple[Path, Case]]) -> None:
    """Warn of scores that say nothing about new cases."""
    sampled = (record or {}).get("cases")
    facts: dict[str, Any] = sampled if isinstance(sampled, dict) else {}
    splits = {name: fact.get("split") for name, fact in facts.items() if isinstance(fact, dict)}
    trained = [case.name for _, case in pairs if splits.get(case.name) == "train"]
    if trained:
        say(
            f"warning: {len(trained)} of the {len(pairs)} scored cases were training cases of the run: "
            f"{_some(trained)}. Sample with --split test to score new ones only."
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


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
