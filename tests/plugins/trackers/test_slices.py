"""One slice, seen as radiologists see it."""

from __future__ import annotations

import numpy as np
import pytest

from ddmkit_plugins.trackers.slices import Slice

RAS = np.diag([1.0, 2.0, 3.0, 1.0])


def test_the_slice_with_most_of_a_mask_is_found() -> None:
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[1, 1, 2] = mask[2:4, 1, 4] = True
    assert Slice.with_most(mask, RAS).level == 4


def test_the_patients_right_is_on_the_left_and_the_front_on_top() -> None:
    volume = np.zeros((4, 5, 6))
    volume[3, 4, 0] = 1  # right, front, feet: RAS counts towards the patient's right, front and head
    shown = Slice(RAS, 0).of(volume)
    assert shown.shape == (5, 4)
    assert shown[0, 0] == 1


def test_files_whose_axes_run_otherwise_look_alike() -> None:
    volume = np.random.default_rng(0).random((4, 5, 6))
    turned = volume[::-1].transpose(2, 0, 1)
    affine = np.array([[0, -1.0, 0, 3], [0, 0, 2, 0], [3, 0, 0, 0], [0, 0, 0, 1]])
    one, other = (Slice.with_most(array > 0.5, at) for array, at in ((volume, RAS), (turned, affine)))
    assert np.array_equal(one.of(volume), other.of(turned))
    assert one.aspect == pytest.approx(other.aspect) == 2.0
