"""What a patch strategy owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
from typing_extensions import override

from ddmkit import Patch, Shape, Window
from ddmkit.testing import check
from ddmkit_plugins.patches.center import Center
from ddmkit_plugins.patches.foreground import Foreground


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


@pytest.mark.parametrize(
    "patch",
    [
        Anywhere,
        Center(sides=(4, 4, 4)),
        Center(narrow=0, wide=0),
        Center(narrow=1, wide=0),
        Center(sides=(40, 3, 16)),
        Foreground(share=1, sides=(40, 3, 16)),
    ],
)
def test_a_patch_strategy_that_keeps_its_promises_passes(patch: Patch | type[Patch]) -> None:
    check(patch)


def first(_self: Anywhere, frame: Shape, *_: object) -> Window:
    return Window((0, 0, 0), (8, 8, 8), frame)


def corners(_self: Anywhere, frame: Shape, random: np.random.Generator) -> Window:
    x, y, z = (int(random.integers(2)) * (side - 8) for side in frame)
    return Window((x, y, z), (8, 8, 8), frame)


def diagonal(_self: Anywhere, frame: Shape, random: np.random.Generator) -> Window:
    place = random.random()
    x, y, z = (int(place * (side - 7)) for side in frame)
    return Window((x, y, z), (8, 8, 8), frame)


def nothing_first(
    self: Anywhere, frame: Shape, random: np.random.Generator, locations: Callable[[], np.ndarray]
) -> Window:
    return self.window(frame, random) if len(locations()) else first(self, frame, random)


def around(_self: Anywhere, frame: Shape, _: np.random.Generator, locations: Callable[[], np.ndarray]) -> Window:
    x, y, z = locations()[0]
    return Window((x, y, z), (8, 8, 8), frame)


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
        (first, "never shows some voxels of"),
        (corners, "never shows some voxels of"),
        (diagonal, "never shows some voxels of"),
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


def never(*_: object) -> Window:
    msg = "no\nwindow"
    raise RuntimeError(msg)


@pytest.mark.parametrize(
    ("window_of", "sentence"),
    [
        (nothing_first, r"Broken\.window_of, where 0 voxels are labelled, never shows some voxels of"),
        (around, r"Broken's check ends with IndexError: .*test_patch\.py, line \d+\)\.$"),
        (never, r"Broken's check ends with RuntimeError: no window \(in .*test_patch\.py, line \d+\)\.$"),
        (lambda self, frame, *_: self.window(frame, np.random.default_rng()), "labelled, draws from elsewhere"),
        (
            lambda self, frame, random, _: self.window(frame, random)._replace(factor=2),
            r"Broken\.window_of, where 0 .* gives factor 2, not 1",
        ),
        (
            lambda self, frame, random, found: (
                self.window(frame, random) if len(found()) < 2 else around(self, frame, random, found)
            ),
            r"Broken\.window_of, where 4 voxels are labelled, leaves the frame",
        ),
    ],
)
def test_windows_of_labelled_cases_keep_the_same_promises(
    window_of: Callable[..., Window], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Anywhere, sentence, window_of=window_of)


def test_a_strategy_that_leaves_voxels_out_on_purpose_can_say_so(refuses: Callable[..., None]) -> None:
    class Middle(Anywhere):
        """Always the voxels in the middle."""

        name: ClassVar[str] = "middle"

        @property
        @override
        def covers(self) -> bool:
            return False

        @override
        def window(self, frame: Shape, random: np.random.Generator) -> Window:
            x, y, z = ((side - 8) // 2 for side in frame)
            return Window((x, y, z), (8, 8, 8), frame)

    check(Middle)
    refuses(Middle, "never shows some voxels of .* say so by `covers`", covers=property(lambda _self: True))


def test_a_component_that_seeds_what_all_share_is_caught(refuses: Callable[..., None]) -> None:
    def seeding(self: Anywhere, frame: Shape, random: np.random.Generator) -> Window:
        np.random.seed(0)  # noqa: NPY002 - what no plugin should do
        return Anywhere.window(self, frame, random)

    refuses(Anywhere, "changes numpy's global random generator", window=seeding)
