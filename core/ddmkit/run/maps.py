"""Maps of probability beside answers, compared with references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ddmkit.checked import checked_readout, checked_x0
from ddmkit.reliability import Counts
from ddmkit.run.answers import map_files
from ddmkit.task import Example
from ddmkit.volume import check_same_grid, read_array, read_header, read_labels
from ddmkit.window import Window

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ddmkit.dataset import Case
    from ddmkit.nifti import Header
    from ddmkit.run.evaluation import Pair
    from ddmkit.task import Task

MAPS = ("mean", "prob")
"""What an ensemble says of each voxel, and what a calibration makes of it."""
_WHOLE = 1e-4
"""How far a read-out of a reference may be from 0 or 1, for rounding."""


def has_maps(pair: Pair, task: Task, what: str) -> bool:
    """Tell whether all maps of a kind lie beside a prediction."""
    return all(path.is_file() for path in _files(pair, task, what).values())


def count_maps(pair: Pair, task: Task) -> dict[str, dict[str, Counts]]:
    """Count the voxels of a case by what its maps say.

    Args:
        pair: a prediction that has a mean map for each channel beside it, and its case, which has a reference.
        task: what was answered.

    Returns:
        Counts by map, "mean" and, where it is there, "prob", and by channel; nothing where the task's channels are no
        masks.

    Raises:
        DataError: a file cannot be read, they lie on two grids, or the reference does not tell what is asked.
    """
    case = pair.case
    assert case.reference is not None  # noqa: S101 - only labelled cases are paired
    header = read_header(case.reference, _unheard)
    truth = masks_of(task, read_labels(case.reference, case.labels, _unheard), case.classes)
    if truth is None:
        return {}
    files = {what: _files(pair, task, what) for what in MAPS if has_maps(pair, task, what)}
    counts: dict[str, dict[str, Counts]] = {what: {} for what in files}
    for channel, mask in zip(task.x0_channels, truth, strict=True):
        mean = _read(case, header, files["mean"][channel])
        for what, paths in files.items():
            found = mean if what == "mean" else _read(case, header, paths[channel])
            counts[what][channel] = Counts.of(found, mask, mean)
    return counts


def masks_of(task: Task, labels: NDArray[np.uint8], classes: tuple[str, ...]) -> NDArray[np.bool_] | None:
    """Return what a read-out should be, where each of its channels is a mask; None where one is not.

    Args:
        task: what is asked.
        labels: shape (X, Y, Z): indices into `classes`.
        classes: what they mean.

    Returns:
        Shape (C, X, Y, Z).

    Raises:
        DataError: the classes do not tell what is asked.
    """
    x, y, z = labels.shape
    # What asks for the images is no mask: it finds that they are not there.
    images = torch.full((), torch.nan).expand(len(task.modalities), x, y, z)
    example = Example(images, torch.from_numpy(labels), classes, Window.whole((x, y, z)))
    readout = checked_readout(task, checked_x0(task, example)[None])[0].numpy()
    masks: NDArray[np.bool_] = np.abs(readout - 1) <= _WHOLE
    return masks if (masks | (np.abs(readout) <= _WHOLE)).all() else None


def _files(pair: Pair, task: Task, what: str) -> dict[str, Path]:
    return map_files(pair.prediction.parent, pair.case.name, task, what)


def _read(case: Case, header: Header, path: Path) -> NDArray[np.float32]:
    assert case.reference is not None  # noqa: S101 - as above
    check_same_grid(case, case.reference, header, path, read_header(path))
    return read_array(path)


def _unheard(_: str) -> None:
    """Pass over what is odd about a reference: `ddmkit check` tells it, and so does scoring."""
