"""What a patch strategy owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
from typing_extensions import override

from ddmkit import Patch, Shape, Window
from ddmkit.testing import check, check_patch


class Anywhere(Patch):
    """A window of eight voxels a side, anywhere."""

    name: ClassVar[str] = "anywhere"

    @override
    def size(self, frame: Shape) -> Shape:
        return (8, 8, 8)

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        x, y, z = (int(random.integers(0, side - 8 + 1)) for side in frame)
        return Window((x, y, z), (8, 8, 8), frame)


class Corner(Anywhere):
    """Always the first voxels."""

    name: ClassVar[str] = "corner"

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return Window((0, 0, 0), (8, 8, 8), frame)


def test_a_patch_strategy_that_keeps_its_promises_passes() -> None:
    check(Anywhere)


def shifted(self: Anywhere, frame: Shape, random: np.random.Generator) -> Window:
    window = Anywhere.window(self, frame, random)
    return window._replace(start=(window.start[0] + 1, *window.start[1:]))


def short(_self: Anywhere, frame: Shape, random: np.random.Generator) -> Window:
    x, y, z = (int(random.integers(0, max(1, side - 8))) for side in frame)
    return Window((x, y, z), (8, 8, 8), frame)


@pytest.mark.parametrize(
    ("window", "sentence"),
    [
        (shifted, "leaves the frame"),
        (short, "never shows some voxels of"),
        (Corner.window, "never shows some voxels of"),
        (lambda self, frame, _: Anywhere.window(self, frame, np.random.default_rng()), "draws from elsewhere"),
        (lambda self, frame, random: Anywhere.window(self, frame, random)._replace(size=(4, 8, 8)), "promises"),
        (lambda self, frame, random: Anywhere.window(self, frame, random)._replace(factor=2), "gives factor 2, not 1"),
        (lambda self, frame, random: Anywhere.window(self, frame, random)._replace(frame=(9, 9, 9)), "of frame"),
    ],
)
def test_a_broken_patch_strategy_is_caught(
    window: Callable[..., Window], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Anywhere, sentence, window=window)


def test_a_strategy_that_leaves_voxels_out_on_purpose_can_say_so() -> None:
    check_patch(Corner(), covers=False)
