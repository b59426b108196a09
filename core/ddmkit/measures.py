"""Dice, HD95 and surface Dice of two masks: numbers only; `ddmkit.definition` says which are taken, and in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import ndimage

from ddmkit.errors import DataError
from ddmkit.normalisation import box_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mask: TypeAlias = "NDArray[np.bool_]"
"""Shape (X, Y, Z); True inside."""
Spacing: TypeAlias = tuple[float, float, float]
"""Lengths of a voxel in mm, along X, Y, Z."""
Directions: TypeAlias = Literal["pooled", "maximum", "mean"]
"""How the distances of both directions become one HD95."""

_ROUNDING = 1e-5
"""Share of a tolerance by which a distance may exceed it: headers keep spacings and affines in float32."""


class SurfaceDistances(NamedTuple):
    """How far the surfaces of two masks are apart, in mm."""

    there: NDArray[np.float64]
    """From each surface voxel of the prediction to the nearest of the reference."""
    back: NDArray[np.float64]
    """From each surface voxel of the reference to the nearest of the prediction."""

    @property
    def pooled(self) -> NDArray[np.float64]:
        """Both directions together."""
        return np.concatenate(self)


def dice(prediction: Mask, reference: Mask) -> float:
    """Return 2 |P and R| / (|P| + |R|); 1 where both are empty.

    Raises:
        DataError: the shapes differ.
    """
    check_shapes(prediction, reference)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / total) if total else 1.0


def surface_distances(prediction: Mask, reference: Mask, spacing: Spacing) -> SurfaceDistances:
    """Return the distances between the surfaces of two masks, of which none is empty.

    A surface is the voxels that have a face neighbour outside the mask; what lies outside the array is outside.

    Raises:
        DataError: the shapes differ, or the spacing is not three positive numbers.
    """
    check_shapes(prediction, reference)
    _check_spacing(spacing)
    box = box_of(prediction | reference).slices
    # Every surface voxel lies in the box, and none beyond it is inside: surfaces and distances are those of the whole.
    found, truth = _surface(prediction[box]), _surface(reference[box])
    return SurfaceDistances(_distances(found, truth, spacing), _distances(truth, found, spacing))


def hausdorff95(distances: SurfaceDistances, directions: Directions = "pooled") -> float:
    """Return the 95th percentile, with linear interpolation, of surface distances in mm."""
    if directions == "pooled":
        return float(np.percentile(distances.pooled, 95))
    directed = [float(np.percentile(way, 95)) for way in distances]
    return max(directed) if directions == "maximum" else sum(directed) / 2


def surface_dice(distances: SurfaceDistances, tolerance: float) -> float:
    """Return the share of all surface voxels that lie within a tolerance in mm of the other surface."""
    return float(np.mean(distances.pooled <= tolerance * (1 + _ROUNDING)))


def diagonal(shape: tuple[int, ...], spacing: Spacing) -> float:
    """Return the length of a volume's diagonal in mm.

    Raises:
        DataError: the spacing is not three positive numbers.
    """
    _check_spacing(spacing)
    return math.hypot(*(side * step for side, step in zip(shape, spacing, strict=True)))


def check_shapes(prediction: NDArray[Any], reference: NDArray[Any], of_case: str = "") -> None:
    """Make sure that two arrays can lie on one grid.

    Raises:
        DataError: their shapes differ.
    """
    if prediction.shape != reference.shape:
        msg = (
            f"The prediction{of_case} has {_product(prediction.shape)} voxels and the reference "
            f"{_product(reference.shape)}: give files that lie on one grid."
        )
        raise DataError(msg)


def _surface(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask)


def _distances(start: Mask, end: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """Return the distance in mm from each voxel of `start` to the nearest voxel of `end`.

    Only the nearest voxels' positions are computed everywhere, the distances only where they are asked for: half the
    time and a third of the memory of a whole distance map.
    """
    nearest: Any = ndimage.distance_transform_edt(~end, sampling=spacing, return_distances=False, return_indices=True)
    places = np.nonzero(start)
    squares = [
        ((nearest[axis][places] - place) * step) ** 2
        for axis, (place, step) in enumerate(zip(places, spacing, strict=True))
    ]
    distances: NDArray[np.float64] = np.sqrt(np.sum(squares, axis=0))
    return distances


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _check_spacing(spacing: Spacing) -> None:
    if not all(math.isfinite(step) and step > 0 for step in spacing):
        msg = f"The voxel spacing {spacing} is not three positive lengths in mm: correct the reference's header."
        raise DataError(msg)
