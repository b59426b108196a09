"""Answers on disk: which cases are asked about, the files that answer them, and what is written down about both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ddmkit.errors import ConfigurationError, DataError
from ddmkit.files import write_text
from ddmkit.labels import numbers_for
from ddmkit.run.cases import Place, few, refuse_or_skip, usable_cases
from ddmkit.store import Store
from ddmkit.task import VolumeTask
from ddmkit.volume import write_like

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ddmkit.calibration import Calibration
    from ddmkit.configuration import Configuration
    from ddmkit.dataset import Case, Dataset
    from ddmkit.sampling import Answer
    from ddmkit.stored_case import StoredCase
    from ddmkit.task import LabelTask, Task

RECORD = "sample.json"
"""What a sampling writes down beside its answers."""


class Asked(NamedTuple):
    """Cases that are asked for by name."""

    names: Sequence[str]
    by: str
    """What asked for them, such as "--cases"."""


class Questions(NamedTuple):
    """Cases that are to be answered."""

    cases: list[StoredCase]
    labelled: list[str]
    """The names of those whose answers can be scored: they have a reference or, where those are volumes, all images."""


class Answered(NamedTuple):
    """What is written down about the answer to one case."""

    seconds: float
    voxels: int | None
    """That are no background; None where the answers are volumes."""
    split: str | None
    """Which part of the run the case was in, if any."""
    answers: Mapping[str, str]
    """What each number in the answer means, if it is of labels; JSON has no numbers for keys."""
    members: int
    """That it took."""
    settled: bool
    """Whether more members had ceased to change the labels; True where their number was given."""


def open_asked(  # noqa: PLR0913, PLR0917 - each says another part of which cases
    configuration: Configuration,
    layout: Dataset,
    source: Path,
    asked: Asked | None,
    target: Path,
    progress: Callable[[int, int], None],
    *,
    skip_bad: bool,
) -> Questions:
    """Find and normalise cases before the first is answered, so that a bad one is known before hours of work.

    Args:
        configuration: of the run that answers.
        layout: of the folder of the cases.
        source: that folder.
        asked: which ones; None: all.
        target: the folder that the answers will go to.
        progress: called with (cases read, cases there are).
        skip_bad: whether to go on without the cases that cannot be used.

    Raises:
        ConfigurationError: a case that is asked for is not there, or answers would lie among the cases' own files.
        DataError: some cannot be used and may not be skipped, or all cannot.
    """
    needed = configuration.task.condition_modalities
    found = usable_cases(layout, source, needed, references=False, partial=True)
    place = Place(layout, source)
    _refuse_mixing(target, source, [*found.cases, *found.refused])
    there = {case.name: case for case in found.cases}
    names = sorted(there.keys() | found.wrong.keys())
    if asked is not None:
        refuse_strangers(asked, names, source)
        names = sorted(set(asked.names))
    bad = {name: found.wrong[name] for name in names if name in found.wrong}
    refuse_or_skip(bad, len(names), place, skip_bad=skip_bad)
    chosen = [there[name] for name in names if name in there]
    opened = Store(configuration, references=False, modalities=needed).open_all(chosen, progress)
    refuse_or_skip(opened.wrong, len(chosen), place, skip_bad=skip_bad)
    scored = [case.name for case in opened.cases if _can_be_scored(configuration.task, there[case.name])]
    return Questions(opened.cases, scored)


def _can_be_scored(task: Task, case: Case) -> bool:
    return case.images.keys() >= {*task.modalities} if isinstance(task, VolumeTask) else case.reference is not None


def _refuse_mixing(target: Path, source: Path, cases: Sequence[Case]) -> None:
    """Make sure that no answer takes the place of a reference or is taken for one: they may be called the same."""
    folders = {folder: case.name for case in cases for folder in _ways_to({file.parent for file in case.files})}
    for way in _ways_to({target}):
        if way in folders:
            msg = (
                f"--out {target} holds files of the case {folders[way]}, which answers might replace: name another "
                "folder."
            )
            raise ConfigurationError(msg)
        if way in _ways_to({source}) or any(way in folder.parents for folder in folders):
            msg = f"--out {target} is where the data lie, and answers might be taken for them: name another folder."
            raise ConfigurationError(msg)


def _ways_to(folders: Iterable[Path]) -> set[Path]:
    """Return the absolute paths of folders, with links as they are and followed."""
    return {Path(way(folder)) for folder in folders for way in (os.path.abspath, os.path.realpath)}


def refuse_strangers(asked: Asked, names: Sequence[str], source: Path) -> None:
    """Make sure that every case that is asked for is there.

    Args:
        asked: for which ones, and by what.
        names: of the cases that there are.
        source: the folder that they are in.

    Raises:
        ConfigurationError: one is not, or none is asked for.
    """
    if not asked.names:
        msg = f"{asked.by} names no case; the first under {source} are {few(names)}."
        raise ConfigurationError(msg)
    for name in asked.names:
        if name not in names:
            msg = f"{asked.by} names {name!r}, which is not under {source}; the first there are {few(names)}."
            raise ConfigurationError(msg)


def write_answer(folder: Path, case: Case, answer: Answer, task: LabelTask) -> dict[int, str]:
    """Write CASE_seg, CASE_mean and CASE_var on the case's own grid, the first in its layout's own numbers.

    Returns:
        What each number in CASE_seg means.

    Raises:
        StorageError: a file cannot be written.
    """
    numbers = numbers_for(task.answers, case.labels)
    like = case.images[task.condition_modalities[0]].path
    of_class = {name: number for number, name in numbers.items()}
    of_index = np.array([0, *(of_class[name] for name in task.answers)])
    labels = of_index.astype(np.min_scalar_type(of_index.max()))[answer.labels]
    write_like(folder / f"{case.name}_seg.nii.gz", labels, like)
    _write_channels(folder, case, task, "mean", answer.mean)
    _write_channels(folder, case, task, "var", answer.variance)
    return numbers


def write_member(folder: Path, case: Case, task: Task, number: int, readout: np.ndarray) -> None:
    """Write one member's read-out as CASE_member-NNN, counted from 1, on the case's own grid.

    Args:
        folder: where it goes.
        case: that it is a sample of.
        task: what its channels are.
        number: which member, from 0.
        readout: (C, X, Y, Z).

    Raises:
        StorageError: it cannot be written.
    """
    _write_channels(folder, case, task, f"member-{number + 1:03}", readout)


def write_probability(folder: Path, case: Case, task: Task, mean: np.ndarray, calibration: Calibration) -> None:
    """Write CASE_prob, what a calibration makes of the ensemble's mean, on the case's own grid.

    Args:
        folder: where it goes.
        case: what was answered.
        task: what the mean's channels are.
        mean: (C, X, Y, Z).
        calibration: that has a curve for each of them.

    Raises:
        StorageError: a file cannot be written.
    """
    curves = [calibration.curves[channel] for channel in task.x0_channels]
    _write_channels(folder, case, task, "prob", (curve.of(of) for curve, of in zip(curves, mean, strict=True)))


def _write_channels(folder: Path, case: Case, task: Task, what: str, arrays: Iterable[np.ndarray]) -> None:
    like = case.images[task.condition_modalities[0]].path
    for path, array in zip(map_files(folder, case.name, task, what).values(), arrays, strict=True):
        write_like(path, array, like)


def map_files(folder: Path, case: str, task: Task, what: str) -> dict[str, Path]:
    """Return where the maps of a case are by channel, be they written or not.

    Args:
        folder: of the answers.
        case: its name.
        task: what was answered.
        what: is mapped, such as "mean".
    """
    channels = task.x0_channels
    endings = {channel: what if len(channels) == 1 else f"{what}_{channel}" for channel in channels}
    return {channel: folder / f"{case}_{ending}.nii.gz" for channel, ending in endings.items()}


def write_answered(folder: Path, made_by: Mapping[str, Any], memory: int, answered: Mapping[str, Answered]) -> None:
    """Write down what was answered so far, and how.

    Args:
        folder: where the answers are.
        made_by: what all of them share; plain values.
        memory: peak use in bytes.
        answered: by case.
    """
    cases = {name: facts._asdict() for name, facts in answered.items()}
    write_text(folder / RECORD, json.dumps({**made_by, "peak_memory": memory, "cases": cases}, indent=2) + "\n")


def go_on_with(folder: Path, made_by: Mapping[str, Any]) -> dict[str, Answered]:
    """Return what is written down about answers that are there already, so that more can be added.

    Args:
        folder: where the answers go.
        made_by: what makes them; plain values, as they are written.

    Raises:
        ConfigurationError: the folder's answers were made in another way.
        DataError: its record cannot be read.
    """
    record = read_record(folder)
    if not record.cases:
        return {}
    for what, now in made_by.items():
        before = record.facts.get(what)
        if before != json.loads(json.dumps(now)):
            msg = (
                f"{folder} holds answers that were sampled otherwise ({what} was {before}, now {now}): name "
                "another --out, or remove it."
            )
            raise ConfigurationError(msg)
    return record.cases


class Record(NamedTuple):
    """What a sampling wrote down."""

    facts: Mapping[str, Any]
    """All of it, as it stands in the file."""
    cases: dict[str, Answered]

    @property
    def task(self) -> dict[str, Any] | None:
        """Name and settings of the task that was answered, where they are written down."""
        task = self.facts.get("task")
        return task if isinstance(task, dict) else None


NO_RECORD = Record({}, {})
"""What is known of another program's predictions."""


def read_record(folder: Path) -> Record:
    """Read what a sampling wrote down about its answers; nothing where another program made them.

    Raises:
        DataError: the record is there and cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return NO_RECORD
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Record(facts, {name: _answered(said) for name, said in facts["cases"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"Cannot read {path} ({error!r}), which says what the answers' numbers mean: remove it to read them as the "
            "references', or say it with --labels."
        )
        raise DataError(msg) from error


def _answered(facts: Mapping[str, Any]) -> Answered:
    answers = {str(int(number)): str(name) for number, name in facts["answers"].items()}
    voxels = None if facts["voxels"] is None else int(facts["voxels"])
    seconds, members = float(facts["seconds"]), int(facts["members"])
    return Answered(seconds, voxels, facts["split"], answers, members, bool(facts["settled"]))
