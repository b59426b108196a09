"""Folders of predictions: matched with their references, read by what their numbers mean, scored together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ddmkit_cli.console import bars, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddmkit import Case, Dataset, LabelTask, Registry
    from ddmkit.definition import Scoring
    from ddmkit.run.answers import Record
    from ddmkit.run.cases import Place
    from ddmkit.run.evaluation import Meanings, Pair
    from ddmkit.scoring import Score


class References(NamedTuple):
    """What predictions are compared with."""

    place: Place
    cases: Sequence[Case]
    wrong: Mapping[str, str]
    """Why other cases cannot be used, by name."""

    @classmethod
    def under(cls, layout: Dataset, path: Path) -> References:
        """Find the cases in a folder."""
        from ddmkit.run.cases import Place, find_cases

        return cls(Place(layout, path), *find_cases(layout, path))


class Predictions(NamedTuple):
    """A folder of predictions."""

    path: Path
    pairs: Mapping[str, Pair]
    """With their references, by case."""
    meanings: Meanings
    record: Record
    """What the sampling that made them wrote down, if one did."""
    missing: Sequence[str]
    """References without a prediction."""
    unlabelled: Sequence[str]
    """Predictions without a reference."""
    left_out: Mapping[str, str]
    """Why others are left out, by name."""

    @property
    def compared(self) -> list[tuple[Sequence[str], Sequence[str]]]:
        """For each prediction its classes and those of its reference."""
        from ddmkit.labels import classes_of

        return [(classes_of(self.meanings.labels(pair.case)), pair.case.classes) for pair in self.pairs.values()]


def open_predictions(
    registry: Registry, path: Path, references: References, labels: str | None, *, skip_bad: bool
) -> Predictions:
    """Match the predictions in a folder, and find out what their numbers mean.

    Args:
        registry: where layouts are found.
        path: the folder.
        references: what they are compared with.
        labels: what the user says that their numbers mean, if anything.
        skip_bad: whether to go on without cases whose reference cannot be used.

    Raises:
        ConfigurationError: `labels` says no meanings.
        DataError: nothing can be matched, or what lies beside the predictions cannot be read.
    """
    from ddmkit.run.evaluation import Meanings, match

    named = {case.name: case for case in references.cases}
    matched = match(path, named, references.wrong, references.place, skip_bad=skip_bad)
    given = None if labels is None else _meaning(registry, labels)
    record = _record(path, needed=given is None)
    pairs = {pair.case.name: pair for pair in matched.pairs}
    missing = [case.name for case in references.cases if case.reference is not None and case.name not in pairs]
    meanings = Meanings.of(registry, path, given, record.cases)
    opened = Predictions(path, pairs, meanings, record, missing, matched.unlabelled, matched.left_out)
    _note_missing(opened)
    return opened


def keep_shared(one: Predictions, other: Predictions, *, skip_bad: bool) -> list[Predictions]:
    """Return both folders with the cases only that both answer.

    Raises:
        DataError: some are answered by one folder only and may not be skipped, or there is none that both answer.
    """
    from ddmkit import DataError

    alone = {
        name: f"answered in {mine.path} only"
        for mine, theirs in ((one, other), (other, one))
        for name in mine.pairs
        if name not in theirs.pairs
    }
    shared = [name for name in one.pairs if name in other.pairs]
    if alone and not (skip_bad and shared):
        raise DataError(_refusal(alone, len(shared)))
    for name, reason in alone.items():
        say(f"warning: left out {name}: {reason}")
    return [
        side._replace(
            pairs={name: side.pairs[name] for name in shared},
            left_out={**side.left_out, **{name: reason for name, reason in alone.items() if name in side.pairs}},
        )
        for side in (one, other)
    ]


def score_all(
    sides: Sequence[Predictions], task: LabelTask, scoring: Scoring, *, skip_bad: bool
) -> tuple[list[list[Score]], dict[str, str]]:
    """Score folders that answer the same cases, case by case.

    Args:
        sides: the folders.
        task: whose regions.
        scoring: the definitions that the scores follow.
        skip_bad: whether to leave out a case that cannot be scored, in all folders.

    Returns:
        The scores of each folder, and why cases were left out, by name.

    Raises:
        DataError: a case cannot be scored and may not be skipped, or none can.
    """
    from ddmkit import DataError

    scores: list[list[Score]] = [[] for _ in sides]
    left_out: dict[str, str] = {}
    names = list(sides[0].pairs)
    with bars() as progress:
        for number, name in enumerate(names, start=1):
            try:
                of_case = [_score(side, name, task, scoring) for side in sides]
            except DataError as error:
                if not skip_bad:
                    raise
                left_out[name] = str(error)
                say(f"warning: left out {name}: {error}")
            else:
                for of_side, more in zip(scores, of_case, strict=True):
                    of_side.extend(more)
            progress("cases scored", number, len(names))
    if len(left_out) == len(names):
        msg = f"No prediction under {sides[0].path} could be scored; the warnings above say why."
        raise DataError(msg)
    return scores, left_out


def note(side: Predictions, task: LabelTask) -> None:
    """Say which classes are not scored, and which scores say nothing about new cases."""
    _note_ignored(side, task)
    _note_trained(side)


def note_untold(task: LabelTask, scores: Sequence[Score]) -> None:
    """Say which regions could not be scored."""
    scored = {score.region for score in scores}
    untold = [region for region in task.regions if region not in scored]
    if untold:
        say(f"Not scored, since predictions or references do not tell them: {', '.join(untold)}.")


def facts_of(side: Predictions, scores: Sequence[Score], left_out: Mapping[str, str]) -> dict[str, Any]:
    """Return what is written down of one folder, as plain values: its scores, and what is not scored."""
    from ddmkit.summary import summarise

    return {
        "predictions": str(side.path),
        "cases": [score._asdict() for score in scores],
        "summary": summarise(scores),
        "without_prediction": list(side.missing),
        "without_reference": list(side.unlabelled),
        "left_out": {**side.left_out, **left_out},
    }


def _score(side: Predictions, name: str, task: LabelTask, scoring: Scoring) -> list[Score]:
    from ddmkit import DataError
    from ddmkit.run.evaluation import score_pair

    pair = side.pairs[name]
    try:
        return score_pair(pair, side.meanings.labels(pair.case), task, scoring)
    except DataError as error:  # the sentence names the case, and its file only by name, which two folders may share
        msg = f"Scoring {side.path}: {error}"
        raise DataError(msg) from error


def _refusal(left_out: Mapping[str, str], shared: int) -> str:
    from ddmkit.run.cases import few

    named = few([f"{name} ({reason})" for name, reason in left_out.items()])
    if not shared:
        return f"The two folders answer no case in common: {named}; give folders that answer the same cases."
    total = shared + len(left_out)
    return (
        f"{len(left_out)} of {total} cases are answered in one of the two folders only: {named}; answer the same cases "
        "in both, or compare those that both answer by adding --skip-bad."
    )


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
        f"{labels!r} says no meanings of labels: give one of {fixed}, or numbers, each once, such as "
        "1=necrotic,2=edema,4=enhancing."
    )
    raise ConfigurationError(msg)


def _note_missing(side: Predictions) -> None:
    from ddmkit.run.cases import few

    if side.missing:
        total = len(side.missing) + len(side.pairs)
        say(f"{len(side.missing)} of {total} references have no prediction in {side.path}: {few(side.missing)}.")
    if side.unlabelled:
        count, named = len(side.unlabelled), few(side.unlabelled)
        say(f"{count} predictions in {side.path} have no reference and are not scored: {named}.")


def _note_ignored(side: Predictions, task: LabelTask) -> None:
    from ddmkit.run.evaluation import unscored_classes

    cases = [pair.case for pair in side.pairs.values()]
    meanings = [side.meanings.labels(case) for case in cases] + [case.labels for case in cases]
    ignored = sorted({name for labels in meanings for name in unscored_classes(labels, task)})
    if ignored:
        say(f"Counted as background, since the task {task.name!r} scores no region of it: {', '.join(ignored)}.")


def _note_trained(side: Predictions) -> None:
    """Warn of scores that say nothing about new cases."""
    from ddmkit.run.cases import few

    answered = side.meanings.answered
    trained = [name for name in side.pairs if name in answered and answered[name].split == "train"]
    if trained:
        say(
            f"warning: {len(trained)} of the {len(side.pairs)} scored cases were training cases of the run: "
            f"{few(trained)}. Sample with --split test to score new ones only."
        )
