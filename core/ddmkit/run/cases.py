"""Which cases a run uses: found, checked, and split so that every machine draws the same."""

from __future__ import annotations

import logging
import os
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ddmkit.assembly import typed
from ddmkit.dataset import Survey
from ddmkit.errors import ConfigurationError, DataError
from ddmkit.randomness import generator
from ddmkit.rules import refuse, shown
from ddmkit.searching import walk
from ddmkit.volume import case_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ddmkit.configuration import Split
    from ddmkit.dataset import Case, Dataset
    from ddmkit.volume import Header

_log = logging.getLogger(__name__)

_NAMED = 3
"""Reasons that a sentence gives, at most."""
_FEW = 5
"""Cases that a sentence names, at most."""
_OFFICIAL = 369
"""Cases of the training set of BraTS 2020."""
_OFFICIAL_ENDS = {"train": (0, 295), "validation": (295, 332), "test": (332, 369)}


class Place(NamedTuple):
    """Where cases lie, and how they are laid out there."""

    layout: Dataset
    path: Path

    @property
    def look(self) -> str:
        """The command that looks at each of them, with what `--dataset` and `-o` said of their layout."""
        kind, name, *settings = typed(self.layout)
        named = [] if not settings and self.layout.recognises(self.path) else [kind, name, *settings]
        return shlex.join(["ddmkit", "check", str(self.path), *named])


class Found(NamedTuple):
    """What lies under a path."""

    cases: list[Case]
    """Those that can be used, sorted by name."""
    headers: dict[str, Header]
    """Of each of those, by name."""
    wrong: dict[str, str]
    """Why the others cannot be used, by name."""
    refused: list[Case]
    """Those of the others whose files are all there; they keep their place in a split, and the others theirs."""


def find_cases(dataset: Dataset, data: Path) -> tuple[list[Case], dict[str, str]]:
    """Return all cases under a path, and what is wrong with those that are not whole.

    Raises:
        DataError: there are none; the sentence says what was looked for.
    """
    cases, wrong, _ = _surveyed(dataset, data)
    return cases, dict(wrong)


def _surveyed(dataset: Dataset, data: Path) -> Survey:
    cases, wrong, partial = dataset.survey(data)
    if not cases and not wrong:
        msg = f"No case of the dataset {dataset.name!r} lies under {data}: looked for {dataset.looked_for}."
        raise DataError(msg)
    if not wrong:
        _warn_of_strays(dataset, data, cases)
    return Survey(cases, dict(wrong), partial)


def _warn_of_strays(dataset: Dataset, data: Path, cases: Sequence[Case]) -> None:
    """Say where images lie that no case has: data of two layouts in one folder would lose half of their cases."""
    if not data.is_dir():
        return
    used = {os.path.realpath(file) for case in cases for file in case.files}
    strays = [
        folder.path / names[0]
        for folder in walk(data)
        for names in folder.stems.values()
        if used.isdisjoint(os.path.realpath(folder.path / name) for name in names)
    ]
    if strays:
        _log.warning(
            "%d images under %s belong to no case of the layout %r, such as %s.",
            len(strays),
            data,
            dataset.name,
            shown(strays[0]),
        )


def labelled_cases(cases: Sequence[Case], data: Path) -> list[Case]:
    """Return the cases with a reference.

    Raises:
        DataError: there are none.
    """
    labelled = [case for case in cases if case.reference is not None]
    if not labelled:
        msg = (
            f"None of the {len(cases)} cases under {data} has a reference, which training and evaluating need: add "
            "some, or only sample."
        )
        raise DataError(msg)
    return labelled


def usable_cases(
    dataset: Dataset, data: Path, modalities: Sequence[str], *, references: bool = True, partial: bool = False
) -> Found:
    """Return the cases under a path whose headers are in order; no voxel is read.

    Args:
        dataset: their layout.
        data: where they lie.
        modalities: the images that are needed.
        references: whether references are needed; where they are not, they need not be readable.
        partial: whether a case will do that lacks other images.

    Raises:
        DataError: there are none at all, or none has one of the images.
    """
    survey = _surveyed(dataset, data)
    more = {name: case for name, case in survey.partial.items() if partial and case.images.keys() >= {*modalities}}
    cases = sorted([*survey.cases, *more.values()], key=lambda case: case.name)
    wrong = {name: reason for name, reason in survey.wrong.items() if name not in more}
    _require_images(cases, modalities, data)
    headers: dict[str, Header] = {}
    refused: list[Case] = []
    warnings: list[str] = []
    for case in cases:
        try:
            needed = case if references else case._replace(reference=None)
            headers[case.name] = case_header(needed, modalities, warnings.append)
        except DataError as error:
            wrong[case.name] = str(error)
            refused.append(case)
    _warn_of_some(warnings, Place(dataset, data))
    return Found([case for case in cases if case.name in headers], headers, wrong, refused)


def _require_images(cases: Sequence[Case], modalities: Sequence[str], data: Path) -> None:
    """Make sure that each image is known to some case; where none has it, the task is wrong and not the cases."""
    there = list(dict.fromkeys(modality for case in cases for modality in case.images))
    missing = [modality for modality in modalities if modality not in there]
    if cases and missing:
        option = shlex.quote(f"task.images={','.join(there)}")
        instead = (
            f"add them, or train on what there is where the task has that setting, -o {option}" if there else "add them"
        )
        refuse(
            "missing-modality",
            f"The task asks for images called {', '.join(missing)}, which no case under {shown(data)} has; they have "
            f"{', '.join(there) or 'none'}: {instead}.",
        )


def _warn_of_some(warnings: Sequence[str], place: Place) -> None:
    """Tell the first warnings only: what is odd about one file is often odd about all."""
    for warning in warnings[:_NAMED]:
        _log.warning("%s", warning)
    if len(warnings) > _NAMED:
        _log.warning("There are %d more such warnings: %s lists all.", len(warnings) - _NAMED, place.look)


def refuse_or_skip(wrong: Mapping[str, str], total: int, place: Place, *, skip_bad: bool) -> None:
    """Make sure that nobody works on a part of the data without having said so.

    Args:
        wrong: why cases cannot be used, by name.
        total: how many cases there are, these included.
        place: where they lie.
        skip_bad: whether to go on without them, naming each in a warning.

    Raises:
        DataError: some are wrong and may not be skipped, or all are.
    """
    if not wrong:
        return
    none_left = len(wrong) == total
    if skip_bad and not none_left:
        for name, reason in wrong.items():
            _log.warning("Left out %s: %s", name, reason)
        return
    few = [f"{name}: {reason}" for name, reason in list(wrong.items())[:_NAMED]]
    more = f" And {len(wrong) - _NAMED} more." if len(wrong) > _NAMED else ""
    instead = "" if none_left else ", or leave them out by adding --skip-bad"
    msg = (
        f"{len(wrong)} of {total} cases cannot be used. {' '.join(few)}{more} Mend them{instead}; {place.look} shows "
        "what each case has."
    )
    raise DataError(msg)


def refuse_changed(wrong: Mapping[str, str]) -> None:
    """Make sure that a run goes on with the cases that it began with.

    Args:
        wrong: why cases of the run cannot be used any more, by name.

    Raises:
        DataError: there are some.
    """
    for name, reason in wrong.items():
        msg = f"The run was split with the case {name}, which cannot be used any more: {reason}"
        raise DataError(msg)


def refuse_empty(splits: Mapping[str, Sequence[object]]) -> None:
    """Make sure that leaving cases out has left some.

    Raises:
        DataError: there is none to train on, or none to validate on.
    """
    for part in ("train", "validation"):
        if not splits[part]:
            msg = f"Of the {part} cases none is left: mend those that were left out, or choose another split.seed."
            raise DataError(msg)


def split_cases(cases: Sequence[Case], split: Split) -> dict[str, list[Case]]:
    """Split cases by their patients' names and the split's settings alone.

    Raises:
        ConfigurationError: the shares leave nothing to train on, or the official split is asked of other cases.
    """
    patients = _by_patient(cases)
    parts = _official(patients) if split.method == "official" else _seeded(patients, split)
    return {
        part: sorted((case for name in names for case in patients[name]), key=lambda case: case.name)
        for part, names in parts.items()
    }


def _by_patient(cases: Sequence[Case]) -> dict[str, list[Case]]:
    patients: dict[str, list[Case]] = {}
    for case in cases:
        patients.setdefault(case.patient or case.name, []).append(case)
    return dict(sorted(patients.items()))


def _seeded(patients: Mapping[str, object], split: Split) -> dict[str, list[str]]:
    names, count = list(patients), len(patients)
    validation, test = max(1, round(count * split.validation)), round(count * split.test)
    train = count - validation - test
    if train < 1:
        msg = (
            f"{count} {'cases' if count != 1 else 'case'} cannot be split into training, {validation} for validation "
            f"and {test} for the test: add cases, or lower split.validation and split.test with -o."
        )
        raise ConfigurationError(msg)
    order = [names[index] for index in generator(split.seed, "split").permutation(count)]
    return {
        "train": order[:train],
        "validation": order[train : train + validation],
        "test": order[train + validation :],
    }


def _official(patients: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the split that the paper's official code draws: by numpy's `RandomState(0)`, from 1 to 369."""
    numbered = {int(digits.group()): name for name in patients if (digits := re.search(r"\d+$", name))}
    if sorted(numbered) != list(range(1, _OFFICIAL + 1)) or len(patients) != _OFFICIAL:
        missing = sorted(set(range(1, _OFFICIAL + 1)) - set(numbered))
        lacking = f", of which number {missing[0]} is missing" if missing else ""
        msg = (
            f"split.method=official splits the {_OFFICIAL} cases of BraTS 2020{lacking}; these are {len(patients)} "
            "cases with a reference: add what is missing, or use -o split.method=seeded."
        )
        raise ConfigurationError(msg)
    numbers = np.arange(1, _OFFICIAL + 1)
    np.random.RandomState(0).shuffle(numbers)  # the generator of the official code
    return {
        part: [numbered[number] for number in numbers[first:last].tolist()]
        for part, (first, last) in _OFFICIAL_ENDS.items()
    }


def few(names: Sequence[str]) -> str:
    """Return the first names of many, for a sentence."""
    return ", ".join(names[:_FEW]) + (", …" if len(names) > _FEW else "")
