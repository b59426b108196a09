"""How the volume that a network sees relates to the voxels of a file: orientation, resolution, and back."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from ddmkit.window import Shape

_OPPOSITES = ({"L", "R"}, {"A", "P"}, {"I", "S"})
_SAME_SPACING = 1e-3
"""Relative difference below which two spacings are one: headers store float32, and scanners round."""
_TIE = 1e-6
"""Voxels by which two neighbours may differ in distance and still count as equally near."""


class Grid(NamedTuple):
    """The voxels of a file, and how a network wants to see them.

    The file's axes are permuted and flipped to the orientation asked for, without interpolation; an oblique volume
    takes the closest axes and stays oblique. Then each axis whose spacing is not what was asked for is resampled,
    so that the centres of both volumes coincide: of n voxels of side s become max(1, round(n s / s')) of side s'.
    """

    shape: Shape
    """Of the file's volume, in voxels."""
    affine: tuple[tuple[float, ...], ...]
    """(4, 4), regular: the file's voxel indices to millimetres."""
    orientation: str | None
    """Where the axes of the seen volume run to as the index grows, such as "LPS" for the patient's left, posterior
    and superior; None: the file's own voxel order."""
    spacing: tuple[float, float, float] | None
    """Voxel sides in mm along the axes of the seen volume; None: as they are."""

    @classmethod
    def of(
        cls, shape: Sequence[int], affine: ArrayLike, orientation: str | None, spacing: Sequence[float] | None
    ) -> Grid:
        """Build a grid from arrays, or from the lists that JSON makes of a grid's fields."""
        x, y, z = (int(side) for side in shape)
        rows = tuple(map(tuple, np.asarray(affine, dtype=np.float64).tolist()))
        return cls((x, y, z), rows, orientation, None if spacing is None else _three(spacing))

    @property
    def seen_shape(self) -> Shape:
        """Side lengths of the seen volume."""
        x, y, z = starmap(_side_after, zip(self._turned_shape, self._ratios, strict=True))
        return x, y, z

    @property
    def seen_affine(self) -> NDArray[np.float64]:
        """(4, 4): voxel indices of the seen volume to millimetres; the file's own affine where nothing changes."""
        ratios = np.array(self._ratios)
        step = np.diag([*ratios, 1.0])
        step[:3, 3] = ((np.array(self._turned_shape) - 1) - (np.array(self.seen_shape) - 1) * ratios) / 2
        affine: NDArray[np.float64] = self._turned_affine @ step
        return affine

    @property
    def resampled(self) -> bool:
        """Whether voxels are interpolated; where they are not, `enter` and `leave` only rearrange them."""
        return self._ratios != (1, 1, 1)

    def enter(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Take images from the file's grid to the seen one, linearly, smoothed first where that is coarser.

        Args:
            image: (..., *shape).

        Returns:
            (..., *seen_shape), C-contiguous; a view of the given array where nothing is to be done.
        """
        seen = self._turn(_checked(image, self.shape))
        for axis, (side, ratio) in enumerate(zip(self.seen_shape, self._ratios, strict=True), start=-3):
            seen = _resample(seen, axis, side, ratio)
        return np.ascontiguousarray(seen, dtype=np.float32)

    def enter_labels(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Take labels from the file's grid to the seen one: each voxel that of its nearest.

        Args:
            labels: (..., *shape), of any type.

        Returns:
            (..., *seen_shape), of the same type, C-contiguous; a view of the given array where nothing is to be done.
        """
        seen = self._turn(_checked(labels, self.shape))
        if self.resampled:
            nearest = starmap(_nearest, zip(self._turned_shape, self.seen_shape, self._ratios, strict=True))
            x, y, z = np.ix_(*nearest)
            seen = seen[..., x, y, z]
        return np.ascontiguousarray(seen)

    def leave(self, seen: NDArray[Any]) -> NDArray[np.float32]:
        """Take images from the seen grid back to the file's, linearly, smoothed first where that is coarser.

        Where `resampled`, labels are to be made of what this returns; labels themselves cannot be interpolated.

        Args:
            seen: (..., *seen_shape).

        Returns:
            (..., *shape), C-contiguous; a view of the given array where nothing is to be done.
        """
        turned = _checked(seen, self.seen_shape)
        for axis, (side, ratio) in enumerate(zip(self._turned_shape, self._ratios, strict=True), start=-3):
            turned = _resample(turned, axis, side, 1 / ratio)
        return np.ascontiguousarray(self._turn(turned, back=True), dtype=np.float32)

    @property
    def _turning(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The file's orientation and the seen one, as nibabel's (3, 2) arrays."""
        # Without a tolerance also a nearly flat affine has three axes, each of which is given a direction of its own.
        found = io_orientation(np.array(self.affine), tol=-1)
        return found, found if self.orientation is None else axcodes2ornt(self.orientation)

    def _turn(self, array: NDArray[Any], *, back: bool = False) -> NDArray[Any]:
        """Return a view with the last three axes turned to the seen orientation, or back to the file's."""
        found, asked = self._turning
        change = ornt_transform(asked, found) if back else ornt_transform(found, asked)
        first, last = (0, 1, 2), (-3, -2, -1)
        turned: NDArray[Any] = np.moveaxis(apply_orientation(np.moveaxis(array, last, first), change), first, last)
        return turned

    @property
    def _turned_shape(self) -> Shape:
        order = np.argsort(ornt_transform(*self._turning)[:, 0])
        x, y, z = (self.shape[axis] for axis in order)
        return x, y, z

    @property
    def _turned_affine(self) -> NDArray[np.float64]:
        affine: NDArray[np.float64] = np.array(self.affine) @ inv_ornt_aff(ornt_transform(*self._turning), self.shape)
        return affine

    @property
    def _ratios(self) -> tuple[float, float, float]:
        """Sides of a seen voxel in voxels of the file, along the seen axes; 1 where nothing is to be done."""
        if self.spacing is None:
            return 1.0, 1.0, 1.0
        ratios = (new / old for new, old in zip(self.spacing, voxel_sizes(self._turned_affine).tolist(), strict=True))
        return _three([1.0 if abs(ratio - 1) <= _SAME_SPACING else ratio for ratio in ratios])


def check_orientation(text: str) -> str:
    """Return an orientation in capitals.

    Raises:
        ValueError: it does not name one direction of each of the patient's axes.
    """
    letters = text.upper()
    if len(letters) != len(_OPPOSITES) or any(len(pair & set(letters)) != 1 for pair in _OPPOSITES):
        msg = (
            f"orientation {text!r} does not say where three axes run to: give one letter of L and R, one of A and P "
            "and one of S and I, in the order of the axes, such as LPS for left, posterior, superior"
        )
        raise ValueError(msg)
    return letters


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _checked(array: NDArray[Any], shape: Shape) -> NDArray[Any]:
    if array.shape[-3:] != tuple(shape):
        msg = f"An array of shape {array.shape} does not lie on a grid of shape {shape}."
        raise ValueError(msg)
    return array


def _side_after(side: int, ratio: float) -> int:
    return max(1, round(side / ratio))


def _places(old: int, new: int, ratio: float) -> NDArray[np.floating[Any]]:
    """Return where `new` voxels of `ratio` old sides lie among `old` ones of the same centre; none passes the ends."""
    places = (np.arange(new) - (new - 1) / 2) * ratio + (old - 1) / 2
    return places.clip(0, old - 1)


def _nearest(old: int, new: int, ratio: float) -> NDArray[np.intp]:
    """Return the nearest old voxel of each new one; of two equally near the later, however the places were rounded."""
    nearest: NDArray[np.intp] = np.floor(_places(old, new, ratio) + 0.5 + _TIE).astype(np.intp)
    return nearest


def _resample(array: NDArray[Any], axis: int, side: int, ratio: float) -> NDArray[Any]:
    """Resample one axis to `side` voxels of `ratio` old sides; beyond the ends its values go on."""
    if ratio == 1:
        return array
    if ratio > 1:  # as wide as scikit-image makes it, so that what the new voxels cannot show does not alias
        array = ndimage.gaussian_filter1d(array, (ratio - 1) / 2, axis, output=np.float32, mode="nearest")
    old = array.shape[axis]
    places = _places(old, side, ratio)
    lower = np.floor(places).astype(np.intp)
    share = (places - lower).astype(np.float32).reshape(-1, *(1,) * (-1 - axis))
    resampled: NDArray[np.float32] = array.take(lower, axis).astype(np.float32, copy=False)
    difference = array.take(np.minimum(lower + 1, old - 1), axis).astype(np.float32, copy=False)
    difference -= resampled
    difference *= share
    resampled += difference
    return resampled
