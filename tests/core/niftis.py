"""NIfTI files for tests, with any field of the header as no library would write it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (5, 6, 7)


def oblique(*, left_handed: bool = False) -> NDArray[np.float64]:
    spacing = np.diag([-0.9 if left_handed else 0.9, 1.1, 2.5])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() @ spacing
    affine[:3, 3] = (-90.5, 126, -0.0)
    return affine


def voxels(seed: int = 0, dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    return (100 * np.random.default_rng(seed).random(shape)).astype(dtype)


def header_of(
    array: NDArray[Any],
    affine: NDArray[np.float64] | None = None,
    *,
    version: int = 1,
    endianness: str = "<",
    single: bool = True,
    **fields: object,
) -> bytes:
    """Return the bytes of a header, four zero bytes included; `fields` are set as they are given."""
    kind: Any = Nifti1Header if version == 1 else Nifti2Header
    header: Any = kind(endianness=endianness)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    place = oblique() if affine is None else affine
    header.set_qform(place, code=1)
    header.set_sform(place, code=2)
    header["vox_offset"] = kind.single_vox_offset if single else 0
    header["magic"] = kind.single_magic if single else kind.pair_magic
    header["scl_slope"], header["scl_inter"] = 1, 0
    for name, value in fields.items():
        header[name] = value
    content: bytes = header.binaryblock
    return content + bytes(4)


def content_of(
    array: NDArray[Any],
    affine: NDArray[np.float64] | None = None,
    endianness: str = "<",
    **choices: Any,  # noqa: ANN401 - as `header_of`
) -> bytes:
    """Return the bytes of a file; for `choices` see `header_of`."""
    order: Any = endianness
    stored = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    return header_of(array, affine, endianness=endianness, **choices) + stored


def save(
    path: Path,
    array: NDArray[Any] | None = None,
    affine: NDArray[np.float64] | None = None,
    **choices: Any,  # noqa: ANN401 - as `header_of`
) -> Path:
    """Write a single file, compressed if its name says so."""
    return store(path, content_of(voxels() if array is None else array, affine, **choices))


def store(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 1) if path.name.lower().endswith(".gz") else content)
    return path


def load(path: Path) -> Any:  # noqa: ANN401 - nibabel leaves it untyped
    return nib.load(path)
