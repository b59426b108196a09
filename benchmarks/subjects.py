"""Runs that an experiment asks about the same cases, found and checked before the first is asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ddmkit import Registry
from ddmkit.assembly import assemble
from ddmkit.detection import recognise
from ddmkit.errors import ConfigurationError, DataError
from ddmkit.run.answers import Asked, refuse_strangers
from ddmkit.run.cases import Place, refuse_or_skip, usable_cases
from ddmkit.run.folder import RunFolder
from ddmkit.scoring import told
from ddmkit.store import Store
from ddmkit.task import label_task
from ddmkit_cli.options import refuse_fixed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

FREE = ("sampler", "sampling", "engine", "scoring")
"""Kinds and sections whose settings fit a trained network, whatever they are."""
_SPLITS = ("train", "validation", "test")
_COUNT = re.compile(r"[1-9][0-9]*")


class Question(NamedTuple):
    """What runs are asked."""

    data: Path
    split: str
    """Of the run."""
    cases: str | None
    """So many, the first, or names; None: all of the split."""
    options: Sequence[str]
    """Over the run's settings, as given to -o."""
    skip_bad: bool
    """Whether to go on without the cases that cannot be used."""


class Subject(NamedTuple):
    """A run that is asked, and about what."""

    name: str
    """Tells it from the others."""
    registry: Registry
    configuration: Configuration
    weights: Path
    """Folder of the best checkpoint."""
    cases: list[StoredCase]
    """All with a reference."""

    def with_steps(self, steps: int) -> Subject:
        """Return the same run, sampling with another number of steps.

        Raises:
            ConfigurationError: the schedule has fewer.
        """
        return self._replace(configuration=_changed(self.registry, self.configuration, [f"sampler.steps={steps}"]))


def find_subjects(runs: Sequence[Path], question: Question, progress: Callable[[str, int, int], None]) -> list[Subject]:
    """Find runs and cases; whatever is wrong with any of them is said before hours of work.

    Args:
        runs: their folders.
        question: what they are asked.
        progress: told of cases that are read.

    Raises:
        ConfigurationError: a folder is no run, a setting does not fit, or a case is not there.
        CheckpointError: a run has no best checkpoint yet.
        DataError: a case cannot be used or has no reference.
    """
    registry = Registry()
    names = names_of(runs)
    subjects = [
        _find(registry, name, RunFolder(run), question, progress) for name, run in zip(names, runs, strict=True)
    ]
    _refuse_several_scorings(subjects)
    return subjects


def _refuse_several_scorings(subjects: Sequence[Subject]) -> None:
    first = subjects[0]
    for subject in subjects:
        scoring = first.configuration.scoring
        if subject.configuration.scoring != scoring:
            msg = (
                f"The runs {first.name} and {subject.name} score by different definitions: add "
                f"-o scoring.hd95={scoring.hd95} -o scoring.tolerance={scoring.tolerance:g} for all."
            )
            raise ConfigurationError(msg)


def names_of(runs: Sequence[Path]) -> list[str]:
    """Return what tells runs apart: the names of their folders, or else their paths.

    Raises:
        ConfigurationError: one is there twice.
    """
    paths = [run.resolve() for run in runs]
    for run, path in zip(runs, paths, strict=True):
        if paths.count(path) > 1:
            msg = f"The run {run} is named twice: name each once."
            raise ConfigurationError(msg)
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else list(map(str, runs))


def _find(
    registry: Registry, name: str, folder: RunFolder, question: Question, progress: Callable[[str, int, int], None]
) -> Subject:
    refuse_fixed(question.options, FREE, "does not fit a trained network")
    configuration = _changed(registry, folder.configuration(registry), question.options)
    weights = folder.find_checkpoint("best")
    cases = _cases(registry, configuration, _asked(folder, question), question, lambda *done: progress(name, *done))
    return Subject(name, registry, configuration, weights, cases)


def _changed(registry: Registry, configuration: Configuration, options: Sequence[str]) -> Configuration:
    return assemble(registry, base=[configuration.tree()], options=options)


def _asked(folder: RunFolder, question: Question) -> Asked:
    cases = question.cases
    if cases is not None and not _COUNT.fullmatch(cases):
        return Asked([name.strip() for name in cases.split(",") if name.strip()], f"--cases {cases}")
    names = folder.split().get(question.split, [])
    if not names:
        msg = f"The run {folder.path} has no {question.split} cases: give --split another of {', '.join(_SPLITS)}."
        raise ConfigurationError(msg)
    return Asked(names if cases is None else names[: int(cases)], f"--split {question.split}")


def _cases(
    registry: Registry,
    configuration: Configuration,
    asked: Asked,
    question: Question,
    progress: Callable[[int, int], None],
) -> list[StoredCase]:
    layout, data = recognise(registry, question.data, configuration.dataset), question.data
    place, skip_bad = Place(layout, data), question.skip_bad
    found = usable_cases(layout, data, configuration.task.modalities)
    there = {case.name: case for case in found.cases}
    refuse_strangers(asked, sorted(there.keys() | found.wrong.keys()), data)
    wrong = {name: found.wrong[name] for name in asked.names if name in found.wrong}
    refuse_or_skip(wrong, len(asked.names), place, skip_bad=skip_bad)
    chosen = [there[name] for name in asked.names if name in there]
    opened = Store(configuration).open_all(chosen, progress)
    refuse_or_skip(opened.wrong, len(chosen), place, skip_bad=skip_bad)
    for case in opened.cases:
        _refuse_unscored(configuration, case, data)
    return opened.cases


def _refuse_unscored(configuration: Configuration, case: StoredCase, data: Path) -> None:
    if case.case.reference is None:
        msg = f"Case {case.name} under {data} has no reference to be scored by: name others with --cases."
        raise DataError(msg)
    task, classes = label_task(configuration.task), case.case.classes
    if not told(task.regions, ("background", *task.answers), classes):
        msg = (
            f"The reference of case {case.name} knows {', '.join(classes[1:])}, which tells none of the run's regions "
            f"({', '.join(task.regions)}): give the data that the run was made for."
        )
        raise DataError(msg)
