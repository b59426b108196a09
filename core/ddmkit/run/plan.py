"""What a run will do, worked out before it starts: cases, splits, shapes, channels, parameters."""

from __future__ import annotations

import logging
from collections import Counter
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import torch

from ddmkit.checked import checked_size
from ddmkit.errors import DataError
from ddmkit.grid import Grid
from ddmkit.run.cases import (
    Place,
    few,
    labelled_cases,
    refuse_changed,
    refuse_empty,
    refuse_or_skip,
    split_cases,
    usable_cases,
)
from ddmkit.sizes import sides_of
from ddmkit.window import Window, enclosing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from ddmkit.configuration import Configuration
    from ddmkit.dataset import Case
    from ddmkit.run.cases import Found
    from ddmkit.volume import Header
    from ddmkit.window import Shape

_log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """A run before it starts."""

    data: Path
    splits: dict[str, list[Case]]
    """Cases of "train", "validation" and "test"."""
    unlabelled: int
    """Cases left out because they have no reference."""
    left_out: dict[str, str]
    """Why cases are left out that cannot be used, by name."""
    shapes: dict[Shape, int]
    """How many cases have which shape, as the network sees them, most frequent first."""
    frame: Shape
    """Of the most frequent shape."""
    window: Shape | None
    """What the network sees of that frame in training, in its own voxels; None where windows are taken from the box
    around each brain, which nobody knows before the voxels are read."""
    factor: int
    parameters: int


def make_plan(
    configuration: Configuration,
    data: Path,
    split: Mapping[str, Sequence[str]] | None = None,
    *,
    skip_bad: bool = False,
) -> Plan:
    """Look at the data and the network without loading either.

    Args:
        configuration: of the run.
        data: the folder of the cases.
        split: the names in each split, of a run that goes on: cases that came to the folder since change nothing.
        skip_bad: whether to go on without the cases that cannot be used.

    Raises:
        DataError: there are no cases, some cannot be used, or one of the split is gone.
        ConfigurationError: the shares of the split cannot be.
    """
    task = configuration.task
    found = usable_cases(configuration.dataset, data, task.modalities, references=task.needs_references)
    if split is None:
        place = Place(configuration.dataset, data)
        refuse_or_skip(found.wrong, len(found.cases) + len(found.wrong), place, skip_bad=skip_bad)
        _warn_of_split(found)
        there = [*found.cases, *found.refused]
        whole = split_cases(labelled_cases(there, data) if task.needs_references else there, configuration.split)
        splits = {part: [case for case in cases if case.name in found.headers] for part, cases in whole.items()}
        refuse_empty(splits)
    else:
        splits = _chosen(found, split, data, references=task.needs_references)
    used = [case for part in splits.values() for case in part]
    _check_meanings(configuration, used)
    shapes = _seen_shapes(configuration, [found.headers[case.name] for case in used])
    region, factor, window = configuration.region_of(Window.whole(next(iter(shapes)))), configuration.patch.factor, None
    if configuration.preprocessing.frame != "brain":
        warn_of_shapes(configuration, shapes)
        size = checked_size(configuration.patch, region.size)
        window = Window((0, 0, 0), size, size, factor).shape
    return Plan(
        data=data,
        splits=splits,
        unlabelled=sum(case.reference is None for case in found.cases) if task.needs_references else 0,
        left_out=found.wrong if split is None else {},
        shapes=shapes,
        frame=region.frame,
        window=window,
        factor=factor,
        parameters=count_parameters(configuration),
    )


def _warn_of_split(found: Found) -> None:
    """Say where cases take no part in the split, because it is not even known whether they have a reference."""
    known = {case.name for case in found.refused}
    if unknown := [name for name in found.wrong if name not in known]:
        _log.warning(
            "The split is drawn without %s, and may be another once files are mended: mend them first to keep one.",
            few(unknown),
        )


def _check_meanings(configuration: Configuration, cases: Sequence[Case]) -> None:
    for case in cases:
        try:
            configuration.task.check_classes(case.classes)
        except DataError as error:
            msg = f"Case {case.name}: {error}"
            raise DataError(msg) from error


def warn_of_shapes(configuration: Configuration, shapes: Mapping[Shape, int]) -> None:
    """Say where cases are padded, or their windows differ in shape, and that comes as a surprise.

    Args:
        configuration: of the run; windows are not taken from boxes around brains.
        shapes: how many cases have which shape.
    """
    regions = {shape: configuration.region_of(Window.whole(shape)) for shape in shapes}
    warn_of_windows(configuration, regions.values())
    _warn_of_padding(configuration, regions)
    _warn_of_frame(configuration, shapes)


def warn_of_windows(configuration: Configuration, regions: Collection[Window]) -> None:
    """Say where windows of a batch differ in shape, so that the network sees them one after the other."""
    sizes = sorted({checked_size(configuration.patch, region.size) for region in regions})
    if len(sizes) > 1 and (configuration.engine.micro_batch or configuration.training.batch_size) > 1:
        alike = _making_alike(configuration, sizes, regions)
        _log.warning(
            "The cases differ in shape and so do their windows, such as %s and %s: only windows of one shape share an "
            "evaluation of the network.%s",
            sides_of(sizes[0]),
            sides_of(sizes[-1]),
            f" For windows of one shape, which are faster, type -o {alike}." if alike else "",
        )


def _making_alike(configuration: Configuration, sizes: Sequence[Shape], regions: Collection[Window]) -> str:
    """Return the setting that would give all windows one shape, if there is one."""
    if "sides" in type(configuration.patch).model_fields:
        return f"patch.sides={_listed(reduce(_inner, sizes))}"
    if configuration.preprocessing.frame == "brain":
        return ""
    return f"preprocessing.frame={_listed(reduce(enclosing, [region.frame for region in regions]))}"


def _inner(one: Shape, other: Shape) -> Shape:
    """Return the largest shape that both hold."""
    x, y, z = (min(sides) for sides in zip(one, other, strict=True))
    return x, y, z


def _listed(shape: Shape) -> str:
    return ",".join(map(str, shape))


def count_parameters(configuration: Configuration) -> int:
    """Count the network's parameters without allocating them."""
    return sum(parameter.numel() for parameter in bare_network(configuration).parameters())


def bare_network(configuration: Configuration) -> nn.Module:
    """Return the configured network, its weights shapes alone."""
    with torch.device("meta"):
        return configuration.network()


def _chosen(found: Found, split: Mapping[str, Sequence[str]], data: Path, *, references: bool) -> dict[str, list[Case]]:
    named = {case.name: case for case in found.cases if case.reference is not None or not references}
    for name in (name for names in split.values() for name in names if name not in named):
        refuse_changed({name: found.wrong[name]} if name in found.wrong else {})
        msg = f"The run was split with the case {name}, which is not under {data} any more: put it back."
        raise DataError(msg)
    return {part: [named[name] for name in names] for part, names in split.items()}


def _warn_of_padding(configuration: Configuration, regions: Mapping[Shape, Window]) -> None:
    """Say where a window is what makes a volume be padded; a frame that was asked for is no surprise."""
    for shape, region in regions.items():
        asked = configuration.preprocessing.padded(shape)
        if region.frame != asked:
            window = checked_size(configuration.patch, asked)
            _log.warning("The window %s is larger than the volume %s: it is padded to %s.", window, asked, region.frame)


def _warn_of_frame(configuration: Configuration, shapes: Mapping[Shape, int]) -> None:
    """Say where volumes do not fit in the frame that was asked for."""
    if (asked := configuration.preprocessing.asked) is None:
        return
    larger = {shape: count for shape, count in shapes.items() if enclosing(shape, asked) != asked}
    if larger:
        _log.warning(
            "preprocessing.frame=%s is too small for %d of the %d cases, such as one of %s, which keep their own sides "
            "where those are longer: type -o preprocessing.frame=%s for a frame that holds all.",
            _listed(asked),
            sum(larger.values()),
            sum(shapes.values()),
            sides_of(max(larger)),
            _listed(reduce(enclosing, larger, asked)),
        )


def shapes_under(configuration: Configuration, data: Path) -> dict[Shape, int]:
    """Return how many of the cases under a path have which shape, as the network sees them, the most frequent first.

    Cases that cannot be used are named in warnings.

    Raises:
        DataError: none can be used.
    """
    found = usable_cases(configuration.dataset, data, configuration.task.modalities, references=False)
    place = Place(configuration.dataset, data)
    refuse_or_skip(found.wrong, len(found.cases) + len(found.wrong), place, skip_bad=True)
    return _seen_shapes(configuration, found.headers.values())


def _seen_shapes(configuration: Configuration, headers: Iterable[Header]) -> dict[Shape, int]:
    orientation, spacing = configuration.preprocessing.orientation, configuration.preprocessing.spacing
    grids = (Grid.of(header.shape, header.affine, orientation, spacing) for header in headers)
    return dict(Counter(grid.seen_shape for grid in grids).most_common())
