"""Volumes on disk: read with their geometry checked, written on the grid they came from."""

from __future__ import annotations

import gzip
import logging
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Pair
from nibabel.spatialimages import HeaderDataError

from ddmkit.errors import DataError
from ddmkit.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ddmkit.dataset import Case
    from ddmkit.window import Shape

imageglobals.logger.setLevel(logging.CRITICAL)  # it would print what it mends in a header without naming the file

_AFFINE_TOLERANCE = 1e-3
"""Millimetres (and direction cosines) by which files of one case may differ: headers store float32."""
_UNREADABLE = (OSError, EOFError, ImageFileError, HeaderDataError, OverflowError, TypeError, ValueError, zlib.error)
"""What nibabel and gzip raise about a damaged file."""


class Volume(NamedTuple):
    """One case in memory."""

    images: np.ndarray
    """(modalities, X, Y, Z), float32, as scaled by the file's header."""
    labels: np.ndarray | None
    """(X, Y, Z), uint8: indices into `classes`."""
    classes: tuple[str, ...]
    """What the indices mean; the first is "background"."""
    affine: np.ndarray
    """(4, 4), float64: voxel indices to millimetres."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides in mm."""
        return spacing_of(self.affine)


class Header(NamedTuple):
    """What a file says of its grid."""

    shape: Shape
    affine: np.ndarray
    dtype: np.dtype[Any]


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the voxel sides in mm that an affine implies."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return x, y, z


def read_header(path: Path) -> Header:
    """Read a file's grid without its voxels.

    Raises:
        DataError: the file cannot be read, is not one 3D volume or has an affine that places no voxel.
    """
    image = _open(path)
    affine = np.asarray(image.affine, dtype=np.float64)
    if not (np.isfinite(affine).all() and np.linalg.det(affine[:3, :3])):
        msg = f"{path} has an affine that is singular or not finite, so its voxels have no size; mend its header."
        raise DataError(msg)
    return Header(_three(path, image.shape), affine, image.get_data_dtype())


def read_array(path: Path) -> np.ndarray:
    """Read one 3D volume as float32 (X, Y, Z), in the file's own voxel order.

    Raises:
        DataError: the file cannot be read, is not one 3D volume or holds values that are not finite.
    """
    image = _open(path)
    shape = _three(path, image.shape)
    try:
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused below
            array = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        _check_to_the_end(path)
    except _UNREADABLE as error:
        raise DataError(_unreadable(path, error)) from error
    if not np.isfinite(array).all():
        msg = f"{path} holds {np.count_nonzero(~np.isfinite(array))} voxels that are NaN or infinite; mend the file."
        raise DataError(msg)
    return array


def read_volume(case: Case, modalities: Sequence[str], labels: Mapping[int, str]) -> Volume:
    """Read a case: the modalities asked for, in their order, and the reference if there is one.

    Args:
        case: its files.
        modalities: which image channels.
        labels: what each number in the label file means.

    Raises:
        DataError: a modality is missing, a file cannot be read, or files disagree in shape or affine.
    """
    first = read_header(image_path(case, modalities[0]))
    images = np.empty((len(modalities), *first.shape), dtype=np.float32)
    for channel, modality in enumerate(modalities):
        path = image_path(case, modality)
        check_same_grid(case, case.images[modalities[0]], first, path, read_header(path))
        images[channel] = read_array(path)
    classes = ("background", *labels.values())
    if case.labels is None:
        return Volume(images, None, classes, first.affine)
    check_same_grid(case, case.images[modalities[0]], first, case.labels, read_header(case.labels))
    return Volume(images, read_labels(case.labels, labels), classes, first.affine)


def read_labels(path: Path, labels: Mapping[int, str]) -> np.ndarray:
    """Read a label file as indices into ("background", *labels.values()), uint8 (X, Y, Z).

    Raises:
        DataError: the file cannot be read or holds a number without a meaning.
    """
    array = read_array(path)
    indices = indices_of(array, labels)
    strange = np.unique(array[(indices == 0) & (array != 0)])
    if strange.size:
        known = ", ".join(f"{number} ({name})" for number, name in labels.items())
        msg = f"{path} holds the label {strange[0]:g}, which has no meaning here; known are 0 (background), {known}."
        raise DataError(msg)
    return indices


def indices_of(numbers: np.ndarray, meanings: Mapping[int, str]) -> np.ndarray:
    """Turn label numbers into indices into ("background", *meanings.values()), uint8; unknown ones become 0."""
    indices = np.zeros(numbers.shape, dtype=np.uint8)
    for index, number in enumerate(meanings, start=1):
        indices[numbers == number] = index
    return indices


def check_same_grid(case: Case, reference: Path, expected: Header, path: Path, found: Header) -> None:
    """Make sure that two files of a case lie on one grid.

    Raises:
        DataError: their shapes or their affines differ.
    """
    if found.shape != expected.shape:
        msg = (
            f"Case {case.name}: {path.name} has shape {found.shape} but {reference.name} has {expected.shape}; "
            "resample them to one grid."
        )
        raise DataError(msg)
    if not np.allclose(found.affine, expected.affine, atol=_AFFINE_TOLERANCE, rtol=0):
        furthest = np.abs(found.affine - expected.affine).max()
        msg = (
            f"Case {case.name}: the affines of {path.name} and {reference.name} differ by up to {furthest:.3g}; "
            "register or resample them to one grid."
        )
        raise DataError(msg)


def write_like(path: Path, array: np.ndarray, like: Path) -> None:
    """Write `array` (X, Y, Z) on the grid of the file `like`: its shape, affine, qform and sform codes and units.

    Raises:
        StorageError: it cannot be written.
    """
    source = _open(like)
    header: Any = source.header.copy()
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = b"ddmkit"
    image = type(source)(array.reshape(source.shape), source.affine, header)
    with whole_file(path) as temporary:
        nib.save(image, temporary)


def _open(path: Path) -> Any:  # noqa: ANN401 - nibabel's images share no typed base
    try:
        image = nib.load(path)
    except _UNREADABLE as error:
        raise DataError(_unreadable(path, error)) from error
    if not isinstance(image, Nifti1Pair):
        msg = f"{path} is a {type(image).__name__}; convert it to NIfTI (.nii or .nii.gz)."
        raise DataError(msg)
    dtype = np.dtype(image.get_data_dtype())
    if dtype.kind not in "iuf":
        msg = f"{path} holds voxels of type {dtype}; one real number a voxel is needed."
        raise DataError(msg)
    return image


def _check_to_the_end(path: Path) -> None:
    """Read on to the checksum of a compressed file, which nibabel stops short of."""
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass


def _unreadable(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"Cannot read {path}: {reason}; is the file whole and a NIfTI image?"


def _three(path: Path, shape: tuple[int, ...]) -> Shape:
    if len(shape) < len("XYZ") or min(shape) < 1 or any(side != 1 for side in shape[3:]):
        msg = f"{path} has shape {shape}; one 3D volume (X, Y, Z) is needed."
        raise DataError(msg)
    x, y, z = shape[:3]
    return x, y, z


def image_path(case: Case, modality: str) -> Path:
    """Return the file of one modality.

    Raises:
        DataError: the case has none.
    """
    if modality not in case.images:
        msg = f"Case {case.name} has no {modality} image; it has {', '.join(case.images) or 'none'}."
        raise DataError(msg)
    return case.images[modality]
