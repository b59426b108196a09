"""Small cases for tests of the store, and what it must make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from ddmkit import Case, Image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ddmkit import Shape

LABELS = {1: "core", 2: "edema", 4: "enhancing"}
AFFINE = np.array([[-0.9, 0.1, 0, 30], [0.2, 1.1, 0.1, -20], [0, -0.1, 1.5, 7], [0, 0, 0, 1]])
"""Its axes run to the left, anterior and superior."""
HALF_A_LEVEL = 0.0005 + 1e-6
"""What storing may change in an intensity between 0 and 1, and float32's rounding."""


def head(shape: Shape, seed: int = 0) -> NDArray[np.int16]:
    """Return a noisy image of an ellipsoid that does not stand in the middle; the background is 0."""
    places = np.indices(shape) / np.reshape(shape, (3, 1, 1, 1))
    inside = (((places - np.reshape((0.4, 0.55, 0.45), (3, 1, 1, 1))) / 0.35) ** 2).sum(axis=0) < 1
    image: NDArray[np.int16] = inside * np.random.default_rng(seed).integers(50, 1000, shape, dtype=np.int16)
    return image


def marked(shape: Shape) -> NDArray[np.uint8]:
    """Return labels of three classes that lie inside of `head`."""
    labels = np.zeros(shape, dtype=np.uint8)
    x, y, z = (round(0.3 * side) for side in shape)
    labels[x:-x, y:-y, z:-z] = 2
    labels[x + 1 : -x, y + 1 : -y, z:-z] = 1
    labels[x + 1 : -x, y + 1 : -y, z + 1 : -z] = 4
    labels[head(shape) == 0] = 0
    return labels


def save_case(
    folder: Path,
    images: Mapping[str, NDArray[Any]],
    labels: NDArray[Any] | None = None,
    affine: NDArray[np.float64] = AFFINE,
    name: str = "a",
) -> Case:
    """Write a case's files, uncompressed, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = dict(images) if labels is None else {**images, "seg": labels}
    for which, array in arrays.items():
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}_{which}.nii")
    files = {which: Image(folder / f"{name}_{which}.nii") for which in images}
    return Case(name, files, LABELS, None if labels is None else folder / f"{name}_seg.nii")


def small_case(folder: Path, shape: Shape = (12, 11, 10), seed: int = 0, name: str = "a") -> Case:
    """Write a labelled case of two images."""
    images = {"t1": head(shape, seed), "flair": head(shape, seed + 100)}
    return save_case(folder, images, marked(shape), name=name)


def voxels(path: Path) -> NDArray[Any]:
    """Read a file as nibabel does."""
    image: Any = nib.load(path)
    return np.asarray(image.dataobj)


def by_hand(image: NDArray[Any], low: float = 1, high: float = 99) -> NDArray[np.float64]:
    """Normalise an image whose background is 0."""
    inside = np.sort(image[image != 0]).astype(np.float64)
    bottom, top = (np.interp(share / 100 * (len(inside) - 1), range(len(inside)), inside) for share in (low, high))
    scaled: NDArray[np.float64] = np.clip((image - bottom) / (top - bottom), 0, 1)
    scaled[image == 0] = 0
    return scaled
