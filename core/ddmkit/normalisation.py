"""Intensities of MR images to numbers a network can work with (Bieder et al. 2023, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ddmkit.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray


def foreground(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where an image (X, Y, Z) differs from its background, which is the median of its eight corners."""
    x, y, z = (max(side - 1, 1) for side in image.shape)
    mask: NDArray[np.bool_] = image != np.median(image[::x, ::y, ::z])
    return mask


def normalise(
    image: NDArray[np.float32], inside: NDArray[np.bool_], percentiles: tuple[float, float]
) -> NDArray[np.float32]:
    """Map the foreground's percentiles to 0 and 1, clip, and set the background to 0.

    Args:
        image: (X, Y, Z).
        inside: (X, Y, Z), from `foreground`.
        percentiles: lower and upper, in percent.

    Returns:
        (X, Y, Z) in [0, 1]; all 0 where the foreground is empty or constant.
    """
    if not inside.any():
        return np.zeros_like(image)
    low, high = np.percentile(image[inside], percentiles)
    if high <= low:
        return np.zeros_like(image)
    scaled = image - np.float32(low)
    scaled /= np.float32(high - low)
    np.clip(scaled, 0, 1, out=scaled)
    scaled[~inside] = 0
    return scaled


def box_of(mask: NDArray[np.bool_]) -> Window:
    """Return the smallest box that holds a mask, as a window of its volume; the whole volume where it is empty."""
    shape = (mask.shape[0], mask.shape[1], mask.shape[2])
    spans = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if not spans[0].size:
        return Window.whole(shape)
    x, y, z = ((int(span[0]), int(span[-1] - span[0] + 1)) for span in spans)
    return Window((x[0], y[0], z[0]), (x[1], y[1], z[1]), shape)
