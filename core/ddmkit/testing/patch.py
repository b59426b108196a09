"""What a patch strategy owes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ddmkit.testing.promises import require

if TYPE_CHECKING:
    from ddmkit.patch import Patch
    from ddmkit.window import Shape, Window


def check_patch(patch: Patch, *, covers: bool = True) -> None:
    """Check that windows have the promised size, lie inside, follow from their random generator and get everywhere.

    Args:
        patch: the strategy.
        covers: False for a strategy that is meant to leave voxels out.

    Raises:
        AssertionError: it breaks a promise.
    """
    title = type(patch).__qualname__
    for frame in _frames(patch):
        size = patch.size(frame)
        random = np.random.default_rng(0)
        windows = [patch.window(frame, random) for _ in range(2000)]
        again = patch.window(frame, np.random.default_rng(0))
        require(again == windows[0], f"{title} draws from elsewhere than the generator it is given.")
        for window in windows:
            require(window.frame == frame, f"{title} gives a window of frame {window.frame} for {frame}.")
            require(window.size == size, f"{title} promises {size} and gives {window.size} in {frame}.")
            require(window.factor == patch.factor, f"{title} gives factor {window.factor}, not {patch.factor}.")
            require(_inside(window), f"{title} leaves the frame: {window}.")
        _check_windows_of(patch, frame)
        starts = np.array([window.start for window in windows])
        free = np.subtract(frame, size)
        # Far ends may be rare in a large frame, so there a sixteenth of the way from them will do.
        reached = (starts.min(0) <= free // 16).all() and (starts.max(0) >= free - free // 16).all()
        require(reached or not covers, f"{title} never shows some voxels of {frame}; say covers=False if it should.")


def _check_windows_of(patch: Patch, frame: Shape) -> None:
    """Check windows of cases where nothing, or the far corner, is labelled."""
    title, random = type(patch).__qualname__, np.random.default_rng(0)
    for labelled in (np.empty((0, 3), np.int64), np.array([[side - 1 for side in frame]])):
        first, again = (patch.window_of(frame, np.random.default_rng(0), labelled.copy) for _ in range(2))
        require(first == again, f"{title}.window_of draws from elsewhere than the generator it is given.")
        for _ in range(100):
            window = patch.window_of(frame, random, labelled.copy)
            promised = window.frame == frame and window.size == patch.size(frame) and window.factor == patch.factor
            where = f"where {len(labelled)} voxels are labelled"
            require(promised and _inside(window), f"{title} draws {window} of a case {where}: as `window` it should.")


def _frames(patch: Patch) -> list[Shape]:
    """Return a frame in which a window has room if it ever has any, and a frame as small as can be."""
    large, small = (24, 20, 28), (3, 5, 4)
    roomy = [max(side, width + side // 2) for side, width in zip(large, patch.size(large), strict=True)]
    tight = [max(side, width) for side, width in zip(small, patch.size(small), strict=True)]
    single = patch.size((1, 1, 1))  # what a volume of one voxel is padded to
    return [(roomy[0], roomy[1], roomy[2]), (tight[0], tight[1], tight[2]), single]


def _inside(window: Window) -> bool:
    return all(
        first >= 0 and first + size <= side
        for first, size, side in zip(window.start, window.size, window.frame, strict=True)
    )
