"""Phantoms on disk: the files of BraTS 2020, the same bytes for the same seed, shape and number."""

from __future__ import annotations

import gzip
from functools import partial
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from ddmkit import DataError
from ddmkit.files import whole_folder
from ddmkit.randomness import generator
from ddmkit_plugins.datasets.phantom import case_name
from ddmkit_plugins.datasets.phantom_images import CONTRASTS, draw_case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from ddmkit import Shape

_COMPRESSION = 4
"""Noise hardly compresses: higher levels cost time and save nothing."""


def write_phantoms(
    root: Path, count: int, shape: Shape, seed: int, progress: Callable[[str, int, int], None]
) -> list[str]:
    """Write the cases that `root` lacks and return the names of all.

    Args:
        root: the folder that holds a folder per case; made if it is not there.
        count: how many cases, 1 or more.
        shape: voxels X, Y, Z of 1 mm, each 16 or more; the head is scaled to fill them.
        seed: 0 or greater; case k depends on it, on `shape` and on k alone.
        progress: called with ("phantom cases", how many are there, `count`) after each case that is written.

    Raises:
        DataError: something else stands where a case goes.
        StorageError: the disk is full or does not let us write.
    """
    description = f"ddmkit phantom {'x'.join(map(str, shape))} seed {seed}"
    names = [case_name(number) for number in range(1, count + 1)]
    missing = [number for number, name in enumerate(names, start=1) if not _is_there(root / name, description)]
    for done, number in enumerate(missing, start=count - len(missing) + 1):
        _write_case(root / names[number - 1], number, shape, seed, description)
        progress("phantom cases", done, count)
    return names


def _is_there(folder: Path, description: str) -> bool:
    """Tell whether the case is written; refuse to mix it with another's files."""
    if not folder.exists():
        return False
    files = [folder / f"{folder.name}_{part}.nii.gz" for part in (*CONTRASTS, "seg")]
    if all(_description(file) == description for file in files):
        return True
    msg = (
        f"{folder} is there already, but not as the whole {description}: give an empty folder, or delete that one "
        "and type the same command again."
    )
    raise DataError(msg)


def _description(file: Path) -> str:
    try:
        header: Any = nib.load(file).header
    except (OSError, EOFError, ImageFileError):
        return ""
    return str(header["descrip"].item().decode("latin-1"))


def _write_case(folder: Path, number: int, shape: Shape, seed: int, description: str) -> None:
    phantom = draw_case(partial(generator, seed, "phantom", *shape, number), shape)
    volumes: dict[str, npt.NDArray[Any]] = {**phantom.images, "seg": phantom.labels}
    with whole_folder(folder) as temporary:
        for part, volume in volumes.items():
            (temporary / f"{folder.name}_{part}.nii.gz").write_bytes(_nifti(volume, description))


def _nifti(volume: npt.NDArray[Any], description: str) -> bytes:
    """Return a file on the grid of BraTS 2020: 1 mm voxels, from right to left and from anterior to posterior."""
    affine = np.diag((-1.0, -1.0, 1.0, 1.0))
    affine[1, 3] = volume.shape[1] - 1
    image: Any = nib.Nifti1Image(volume, affine)
    header = image.header
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = description.encode()
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return gzip.compress(image.to_bytes(), _COMPRESSION, mtime=0)
