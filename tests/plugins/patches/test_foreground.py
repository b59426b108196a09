"""Windows around what is labelled."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from ddmkit_plugins.patches.foreground import Foreground
from ddmkit_plugins.patches.uniform import Uniform

FRAME = (40, 30, 20)


def test_a_share_of_the_windows_has_a_labelled_voxel_in_its_middle() -> None:
    patch, random, draws = Foreground(sides=(9, 9, 9), share=0.25), np.random.default_rng(0), 4000
    labelled = np.array([[20, 15, 10]])
    starts = Counter(patch.window_of(FRAME, random, lambda: labelled).start for _ in range(draws))
    elsewhere = 0.75 / (32 * 22 * 12)
    assert abs(starts[16, 11, 6] / draws - 0.25 - elsewhere) < 5 * sqrt(0.25 * 0.75 / draws)


def test_each_labelled_voxel_is_as_likely() -> None:
    patch, random, draws = Foreground(sides=(5, 5, 5), share=1), np.random.default_rng(0), 3000
    labelled = np.array([[10, 10, 10], [20, 20, 10], [30, 10, 10]])
    starts = Counter(patch.window_of(FRAME, random, lambda: labelled).start for _ in range(draws))
    assert starts.keys() == {(8, 8, 8), (18, 18, 8), (28, 8, 8)}
    assert all(abs(count / draws - 1 / 3) < 5 * sqrt(2 / 9 / draws) for count in starts.values())


@pytest.mark.parametrize(("voxel", "start"), [((0, 0, 0), (0, 0, 0)), ((39, 29, 19), (30, 22, 14))])
def test_a_window_around_a_voxel_at_the_border_stays_inside_and_shows_it(
    voxel: tuple[int, int, int], start: tuple[int, int, int]
) -> None:
    patch = Foreground(sides=(10, 8, 6), share=1)
    assert patch.window_of(FRAME, np.random.default_rng(0), lambda: np.array([voxel])).start == start


def test_where_nothing_is_labelled_windows_come_from_anywhere() -> None:
    patch, random = Foreground(sides=(9, 9, 9), share=1), np.random.default_rng(0)
    nothing = np.empty((0, 3), np.int64)
    starts = {patch.window_of(FRAME, random, lambda: nothing).start for _ in range(200)}
    assert len(starts) > 150


def test_labels_are_not_read_for_windows_that_ignore_them() -> None:
    def read() -> NDArray[np.int64]:
        raise AssertionError

    random = np.random.default_rng(0)
    assert Foreground(share=0).window_of(FRAME, random, read).size == (20, 15, 10)
    assert Uniform().window_of(FRAME, random, read).size == (20, 15, 10)
