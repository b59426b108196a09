"""Strategies that see the whole volume: `full` and `half`."""

from __future__ import annotations

import numpy as np
import pytest

from ddmkit import Patch, Shape, Window
from ddmkit_plugins.patches.full import Full
from ddmkit_plugins.patches.half import Half


@pytest.mark.parametrize("patch", [Full(), Half()])
def test_the_window_is_the_whole_volume(patch: Patch) -> None:
    window = patch.window((7, 8, 9), np.random.default_rng(0))
    assert window == Window((0, 0, 0), (7, 8, 9), (7, 8, 9), patch.factor)
    assert patch.size((7, 8, 9)) == (7, 8, 9)


def test_full_keeps_the_resolution() -> None:
    assert Full().window((7, 8, 9), np.random.default_rng(0)).shape == (7, 8, 9)


@pytest.mark.parametrize(("frame", "shape"), [((256, 256, 256), (128, 128, 128)), ((1, 5, 155), (1, 3, 78))])
def test_half_halves_each_side_and_rounds_up(frame: Shape, shape: Shape) -> None:
    assert Half().window(frame, np.random.default_rng(0)).shape == shape


@pytest.mark.parametrize("patch", [Full(), Half()])
def test_nothing_is_drawn(patch: Patch) -> None:
    random = np.random.default_rng(0)
    patch.window((7, 8, 9), random)
    assert random.random() == np.random.default_rng(0).random()
