"""What the phantom's anatomy is drawn with: points in millimetres, signed distances, ramps, smooth noise.

Distances are positive inside. Arrays of points have shape (3, N), axes (right, anterior, superior), origin in the
middle of the head; everything is float32, so that a case at 240×240×155 fits in little memory.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ddmkit import Shape

    Field = npt.NDArray[np.floating]  # float32 everywhere; the stubs promise less of arrays times numbers
    Vector = Sequence[float] | npt.NDArray[np.floating]

HEAD = (136.0, 174.0, 134.0)
"""What the anatomy needs at most, mm."""
FILLED = 0.96
"""Share of a volume's side that the head may take."""
STRETCH = 1.5
"""A head is drawn undistorted unless a side would then be filled to less than 1 / 1.5 of what it could be."""
SPLINE_DEVIATION = 0.408
"""Standard deviation of a quadratic B-spline field whose coefficients are standard normal: (11 / 20) ** 1.5."""


def spacing(shape: Shape) -> Field:
    """Return the anatomical millimetres per voxel along each axis with which a head fills `shape`."""
    tight = np.asarray(HEAD) / (FILLED * np.asarray(shape))
    sides: Field = np.minimum(tight.max(), STRETCH * tight).astype(np.float32)
    return sides


def grid(shape: Shape) -> Field:
    """Return the points of all voxels, shape (3, X·Y·Z); y runs from anterior to posterior, as in BraTS 2020."""
    points = np.indices(shape, dtype=np.float32).reshape(3, -1)
    middle = (np.asarray(shape, dtype=np.float32) - 1) / 2
    signs = np.asarray([1, -1, 1], dtype=np.float32)
    points -= middle[:, None]
    points *= (signs * spacing(shape))[:, None]
    return points


def rotation(angles: Vector) -> Field:
    """Return the matrix that turns points about x, then y, then z, by `angles` in radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first] = np.sin(angle)
        turn[first, second] = -turn[second, first]
        matrix = turn @ matrix
    return matrix.astype(np.float32)


def noise(random: np.random.Generator, points: Field, cell: float) -> Field:
    """Return smooth noise at `points`, mean 0, deviation about 1: a quadratic B-spline on knots `cell` mm apart."""
    knots = int(np.ceil(1.3 * max(HEAD) / cell)) + 3
    coefficients = random.standard_normal((knots, knots, knots), dtype=np.float32)
    coefficients /= SPLINE_DEVIATION
    places = points / np.float32(cell) + np.float32(knots / 2)
    found: Field = ndimage.map_coordinates(coefficients, places, np.float32, order=2, mode="grid-wrap", prefilter=False)
    return found


def smaller(first: Field, *others: Field | float) -> Field:
    """Return the smallest of several fields at each point: the depth inside all of several bodies."""
    return functools.reduce(np.minimum, others, first)


def larger(first: Field, *others: Field | float) -> Field:
    """Return the largest of several fields at each point: the depth inside any of several bodies."""
    return functools.reduce(np.maximum, others, first)


def ramp(distance: Field, width: float | Field) -> Field:
    """Return the share of a voxel inside a surface: 0 outside, 1 inside, linear over `width` mm about distance 0."""
    share = distance / np.float32(width) if isinstance(width, float) else distance / width
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


def ellipsoid(points: Field, centre: Vector, axes: Vector) -> Field:
    """Return about how deep `points` lie inside an ellipsoid, mm."""
    half = np.asarray(axes, dtype=np.float32)[:, None]
    relative = (points - np.asarray(centre, dtype=np.float32)[:, None]) / half
    radius = np.sqrt(np.einsum("in,in->n", relative, relative))
    relative /= half
    slope = np.sqrt(np.einsum("in,in->n", relative, relative))
    slope += np.float32(1e-6)
    depth: Field = radius * (1 - radius) / slope
    # At the very centre the first-order distance is 0 / 0; the shortest half-axis bounds it everywhere.
    return np.where(radius < 0.5, np.maximum(depth, half.min() * (1 - radius)), depth)  # noqa: PLR2004


def tube(points: Field, start: Vector, end: Vector, radii: tuple[float, float]) -> Field:
    """Return how deep `points` lie inside a straight tube whose radius runs from the first to the second, mm."""
    first = np.asarray(start, dtype=np.float32)[:, None]
    axis = np.asarray(end, dtype=np.float32)[:, None] - first
    relative = points - first
    along = np.clip((relative * axis).sum(axis=0) / (axis * axis).sum(), 0, 1)
    relative -= axis * along
    radius = np.float32(radii[0]) + np.float32(radii[1] - radii[0]) * along
    deep: Field = radius - np.sqrt(np.einsum("in,in->n", relative, relative))
    return deep


def union(first: Field, second: Field, blend: float = 6.0) -> Field:
    """Return the depth inside either of two bodies, melted together over `blend` mm where they meet."""
    overlap = np.maximum(np.float32(blend) - np.abs(first - second), 0)
    melted: Field = np.maximum(first, second) + overlap * overlap * np.float32(0.25 / blend)
    return melted


def mirrored(points: Field) -> Field:
    """Return `points` folded onto the right half of the head, so that one shape draws both sides."""
    folded = points.copy()
    np.abs(folded[0], out=folded[0])
    return folded
