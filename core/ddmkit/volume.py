"""The volumes of one case, read with their geometry checked: all files lie on one grid, all labels have a meaning."""

from __future__ import annotations

import logging
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from nibabel.orientations import aff2axcodes

from ddmkit.dataset import Image
from ddmkit.labels import classes_of
from ddmkit.nifti import Header, index_of, read_array, read_header, read_volumes, write_like
from ddmkit.normalisation import foreground
from ddmkit.rules import caution, refuse, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ddmkit.dataset import Case
    from ddmkit.rules import Warn

__all__ = [
    "Header",
    "Volume",
    "case_header",
    "check_labels_inside",
    "check_same_grid",
    "image_of",
    "indices_of",
    "orientation_of",
    "read_array",
    "read_header",
    "read_images",
    "read_labels",
    "read_volume",
    "spacing_of",
    "write_like",
]

_log = logging.getLogger(__name__)

_SAME_PLACE = 1e-3
"""Sides of the smallest voxel by which two grids may lie apart and count as one: headers store float32."""
_NEARLY_SAME_PLACE = 0.1
"""Up to which they are warned about only."""
_WHOLE = 1e-3
"""By which a label may miss a whole number: a scale in the header is rounded."""
_MOST_CLASSES = 255
"""Beside the background."""
_MOST_OUTSIDE = 0.01
"""Share of the labelled voxels that may lie where no image shows anything."""
_NAMED = 3
"""Labels that a sentence names, at most."""
_SAY_MEANING = (
    "say what they mean in the ddmkit.yaml or dataset.json of the data, or choose another layout by --dataset"
)


class Volume(NamedTuple):
    """One case in memory."""

    images: NDArray[np.float32]
    """(modalities, X, Y, Z), as scaled by the files' headers."""
    labels: NDArray[np.uint8] | None
    """(X, Y, Z): indices into `classes`."""
    classes: tuple[str, ...]
    """What the indices mean; the first is "background"."""
    affine: NDArray[np.float64]
    """(4, 4): voxel indices to millimetres."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides in mm."""
        return spacing_of(self.affine)


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the voxel sides in mm that an affine implies."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return x, y, z


def orientation_of(affine: NDArray[np.float64]) -> str:
    """Return where the voxel axes run to, such as "LPS": to the patient's left, posterior and superior."""
    return "".join(map(str, aff2axcodes(affine)))


def image_of(case: Case, modality: str) -> Image:
    """Return where one modality lies.

    Raises:
        RefusedDataError: the case has none.
    """
    if modality not in case.images:
        there = ", ".join(case.images) or "none"
        refuse(
            "missing-modality",
            f"Case {shown(case.name)} has no {modality} image; it has {there}: add the file, or take the case "
            "out, or let the task, where it can, ask for what is there, as by -o task.images=NAME,NAME.",
        )
    return case.images[modality]


def case_header(case: Case, modalities: Sequence[str], warn: Warn = _log.warning) -> Header:
    """Read the grid of a case: the headers of all its files are read and compared, no voxels.

    Args:
        case: its files; the reference is looked at if there is one.
        modalities: which images; one at least, or none of a case that is but a reference.
        warn: is told what is odd and can be read all the same.

    Raises:
        DataError: the files break a rule of `ddmkit.rules`.
    """
    images = [image_of(case, modality) for modality in modalities]
    files = images if case.reference is None else [*images, Image(case.reference)]
    first = files[0].path
    expected = read_header(first, warn)
    known = {first: expected}
    for path, volume in files:
        if path not in known:
            known[path] = read_header(path, warn)
            check_same_grid(case, first, expected, path, known[path], warn)
        index_of(path, known[path].volumes, volume)
    _look_for_twins(case, dict(zip(modalities, images, strict=True)), warn)
    return expected


def _look_for_twins(case: Case, images: Mapping[str, Image], warn: Warn) -> None:
    places: dict[tuple[int, int, int], str] = {}
    for modality, image in images.items():
        stat = image.path.stat()  # the same through links
        place = (stat.st_dev, stat.st_ino, image.volume or 0)
        if place in places:
            name = shown(image.path.name)
            twins = f"Case {shown(case.name)}: {places[place]} and {modality} are the same image, {name}"
            sentence = f"{twins}; is one of them named wrongly?"
            caution("one-image-twice", sentence, warn)
        places[place] = modality


def check_same_grid(  # noqa: PLR0913, PLR0917 - each file comes with its header
    case: Case, reference: Path, expected: Header, path: Path, found: Header, warn: Warn = _log.warning
) -> None:
    """Make sure that two files of a case lie on one grid.

    Args:
        case: whose files.
        reference: the one file, and
        expected: its header.
        path: the other file, and
        found: its header.
        warn: is told if they lie less than a tenth of a voxel apart.

    Raises:
        RefusedDataError: their shapes, their orientations or their affines differ.
    """
    one, other = shown(path.name), shown(reference.name)
    apart = _apart(expected, found)
    if found.shape == expected.shape and apart <= _SAME_PLACE:
        return
    case_is = f"Case {shown(case.name)}"
    mine, theirs = orientation_of(found.affine), orientation_of(expected.affine)
    if mine != theirs and not apart <= _NEARLY_SAME_PLACE:
        sentence = f"{case_is}: the axes of {one} run to {mine}, those of {other} to {theirs}; turn or resample one."
        refuse("different-orientations", sentence)
    if found.shape != expected.shape:
        sentence = (
            f"{case_is}: {one} has shape {found.shape} but {other} has {expected.shape}; resample them to one grid."
        )
        refuse("different-shapes", sentence)
    far = f"{case_is}: the affines of {one} and {other} differ by up to {apart:.2g} voxels"
    if not apart <= _NEARLY_SAME_PLACE:
        refuse("different-affines", f"{far}; register or resample them to one grid.")
    caution("slightly-different-affines", f"{far}, which is neglected.", warn)


@np.errstate(all="ignore")  # what is no number is far enough
def _apart(one: Header, other: Header) -> float:
    """Return how far a corner of the one volume lies from where the other's affine puts it, in voxels."""
    corners = np.array(list(product(*((-0.5, side - 0.5) for side in one.shape))))
    difference = other.affine - one.affine
    distances = np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1)
    return float(distances.max()) / min(spacing_of(one.affine))


def read_images(case: Case, modalities: Sequence[str], warn: Warn = _log.warning) -> Iterator[NDArray[np.float32]]:
    """Read the images of a case one after the other, each as float32 (X, Y, Z), after a look at all headers.

    One is in memory at a time; of a 4D file, which is inflated once, also those that it holds before one asked for
    earlier. The end of a 4D file is looked at with the last of its volumes.

    Args:
        case: its files.
        modalities: which images, in which order.
        warn: is told what is odd about voxels and can be read all the same; of headers tells `case_header`.

    Raises:
        DataError: the files break a rule of `ddmkit.rules`.
    """
    case_header(case, modalities, lambda _: None)
    images = [image_of(case, modality) for modality in modalities]
    volumes: dict[Path, list[int | None]] = {}
    for path, volume in images:
        volumes.setdefault(path, []).append(volume)
    readers = {path: read_volumes(path, wanted, warn) for path, wanted in volumes.items()}
    for modality, (path, volume) in zip(modalities, images, strict=True):
        yield _not_constant(next(readers[path]), modality, path, volume)


def _not_constant(array: NDArray[np.float32], modality: str, path: Path, volume: int | None) -> NDArray[np.float32]:
    if array.min() == array.max():
        which = "" if volume is None else f"volume {volume} of "
        refuse(
            "constant-image",
            f"The {modality} image, {which}{shown(path)}, is {array.flat[0]:g} everywhere; export it anew.",
        )
    return array


def read_volume(case: Case, modalities: Sequence[str], warn: Warn = _log.warning) -> Volume:
    """Read a case whole: the modalities asked for, in their order, and the reference if there is one.

    Raises:
        DataError: the files break a rule of `ddmkit.rules`.
    """
    header = case_header(case, modalities, warn)
    images = np.empty((len(modalities), *header.shape), dtype=np.float32)
    inside = np.zeros(header.shape, dtype=bool)
    for channel, image in enumerate(read_images(case, modalities, warn)):
        images[channel] = image
        inside |= foreground(image)
    if case.reference is None:
        return Volume(images, None, case.classes, header.affine)
    labels = read_labels(case.reference, case.labels, warn)
    if modalities:
        check_labels_inside(case.reference, labels, inside, warn)
    return Volume(images, labels, case.classes, header.affine)


def read_labels(
    path: Path, labels: Mapping[int, str], warn: Warn = _log.warning, *, advice: str = _SAY_MEANING
) -> NDArray[np.uint8]:
    """Read a label file as indices into `classes_of(labels)`.

    Args:
        path: the file.
        labels: what its numbers mean; two may mean the same.
        warn: is told what is odd about the voxels and can be read all the same.
        advice: what to do about numbers without a meaning, to follow a colon.

    Returns:
        (X, Y, Z), uint8.

    Raises:
        DataError: the file breaks a rule of `ddmkit.rules`.
    """
    count = len(set(labels.values()))
    if count > _MOST_CLASSES:
        sentence = f"The labels of {shown(path)} mean {count} classes; name at most {_MOST_CLASSES}, merging some."
        refuse("too-many-classes", sentence)
    array = read_array(path, None, warn)
    numbers = np.rint(array)
    between = np.abs(array - numbers) > _WHOLE
    if between.any():
        sentence = f"{shown(path)} holds {np.count_nonzero(between)} voxels between two labels, such as"
        advice = "resample labels with the nearest neighbour"
        refuse("fractional-label", f"{sentence} {array[between][0]:g}; {advice}.")
    indices = indices_of(numbers, labels)
    unnamed = numbers[(indices == 0) & (numbers != 0)]
    _require_meanings(path, unnamed[~np.isin(unnamed, list(labels))], labels, advice)
    return indices


def _require_meanings(path: Path, unknown: NDArray[np.float32], labels: Mapping[int, str], advice: str) -> None:
    if unknown.size:
        values, counts = np.unique(unknown, return_counts=True)
        pairs = list(zip(values.tolist(), counts.tolist(), strict=True))
        strange = ", ".join(f"{value:g} ({count} voxels)" for value, count in pairs[:_NAMED])
        known = ", ".join(f"{number} ({name})" for number, name in {0: "background", **labels}.items())
        refuse(
            "unknown-label",
            f"{shown(path)} holds labels without a meaning: {strange}; known are {known}: {advice}.",
        )


def indices_of(numbers: NDArray[Any], meanings: Mapping[int, str]) -> NDArray[np.uint8]:
    """Turn label numbers into indices into `classes_of(meanings)`; unknown ones become 0."""
    classes = classes_of(meanings)
    indices = np.zeros_like(numbers, dtype=np.uint8)
    for number, name in meanings.items():
        indices[numbers == number] = classes.index(name)
    return indices


def check_labels_inside(
    path: Path, labels: NDArray[np.uint8], inside: NDArray[np.bool_], warn: Warn = _log.warning
) -> None:
    """Look whether labels lie where the images show something.

    Args:
        path: the label file.
        labels: (X, Y, Z): from `read_labels`.
        inside: (X, Y, Z): where any image differs from its background.
        warn: is told if more than one in a hundred labelled voxels do not.
    """
    labelled = labels > 0
    total, outside = np.count_nonzero(labelled), np.count_nonzero(labelled & ~inside)
    if outside > _MOST_OUTSIDE * total:
        caution(
            "labels-outside",
            f"{outside} of the {total} labelled voxels of {shown(path)} lie where the images show nothing; do they "
            "belong together?",
            warn,
        )
