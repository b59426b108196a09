"""`ddmkit evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ddmkit_cli.console import bars, out, say
from ddmkit_cli.options import layout_of
from ddmkit_cli.tables import score_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddmkit import Case, Registry, Task
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
    dataset: Annotated[
        str | None, typer.Option(help="Layout of the reference folder. [default: told by looking]", metavar="D")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="What the predictions' numbers mean: a layout's name, or 1=necrotic,2=edema,… "
            "[default: what sample.json says, else as in the references]",
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("-o", metavar="DATASET.FIELD=VALUE", help="Settings of the layout. Repeatable.")
    ] = None,
) -> None:
    """Score answers against references: Dice and HD95 per case and region.

    HD95 is in mm, with the spacing of the files, both directions pooled. An empty answer to a case with something to
    find scores Dice 0 and the volume's diagonal, and is counted as missed.
    """
    from ddmkit import Registry, Task
    from ddmkit.assembly import component
    from ddmkit.files import write_text
    from ddmkit.run.cases import find_cases
    from ddmkit.run.plan import labelled_cases
    from ddmkit.scoring import DEFINITION, summarise

    registry = Registry()
    layout = layout_of(registry, reference, dataset, option or [])
    asked = component(registry, Task, task)
    cases, wrong = find_cases(layout, reference)
    cases = labelled_cases(cases, reference) if cases else []
    pairs = _pairs(predictions, {case.name: case for case in cases}, wrong, reference)
    record = _record(predictions)
    meanings = _Meanings(predictions, record, None if labels is None else _meaning(registry, labels))
    _note_missing(cases, pairs)
    _note_trained(record, pairs)
    scores: list[Score] = []
    with bars() as progress:
        for number, (path, case) in enumerate(pairs, start=1):
            scores += _score(path, case, meanings.of(case), asked)
            progress("cases scored", number, len(pairs))
    _note_untold(asked, scores)
    summary = summarise(scores)
    out.print(score_table(f"{predictions} against {reference}", scores, summary))
    out.print("; ".join(f"{name}: {meaning}" for name, meaning in DEFINITION.items()), style="dim")
    if json_file is not None:
        result = {"definition": DEFINITION, "cases": [score._asdict() for score in scores], "summary": summary}
        write_text(json_file, json.dumps(result, indent=2, allow_nan=False) + "\n")


def _pairs(
    predictions: Path, cases: Mapping[str, Case], wrong: Mapping[str, str], reference: Path
) -> list[tuple[Path, Case]]:
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
        if name in wrong:
            raise DataError(wrong[name])
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
    msg = f"Cannot read {path}: {reason}; remove it to read the answers' numbers as the references'."
    raise DataError(msg)


class _Meanings(NamedTuple):
    """What the numbers of predictions mean."""

    predictions: Path
    record: Mapping[str, Any] | None
    """What a sampling wrote about them."""
    given: Mapping[int, str] | None
    """What the command line says."""

    def of(self, case: Case) -> Mapping[int, str]:
        """Return the meaning of each number in the prediction of a case.

        Raises:
            DataError: the record has something about the case, but not this.
        """
        from ddmkit import DataError

        if self.given is not None:
            return self.given
        if self.record is None or case.name not in self.record.get("cases", {}):
            return case.labels
        try:
            return {int(number): str(name) for number, name in self.record["cases"][case.name]["answers"].items()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            msg = (
                f"{self.predictions / 'sample.json'} does not say what the numbers of the answer to {case.name} mean "
                f"({error!r}); say it with --labels, or remove the file to read them as the reference's."
            )
            raise DataError(msg) from error


def _meaning(registry: Registry, labels: str) -> Mapping[int, str]:
    """Read what --labels says: the name of a layout whose numbers always mean the same, or the numbers themselves."""
    from ddmkit import ConfigurationError, Dataset

    if "=" in labels:
        pairs = [pair.partition("=") for pair in labels.split(",")]
        if all(number.strip().isdecimal() and name.strip() for number, _, name in pairs):
            return {int(number): name.strip() for number, _, name in pairs}
    elif (known := registry.get(Dataset, labels).labels) is not None:
        return known
    fixed = ", ".join(name for name in registry.names(Dataset) if registry.get(Dataset, name).labels)
    msg = f"--labels {labels} says no meanings: give one of {fixed}, or numbers such as 1=necrotic,2=edema,4=enhancing."
    raise ConfigurationError(msg)


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


def _note_untold(task: Task, scores: Sequence[Score]) -> None:
    scored = {score.region for score in scores}
    untold = [region for region in task.regions if region not in scored]
    if untold:
        say(f"Not scored, since predictions or references do not tell them: {', '.join(untold)}.")


def _score(path: Path, case: Case, labels: Mapping[int, str], task: Task) -> list[Score]:
    from ddmkit import DataError
    from ddmkit.scoring import Segmentation, score_case, told
    from ddmkit.volume import check_same_grid, read_header, read_labels, spacing_of

    assert case.reference is not None  # noqa: S101 - only labelled cases are paired
    header = read_header(case.reference)
    check_same_grid(case, case.reference, header, path, read_header(path))
    classes = ("background", *dict.fromkeys(labels.values()))
    regions = told(task.regions, classes, case.classes)
    if not regions:
        msg = (
            f"Case {case.name}: the prediction knows {', '.join(classes[1:])} and the reference "
            f"{', '.join(case.classes[1:])}, which have no region of the task {task.name!r} in common; say with "
            "--labels what the prediction's numbers mean, or choose another --task."
        )
        raise DataError(msg)
    return score_case(
        case.name,
        Segmentation(read_labels(path, labels), classes),
        Segmentation(read_labels(case.reference, case.labels), case.classes),
        regions,
        spacing_of(header.affine),
    )
