"""Boxes of voxels in a frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddmkit import Window
from ddmkit.window import enclosing

SIDES = st.tuples(*[st.integers(1, 12)] * 3)


@st.composite
def boxes(draw: st.DrawFn, frame: tuple[int, int, int]) -> Window:
    """Draw a box inside a frame."""
    x, y, z = (draw(st.integers(0, side - 1)) for side in frame)
    width, depth, height = (draw(st.integers(1, side - start)) for side, start in zip(frame, (x, y, z), strict=True))
    return Window((x, y, z), (width, depth, height), frame)


@pytest.mark.parametrize(
    ("factor", "shape"), [(1, (6, 7, 8)), (2, (3, 4, 4)), (3, (2, 3, 3)), (8, (1, 1, 1))], ids=["1", "2", "3", "8"]
)
def test_at_reduced_resolution_what_is_left_over_makes_one_more_voxel(factor: int, shape: tuple[int, int, int]) -> None:
    assert Window((1, 0, 2), (6, 7, 8), (9, 9, 10), factor).shape == shape


def test_the_whole_window_starts_at_the_first_voxel_and_ends_at_the_last() -> None:
    assert Window.whole((3, 4, 5)) == Window((0, 0, 0), (3, 4, 5), (3, 4, 5), 1)
    assert Window.whole((3, 4, 5), 2).shape == (2, 2, 3)


@given(st.data())
def test_a_window_within_a_region_shows_what_it_showed_of_the_region_alone(data: st.DataObject) -> None:
    region = data.draw(SIDES.flatmap(boxes))
    window = data.draw(boxes(region.size))
    frame = np.arange(np.prod(region.frame)).reshape(region.frame)
    moved = window.within(region)
    assert moved.frame == region.frame
    assert np.array_equal(frame[moved.slices], frame[region.slices][window.slices])


def test_a_window_within_a_region_keeps_its_resolution() -> None:
    assert Window.whole((2, 2, 2), 2).within(Window((1, 2, 3), (2, 2, 2), (9, 9, 9))).factor == 2


@given(SIDES, SIDES)
def test_the_enclosing_shape_is_the_smallest_that_holds_both(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    found = enclosing(one, other)
    assert all(
        side in pair and side >= max(pair) for side, pair in zip(found, zip(one, other, strict=True), strict=True)
    )
