"""Folders of generated volumes and of real ones, read as the judge of a task takes them in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ddmkit.checked import checked_readout, checked_x0
from ddmkit.errors import DataError
from ddmkit.grid import Grid
from ddmkit.normalisation import foreground, normalise
from ddmkit.run.cases import few, refuse_or_skip, usable_cases
from ddmkit.run.evaluation import images_in
from ddmkit.searching import image_stem
from ddmkit.task import Example
from ddmkit.volume import case_header, check_same_grid, read_array, read_header, read_images
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from ddmkit.dataset import Case
    from ddmkit.run.cases import Place
    from ddmkit.task import VolumeTask

_MEMBER = re.compile(r"_member-\d+$")
"""How the name of a member ends, behind that of its case."""
_UPRIGHT = "LPS"
"""Where the axes of volumes run to that are compared; files may store them in any order."""


def find_volumes(folder: Path, task: VolumeTask) -> Mapping[str, Sequence[Path]]:
    """Return the volumes in a folder by name: the files of one, in the order of the task's channels.

    Where there are several channels, each has a file of its own, NAME_CHANNEL.nii.gz, as `ddmkit sample` writes them.

    Raises:
        DataError: there are none, or the folder cannot be read.
    """
    files = {image_stem(path.name): path for path in images_in(folder)}
    channels = task.x0_channels
    if len(channels) == 1:
        found = {stem: [path] for stem, path in files.items()}
    else:
        first = f"_{channels[0]}"
        names = [stem.removesuffix(first) for stem in files if stem.endswith(first)]
        parts = {name: [files.get(f"{name}_{channel}") for channel in channels] for name in names}
        found = {name: [path for path in paths if path] for name, paths in parts.items() if all(paths)}
    if not found:
        what = " and ".join(f"NAME_{channel}.nii.gz" for channel in channels) if len(channels) > 1 else "NAME.nii.gz"
        msg = (
            f"{folder} holds no volumes of the task {task.name!r}: looked for {what}; give the folder that ddmkit "
            "sample --out wrote."
        )
        raise DataError(msg)
    return found


def case_of(name: str, cases: Container[str]) -> str:
    """Return the case that a generated volume is of, by the volume's name; that itself where it is no member's.

    Args:
        name: such as "CASE_member-001".
        cases: names of those that there are.
    """
    return name if name in cases else _MEMBER.sub("", name)


class Pairs(NamedTuple):
    """Generated volumes and the cases that they are of."""

    matched: list[tuple[Case, Mapping[str, Sequence[Path]]]]
    """Cases with all images, and their members: by name the files of one."""
    unmatched: list[str]
    """Volumes of no case that there is."""
    left_out: dict[str, str]
    """Why cases cannot be used, by name."""


def pair_volumes(predictions: Path, task: VolumeTask, place: Place, *, skip_bad: bool) -> Pairs:
    """Match the volumes in a folder with their cases.

    Raises:
        DataError: none has one, or some cases cannot be used and may not be skipped.
    """
    generated = find_volumes(predictions, task)
    found = usable_cases(place.layout, place.path, task.modalities, references=False)
    cases = {case.name: case for case in found.cases}
    known = {*cases, *found.wrong}
    members: dict[str, dict[str, Sequence[Path]]] = {}
    for name, paths in generated.items():
        members.setdefault(case_of(name, known), {})[name] = paths
    bad = {case: found.wrong[case] for case in members if case in found.wrong}
    asked = [case for case in members if case in known]
    if not asked:
        msg = (
            f"{predictions} holds no volume of a case under {place.path}: its files are named after {few([*members])}, "
            f"the cases there are {few([*cases])}; give the folders that belong together."
        )
        raise DataError(msg)
    refuse_or_skip(bad, len(asked), place, skip_bad=skip_bad)
    return Pairs(
        [(cases[case], members[case]) for case in asked if case in cases],
        [name for case in members if case not in known for name in members[case]],
        bad,
    )


def read_member(case: Case, task: VolumeTask, paths: Sequence[Path]) -> NDArray[np.float32]:
    """Read a generated volume that lies on its case's grid: shape (C, X, Y, Z), upright.

    Raises:
        DataError: it does not, or as `read_generated`.
    """
    own = case.images[task.modalities[0]].path
    check_same_grid(case, own, read_header(own, _unheard), paths[0], read_header(paths[0]))
    return read_generated(paths)


def _unheard(_: str) -> None:
    """Pass over what is odd about a real image: whoever found its case was told."""


def read_generated(paths: Sequence[Path]) -> NDArray[np.float32]:
    """Read a generated volume: shape (C, X, Y, Z), upright.

    Raises:
        DataError: a file breaks a rule of `ddmkit.rules`, or its channels differ in shape.
    """
    header = read_header(paths[0])
    channels = [read_array(path) for path in paths]
    for path, channel in zip(paths, channels, strict=True):
        if channel.shape != channels[0].shape:
            msg = f"{path} is of shape {channel.shape} and {paths[0].name} of {channels[0].shape}: give whole samples."
            raise DataError(msg)
    return upright(np.stack(channels), header.affine)


def read_real(case: Case, task: VolumeTask, percentiles: tuple[float, float]) -> NDArray[np.float32]:
    """Read a real volume as a perfect sample would be read out: shape (C, X, Y, Z), upright.

    Args:
        case: its files, of which the reference is not read.
        task: what is read out.
        percentiles: of the intensities that became 0 and 1 where the task learned.

    Raises:
        DataError: the case's files break a rule of `ddmkit.rules`.
    """
    header = case_header(case._replace(reference=None), task.modalities)
    images = [normalise(image, foreground(image), percentiles) for image in read_images(case, task.modalities)]
    window = Window.whole(header.shape)
    example = Example(torch.from_numpy(np.stack(images)), None, case.classes, window)
    return upright(checked_readout(task, checked_x0(task, example)[None])[0].numpy(), header.affine)


def upright(volume: NDArray[np.float32], affine: ArrayLike) -> NDArray[np.float32]:
    """Turn (C, X, Y, Z) so that X runs to the patient's left, Y to the back, Z to the head, without interpolation."""
    return Grid.of(volume.shape[1:], affine, _UPRIGHT, None).enter(volume)
