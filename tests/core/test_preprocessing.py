"""The settings of preprocessing, and where a volume lies in its frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ddmkit import Window
from ddmkit.preprocessing import Preprocessing, centred, grown

BRATS = (240, 240, 155)
SIDES = st.tuples(*[st.integers(1, 9)] * 3)


def test_the_defaults_are_the_papers() -> None:
    assert Preprocessing() == Preprocessing(percentiles=(1, 99), frame="paper", spacing=None, orientation="LPS")
    assert Preprocessing().padded(BRATS) == (256, 256, 256)


@pytest.mark.parametrize(
    ("frame", "shape", "padded"),
    [
        ("native", BRATS, BRATS),
        ("paper", (300, 20, 256), (300, 256, 256)),
        ("brain", BRATS, (256, 256, 256)),
        ((250, 200, 160), BRATS, (250, 240, 160)),
    ],
)
def test_a_frame_cuts_nothing_off(
    frame: Any,  # noqa: ANN401 - a literal or three sides
    shape: tuple[int, int, int],
    padded: tuple[int, int, int],
) -> None:
    assert Preprocessing(frame=frame).padded(shape) == padded


def test_an_orientation_may_be_typed_in_small_letters() -> None:
    assert Preprocessing(orientation="ras") == Preprocessing(orientation="RAS")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"orientation": "LRS"}, "give one letter of L and R, one of A and P and one of S and I"),
        ({"orientation": "LP"}, "does not say where three axes run to"),
        ({"percentiles": (99, 1)}, "percentiles 99 and 1 leave nothing between them: give the lower one first"),
        ({"percentiles": (5, 5)}, "give the lower one first"),
        ({"percentiles": (-1, 99)}, "greater than or equal to 0"),
        ({"percentiles": (1, 101)}, "less than or equal to 100"),
        ({"spacing": (1, 1, 0)}, "greater than 0"),
        ({"spacing": (1, 1, float("inf"))}, "finite number"),
        ({"spacing": (1, 1, float("nan"))}, "finite number"),
        ({"spacing": (1, 1)}, "Field required"),
        ({"frame": "papers"}, "'paper', 'brain' or 'native'"),
        ({"frame": (1, 1, 0)}, "greater than 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Preprocessing(**settings)


def test_padding_is_that_of_the_official_code() -> None:
    assert centred(Window.whole(BRATS), (256, 256, 256)).start == (8, 8, 50)  # and 8, 8 and 51 behind


@st.composite
def boxes(draw: st.DrawFn) -> Window:
    """Draw a box inside a frame."""
    frame = draw(SIDES)
    x, y, z = (draw(st.integers(0, side - 1)) for side in frame)
    width, depth, height = (draw(st.integers(1, side - start)) for side, start in zip(frame, (x, y, z), strict=True))
    return Window((x, y, z), (width, depth, height), frame)


@given(boxes(), SIDES)
def test_a_box_lies_in_the_frame_where_padding_puts_it(box: Window, more: tuple[int, int, int]) -> None:
    volume = np.arange(1, np.prod(box.frame) + 1).reshape(box.frame)
    padded = np.pad(volume, [(count // 2, count - count // 2) for count in more])
    x, y, z = padded.shape
    place = centred(box, (x, y, z))
    assert np.array_equal(padded[place.slices], volume[box.slices])
    assert place.frame == padded.shape


@given(boxes(), SIDES)
def test_a_grown_box_holds_the_box_and_the_least_shape_and_lies_in_the_frame(
    box: Window, least: tuple[int, int, int]
) -> None:
    found = grown(box, least)
    before = centred(box, found.frame)
    for axis in range(3):
        assert found.frame[axis] == max(box.frame[axis], least[axis])
        assert found.size[axis] == max(box.size[axis], least[axis])
        assert 0 <= found.start[axis] <= before.start[axis]
        end = found.start[axis] + found.size[axis]
        assert before.start[axis] + box.size[axis] <= end <= found.frame[axis]


def test_a_box_grows_to_both_sides_alike_until_the_frame_ends() -> None:
    assert grown(Window((4, 0, 7), (2, 2, 3), (10, 10, 10)), (6, 6, 6)) == Window((2, 0, 4), (6, 6, 6), (10, 10, 10))
