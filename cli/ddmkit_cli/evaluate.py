"""`ddmkit evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddmkit_cli.console import bars, out, say
from ddmkit_cli.options import layout_of, of_kind, refuse_fixed
from ddmkit_cli.scored_task import scored_task
from ddmkit_cli.tables import score_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddmkit import Case, Registry, Task
    from ddmkit.run.answers import Answered, Record
    from ddmkit.run.evaluation import Pair
    from ddmkit.scoring import Score

EXAMPLES = "Example: [bold]ddmkit evaluate answers/ --reference BraTS2020/ --json scores.json[/bold]"


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of CASE_seg.nii.gz files.", metavar="PREDICTIONS")],
    reference: Annotated[Path, typer.Option(help="Folder of cases with references.", metavar="PATH")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the scores here.", metavar="FILE")
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
    option: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="KIND.FIELD=VALUE", help="Settings of the dataset or the task. Repeatable."),
    ] = None,
    *,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without cases that cannot be scored.")] = False,
) -> None:
    """Score answers against references: Dice and HD95 per case and region.

    HD95 is in mm, with the spacing of the files, both directions pooled. An empty answer to a case with something to
    find scores Dice 0 and the volume's diagonal, and is counted as missed.
    """
    from ddmkit import DataError, Registry
    from ddmkit.files import write_text
    from ddmkit.labels import classes_of
    from ddmkit.run.cases import Place, find_cases
    from ddmkit.run.evaluation import Meanings, match, score_pair
    from ddmkit.scoring import DEFINITION, summarise

    registry, options = Registry(), option or []
    refuse_fixed(options, ("dataset", "task"), "is no setting of the layout or the task")
    layout = layout_of(registry, reference, dataset, options)
    cases, wrong = find_cases(layout, reference)
    named = {case.name: case for case in cases}
    pairs, unlabelled = match(predictions, named, wrong, Place(layout, reference), skip_bad=skip_bad)
    given = None if labels is None else _meaning(registry, labels)
    record = _record(predictions, needed=given is None)
    meanings = Meanings.of(registry, predictions, given, record.cases)
    compared = [(classes_of(meanings.labels(case)), case.classes) for _, case in pairs]
    asked = scored_task(registry, task, of_kind(options, "task"), record.task, compared)
    _note_missing(cases, pairs, unlabelled)
    _note_ignored(asked, [meanings.labels(pair.case) for pair in pairs] + [pair.case.labels for pair in pairs])
    _note_trained(meanings.answered, pairs)
    scores: list[Score] = []
    with bars() as progress:
        for number, pair in enumerate(pairs, start=1):
            try:
                scores += score_pair(pair, meanings.labels(pair.case), asked)
            except DataError as error:
                if not skip_bad:
                    raise
                say(f"warning: left out {pair.case.name}: {error}")
            progress("cases scored", number, len(pairs))
    if not scores:
        msg = f"No prediction under {predictions} could be scored; the warnings above say why."
        raise DataError(msg)
    _note_untold(asked, scores)
    summary = summarise(scores)
    out.print(score_table(f"{predictions} against {reference}", scores, summary))
    out.print("; ".join(f"{name}: {meaning}" for name, meaning in DEFINITION.items()), style="dim")
    if json_file is not None:
        written = {
            "task": asked.tree(),
            "definition": DEFINITION,
            "cases": [score._asdict() for score in scores],
            "summary": summary,
        }
        write_text(json_file, json.dumps(written, indent=2, allow_nan=False) + "\n")


def _record(predictions: Path, *, needed: bool) -> Record:
    """Return what a sampling wrote down, if it did and, where it is not needed, if it can be read."""
    from ddmkit import DataError
    from ddmkit.run.answers import NO_RECORD, read_record

    try:
        return read_record(predictions)
    except DataError:
        if needed:
            raise
        return NO_RECORD


def _meaning(registry: Registry, labels: str) -> Mapping[int, str]:
    """Read what --labels says: the name of a layout whose numbers always mean the same, or the numbers themselves."""
    from ddmkit import ConfigurationError, Dataset
    from ddmkit_plugins.datasets.vocabulary import tissue

    if "=" in labels:
        pairs = [pair.partition("=") for pair in labels.split(",")]
        if all(number.strip().isdecimal() and name.strip() for number, _, name in pairs):
            numbers = {int(number): tissue(name) for number, _, name in pairs}
            if len(numbers) == len(pairs):
                return {number: name for number, name in numbers.items() if number}
    elif (known := registry.get(Dataset, labels).labels) is not None:
        return known
    fixed = ", ".join(name for name in registry.names(Dataset) if registry.get(Dataset, name).labels)
    msg = (
        f"--labels {labels} says no meanings: give one of {fixed}, or numbers, each once, such as "
        "1=necrotic,2=edema,4=enhancing."
    )
    raise ConfigurationError(msg)


def _note_missing(cases: Sequence[Case], pairs: Sequence[Pair], unlabelled: Sequence[str]) -> None:
    from ddmkit.run.cases import few

    scored = {pair.case.name for pair in pairs}
    labelled = [case.name for case in cases if case.reference is not None]
    missing = [name for name in labelled if name not in scored]
    if missing:
        say(f"{len(missing)} of {len(labelled)} references have no prediction: {few(missing)}.")
    if unlabelled:
        say(f"{len(unlabelled)} predictions have no reference and are not scored: {few(unlabelled)}.")


def _note_ignored(task: Task, meanings: Sequence[Mapping[int, str]]) -> None:
    from ddmkit.run.evaluation import unscored_classes

    ignored = sorted({name for labels in meanings for name in unscored_classes(labels, task)})
    if ignored:
        say(f"Counted as background, since the task {task.name!r} scores no region of it: {', '.join(ignored)}.")


def _note_trained(answered: Mapping[str, Answered], pairs: Sequence[Pair]) -> None:
    """Warn of scores that say nothing about new cases."""
    from ddmkit.run.cases import few

    names = [pair.case.name for pair in pairs]
    trained = [name for name in names if name in answered and answered[name].split == "train"]
    if trained:
        say(
            f"warning: {len(trained)} of the {len(pairs)} scored cases were training cases of the run: "
            f"{few(trained)}. Sample with --split test to score new ones only."
        )


def _note_untold(task: Task, scores: Sequence[Score]) -> None:
    scored = {score.region for score in scores}
    untold = [region for region in task.regions if region not in scored]
    if untold:
        say(f"Not scored, since predictions or references do not tell them: {', '.join(untold)}.")
