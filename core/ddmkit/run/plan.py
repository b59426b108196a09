"""What a run will do, worked out before it starts: cases, splits, shapes, channels, parameters."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import torch

from ddmkit.errors import ConfigurationError, DataError
from ddmkit.randomness import generator
from ddmkit.volume import image_path, read_header
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ddmkit.configuration import Configuration
    from ddmkit.dataset import Case, Dataset
    from ddmkit.window import Shape

_log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """A run before it starts."""

    data: Path
    splits: dict[str, list[Case]]
    """Cases of "train", "validation" and "test"."""
    unlabelled: int
    """Cases left out because they have no reference."""
    shapes: dict[Shape, int]
    """How many cases have which shape, most frequent first."""
    frame: Shape
    """Of the most frequent shape."""
    window: Shape
    """What the network sees of that frame in training, in its own voxels."""
    factor: int
    in_channels: int
    out_channels: int
    parameters: int


def make_plan(configuration: Configuration, data: Path, split: Mapping[str, list[str]] | None = None) -> Plan:
    """Look at the data and the network without loading either.

    Args:
        configuration: of the run.
        data: the folder of the cases.
        split: the names in each split, of a run that goes on: cases that came to the folder since change nothing.

    Raises:
        DataError: there are no cases, or one of the split is gone.
        ConfigurationError: the shares of the split or the windows of a batch cannot be.
    """
    labelled, unlabelled = labelled_cases(configuration.dataset, data)
    splits = split_cases(labelled, configuration) if split is None else _chosen(labelled, split, data)
    shapes = _shapes(labelled, configuration.task.modalities[0])
    _check_windows(configuration, shapes)
    usual = next(iter(shapes))
    frame = configuration.frame_of(usual)
    size = configuration.patch.size(frame)
    _warn_of_padding(configuration, shapes)
    window = Window((0, 0, 0), size, frame, configuration.patch.factor)
    return Plan(
        data,
        splits,
        unlabelled,
        shapes,
        frame,
        window.shape,
        window.factor,
        configuration.in_channels,
        configuration.out_channels,
        count_parameters(configuration),
    )


def _warn_of_padding(configuration: Configuration, shapes: Iterable[Shape]) -> None:
    """Say where a window is what makes a volume be padded; a frame that was asked for is no surprise."""
    for shape in shapes:
        frame, asked = configuration.frame_of(shape), configuration.padded(shape)
        if frame != asked:
            window = configuration.patch.size(asked)
            _log.warning("The window %s is larger than the volume %s: it is padded to %s.", window, asked, frame)


def labelled_cases(dataset: Dataset, data: Path) -> tuple[list[Case], int]:
    """Return the cases with a reference, and how many have none.

    Raises:
        DataError: no case with a reference lies under `data`.
    """
    cases = find_cases(dataset, data)
    labelled = [case for case in cases if case.labels is not None]
    if not labelled:
        msg = f"None of the {len(cases)} cases under {data} has a reference to learn from; sampling needs none."
        raise DataError(msg)
    return labelled, len(cases) - len(labelled)


def find_cases(dataset: Dataset, data: Path) -> list[Case]:
    """Return all cases under a path.

    Raises:
        DataError: there are none; the sentence says what was looked for.
    """
    cases = dataset.cases(data)
    if not cases:
        msg = f"No case of the dataset {dataset.name!r} lies under {data}: looked for {dataset.looked_for}."
        raise DataError(msg)
    return cases


def split_cases(cases: list[Case], configuration: Configuration) -> dict[str, list[Case]]:
    """Split cases by their names and the split's seed alone.

    Raises:
        ConfigurationError: the shares leave nothing to train on or nothing to validate on.
    """
    split = configuration.split
    order = generator(split.seed, "split").permutation(len(cases))
    validation = max(1, round(len(cases) * split.validation))
    test = round(len(cases) * split.test)
    train = len(cases) - validation - test
    if train < 1:
        msg = (
            f"{len(cases)} cases cannot be split into training, {validation} for validation and {test} for the test: "
            "add cases, or lower split.validation and split.test with -o."
        )
        raise ConfigurationError(msg)
    parts = {
        "train": order[:train],
        "validation": order[train : train + validation],
        "test": order[train + validation :],
    }
    return {name: [cases[index] for index in sorted(part)] for name, part in parts.items()}


def _chosen(cases: list[Case], split: Mapping[str, list[str]], data: Path) -> dict[str, list[Case]]:
    named = {case.name: case for case in cases}
    gone = [name for names in split.values() for name in names if name not in named]
    if gone:
        msg = f"The run was split with the case {gone[0]}, which is not under {data} any more: put it back."
        raise DataError(msg)
    return {part: [named[name] for name in names] for part, names in split.items()}


def count_parameters(configuration: Configuration) -> int:
    """Count the network's parameters without allocating them."""
    with torch.device("meta"):
        network = configuration.backbone.build(configuration.in_channels, configuration.out_channels)
    return sum(parameter.numel() for parameter in network.parameters())


def _check_windows(configuration: Configuration, shapes: Iterable[Shape]) -> None:
    """Make sure that the windows of whichever cases meet in a batch have one shape."""
    sizes = sorted({configuration.patch.size(configuration.frame_of(shape)) for shape in shapes})
    if len(sizes) > 1 and (configuration.engine.micro_batch or configuration.training.batch_size) > 1:
        msg = (
            f"The cases differ in shape and so do their windows, {sizes[0]} and {sizes[-1]}, which fit in no common "
            "batch: set preprocessing.frame or patch.sides, or engine.micro_batch=1, with -o."
        )
        raise ConfigurationError(msg)


def _shapes(cases: list[Case], modality: str) -> dict[Shape, int]:
    counts: dict[Shape, int] = {}
    for case in cases:
        shape = read_header(image_path(case, modality)).shape
        counts[shape] = counts.get(shape, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
