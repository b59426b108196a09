"""Slices of volumes as radiologists read them, whatever the order of the file's axes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from ddmkit.volume import spacing_of


class Slice(NamedTuple):
    """One axial slice of all volumes on a grid: the patient's right on the left, the front on top."""

    affine: np.ndarray
    """Shape (4, 4): voxel indices of the grid to millimetres."""
    level: int
    """Voxels from the feet, counted from 0."""

    @classmethod
    def with_most(cls, mask: np.ndarray, affine: np.ndarray) -> Slice:
        """Return the slice that holds most of a mask, shape (X, Y, Z); the first of equals."""
        return cls(affine, int(_radiological(mask, affine).sum(axis=(0, 1)).argmax()))

    def of(self, volume: np.ndarray) -> np.ndarray:
        """Return this slice of (X, Y, Z): rows from front to back, columns from right to left."""
        return _radiological(volume, self.affine)[:, :, self.level].T

    @property
    def aspect(self) -> float:
        """Height of a pixel by its width."""
        sides: dict[int, float] = dict(
            zip(_to_lps(self.affine)[:, 0].astype(int).tolist(), spacing_of(self.affine), strict=True)
        )
        return sides[1] / sides[0]


def _radiological(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn (X, Y, Z) so that X runs to the patient's left, Y to the back, Z to the head."""
    turned: np.ndarray = apply_orientation(volume, _to_lps(affine))
    return turned


def _to_lps(affine: np.ndarray) -> np.ndarray:
    return np.asarray(ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "S"))))
