"""The coordinate grid."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddmkit import Shape, Window
from ddmkit_plugins.encodings.coords import Coords

FLOAT32_ROUNDING = 2**-24


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Any window of any frame; at a reduced resolution, one that starts where a voxel of the whole does."""
    factor = draw(st.integers(1, 3))
    frame = [draw(st.integers(1, 24)) for _ in range(3)]
    start = [factor * draw(st.integers(0, (side - 1) // factor)) for side in frame]
    size = [draw(st.integers(1, whole - first)) for whole, first in zip(frame, start, strict=True)]
    return Window((start[0], start[1], start[2]), (size[0], size[1], size[2]), (frame[0], frame[1], frame[2]), factor)


@settings(deadline=None)
@given(window=windows())
def test_a_windows_coordinates_are_the_whole_grids_bit_for_bit(window: Window) -> None:
    whole = Coords().encode(Window.whole(window.frame, window.factor))
    cut = tuple(
        slice(start // window.factor, start // window.factor + side)
        for start, side in zip(window.start, window.shape, strict=True)
    )
    part = Coords().encode(window)
    assert part.shape == (3, *window.shape)
    assert part.dtype == torch.float32
    assert torch.equal(part, whole[(slice(None), *cut)])


@pytest.mark.parametrize("frame", [(256, 256, 256), (155, 2, 7)])
def test_each_channel_runs_from_minus_one_to_one_along_its_own_axis(frame: Shape) -> None:
    whole = Coords().encode(Window.whole(frame))
    for axis, side in enumerate(frame):
        line = whole[axis].movedim(axis, 0)
        truth = torch.linspace(-1, 1, side, dtype=torch.float64)
        torch.testing.assert_close(line[:, 0, 0].double(), truth, rtol=0, atol=FLOAT32_ROUNDING)
        assert line[[0, -1], 0, 0].tolist() == [-1, 1]
        assert torch.equal(line, line[:, :1, :1].expand_as(line))


@pytest.mark.parametrize("factor", [2, 3])
def test_a_coarse_voxel_has_the_mean_of_the_voxels_it_covers(factor: int) -> None:
    frame = (12, 18, 24)
    fine = Coords().encode(Window.whole(frame)).double()[None]
    coarse = Coords().encode(Window.whole(frame, factor)).double()[None]
    torch.testing.assert_close(coarse, torch.nn.functional.avg_pool3d(fine, factor), rtol=0, atol=2 * FLOAT32_ROUNDING)


def test_the_last_coarse_voxel_of_an_odd_side_keeps_the_step() -> None:
    line = Coords().encode(Window.whole((5, 1, 1), 2))[0, :, 0, 0]
    assert line.tolist() == [-0.75, 0.25, 1.25]


@pytest.mark.parametrize("factor", [1, 2])
def test_an_axis_of_one_voxel_lies_at_zero(factor: int) -> None:
    assert Coords().encode(Window.whole((1, 1, 1), factor)).tolist() == [[[[0.0]]]] * 3


@pytest.mark.parametrize("side", [155, 240, 256])
def test_coordinates_are_the_exact_ones_rounded_once_and_mirrored(side: int) -> None:
    line = Coords().encode(Window.whole((side, 1, 1)))[0, :, 0, 0]
    assert torch.equal(line, -line.flip(0))
    for voxel, coordinate in enumerate(line.tolist()):
        assert abs(Fraction(coordinate) - (-1 + Fraction(2 * voxel, side - 1))) <= Fraction(FLOAT32_ROUNDING)


def test_a_window_is_encoded_without_its_frame() -> None:
    far = Window((10**9, 0, 0), (2, 2, 2), (2 * 10**9 + 1, 10**9, 10**9))  # the whole would not fit in any memory
    assert Coords().encode(far)[0, 0, 0, 0] == 0
