"""Intensities to numbers a network can work with."""

from __future__ import annotations

import numpy as np
import pytest

from ddmkit import Window
from ddmkit.normalisation import box_of, foreground, normalise

PERCENTILES = (1.0, 99.0)


def image(seed: int = 0) -> np.ndarray:
    """Return an image with a border of background 0."""
    inside = np.random.default_rng(seed).normal(100, 30, (6, 7, 8)).astype(np.float32)
    return np.pad(inside, 1)


def normalised(array: np.ndarray, percentiles: tuple[float, float] = PERCENTILES) -> np.ndarray:
    return normalise(array, foreground(array), percentiles)


def by_hand(array: np.ndarray, low: float = 1, high: float = 99) -> np.ndarray:
    """Normalise an image whose background is 0."""
    inside = np.sort(array[array != 0]).astype(np.float64)
    bottom, top = (np.interp(share / 100 * (len(inside) - 1), range(len(inside)), inside) for share in (low, high))
    scaled = np.clip((array - bottom) / (top - bottom), 0, 1)
    scaled[array == 0] = 0
    return scaled


@pytest.mark.parametrize("percentiles", [PERCENTILES, (0.0, 100.0), (10.0, 60.0)])
def test_the_foregrounds_percentiles_become_0_and_1(percentiles: tuple[float, float]) -> None:
    found = normalised(image(), percentiles)
    assert found.dtype == np.float32
    assert np.allclose(found, by_hand(image(), *percentiles), atol=1e-6)


def test_the_given_image_is_left_as_it_is() -> None:
    given = image()
    normalised(given)
    assert np.array_equal(given, image())


def test_the_result_does_not_depend_on_the_number_that_means_background() -> None:
    moved = np.where(image() == 0, np.float32(-1), image())
    assert np.array_equal(normalised(moved), normalised(image()))


def test_voxels_of_the_foreground_may_be_negative() -> None:
    moved = np.where(image() == 0, np.float32(0), image() - 100)
    assert np.allclose(normalised(moved), by_hand(image()), atol=1e-5)


def test_a_head_that_reaches_into_three_corners_does_not_become_background() -> None:
    cut = image()
    cut[0, 0, 0], cut[0, 0, -1], cut[-1, 0, 0] = 90, 110, 120
    assert np.array_equal(foreground(cut), cut != 0)


@pytest.mark.parametrize("value", [0.0, -1.0, 7.0])
def test_an_image_of_one_value_is_all_background(value: float) -> None:
    assert not normalised(np.full((3, 4, 5), value, dtype=np.float32)).any()


def test_a_constant_foreground_is_0() -> None:
    assert not normalised(np.pad(np.full((3, 4, 5), 7, dtype=np.float32), 1)).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_image_of_one_slice_is_normalised(axis: int) -> None:
    flat = image().take([4], axis)
    assert np.allclose(normalised(flat), by_hand(flat), atol=1e-6)


def test_the_smallest_box_holds_every_voxel_and_touches_one_on_each_face() -> None:
    mask = np.zeros((9, 8, 7), dtype=bool)
    mask[2, 3, 6] = mask[7, 4, 1] = mask[4, 5, 2] = True
    assert box_of(mask) == Window((2, 3, 1), (6, 3, 6), (9, 8, 7))


@pytest.mark.parametrize("value", [False, True])
def test_the_box_of_nothing_is_the_whole_volume_as_is_that_of_everything(value: bool) -> None:  # noqa: FBT001 - a voxel
    assert box_of(np.full((2, 3, 4), value)) == Window.whole((2, 3, 4))
